-- The sort is of what one message has: a status of each kind for each recipient.
SELECT seq, message_id, status, recipient, ts, error_code, received_at FROM statuses
WHERE message_id = ?1 ORDER BY seq LIMIT 1000
