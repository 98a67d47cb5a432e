-- A provider may send them again.
INSERT INTO erased (hash, until) SELECT hash, $2::text FROM unnest($1::bytea[]) AS hash ORDER BY hash
ON CONFLICT (hash) DO UPDATE SET until = excluded.until
