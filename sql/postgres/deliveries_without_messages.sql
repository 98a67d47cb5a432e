-- Deliveries of statuses alone, and those in which there was nothing to store. For a command.
SELECT delivery_key FROM deliveries
WHERE NOT EXISTS (SELECT 1 FROM messages WHERE messages.delivery_key = deliveries.delivery_key)
ORDER BY received_at, delivery_key
