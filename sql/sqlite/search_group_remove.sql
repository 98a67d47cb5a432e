DELETE FROM search_groups WHERE id = ?1
