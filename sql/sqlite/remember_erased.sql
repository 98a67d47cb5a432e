-- A provider may send it again.
INSERT INTO erased (hash, until) VALUES (?1, ?2) ON CONFLICT (hash) DO UPDATE SET until = excluded.until
