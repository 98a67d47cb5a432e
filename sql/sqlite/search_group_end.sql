UPDATE search_groups SET state = ?2 WHERE id = ?1 AND state = ?3
