SELECT seq, message_id, status, recipient, ts, error_code, received_at
FROM status_arrivals JOIN statuses USING (status_key)
WHERE seq > $1::bigint AND seq <= $2::bigint
    AND ($3::text IS NULL OR recipient = $3) AND ($4::text IS NULL OR status = $4)
ORDER BY seq DESC
LIMIT $5::bigint
