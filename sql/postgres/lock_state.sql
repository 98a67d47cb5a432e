SELECT last_seq FROM inbox_state FOR UPDATE
