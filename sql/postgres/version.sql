SELECT version, oldest_program, erasure_key FROM inbox_schema
