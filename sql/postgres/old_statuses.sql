-- As old_messages.sql.
SELECT status_key FROM (SELECT status_key FROM status_arrivals ORDER BY seq LIMIT $2::bigint) AS oldest
JOIN statuses USING (status_key) WHERE received_at < $1::text
