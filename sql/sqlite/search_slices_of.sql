SELECT slices FROM search_slices WHERE id = ?1
