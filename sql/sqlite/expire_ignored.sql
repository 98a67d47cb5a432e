-- Deliveries in which there was nothing to store. Others go with the last of their messages and statuses.
DELETE FROM deliveries
WHERE received_at < ?1 AND id IN (SELECT id FROM deliveries INDEXED BY deliveries_ignored WHERE ignored = 1 LIMIT ?2)
