-- The groups of a range that are in the index.
SELECT id FROM search_groups WHERE id >= ?1 AND id <= ?2 AND state = 0 ORDER BY id
