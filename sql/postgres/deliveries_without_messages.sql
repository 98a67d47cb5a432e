-- Deliveries of statuses alone, and those in which there was nothing to store, the latest first. For a command.
SELECT received_at, delivery_key FROM deliveries
WHERE NOT EXISTS (SELECT 1 FROM messages WHERE messages.delivery_key = deliveries.delivery_key)
ORDER BY received_at COLLATE "C" DESC, delivery_key DESC
