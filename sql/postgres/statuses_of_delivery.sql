SELECT message_id, status, recipient, ts, error_code
FROM statuses JOIN status_arrivals USING (status_key)
WHERE delivery_key = $1::bytea
ORDER BY seq
