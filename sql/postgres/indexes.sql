-- The names of the indexes that are there.
SELECT indexname::text FROM pg_indexes WHERE schemaname = current_schema()
