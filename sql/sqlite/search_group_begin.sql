INSERT INTO search_groups (id, state) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET state = excluded.state
