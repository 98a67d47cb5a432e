-- The first delivery of a range.
SELECT id, source, received_at, fields, body, altered FROM deliveries WHERE id > ?1 AND id <= ?2 ORDER BY id LIMIT 1
