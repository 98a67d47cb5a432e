-- Some of a range.
DELETE FROM search_slices
WHERE id IN (SELECT id FROM search_slices WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3)
