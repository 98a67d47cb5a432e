UPDATE deliveries SET body = ?2, altered = 1 WHERE id = ?1
