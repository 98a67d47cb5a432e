-- A status of each kind for each recipient, so they are few.
SELECT seq, message_id, status, recipient, ts, error_code, received_at
FROM statuses JOIN status_arrivals USING (status_key)
WHERE message_id = $1 ORDER BY seq LIMIT 1000
