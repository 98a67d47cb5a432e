SELECT id, body FROM deliveries WHERE id > ?1 ORDER BY id LIMIT ?2
