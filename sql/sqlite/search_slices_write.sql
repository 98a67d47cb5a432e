INSERT INTO search_slices (id, slices) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET slices = excluded.slices
