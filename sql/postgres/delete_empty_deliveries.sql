-- A delivery goes with the last of its messages and statuses.
DELETE FROM deliveries
WHERE delivery_key = ANY($1::bytea[])
    AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.delivery_key = deliveries.delivery_key)
    AND NOT EXISTS (SELECT 1 FROM statuses WHERE statuses.delivery_key = deliveries.delivery_key)
