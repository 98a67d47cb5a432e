SELECT 1 FROM search_groups WHERE id = ?1 AND state = ?2
