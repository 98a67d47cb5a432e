-- Whether a delivery in which there was nothing to store is there already.
SELECT EXISTS (SELECT 1 FROM deliveries WHERE ignored = 1 AND received_at = ?1 AND body = ?2)
