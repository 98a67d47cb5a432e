-- The messages that have been appended.
SELECT rowid, from_msisdn, ts_us, ts_ns FROM messages WHERE rowid > ?1 ORDER BY rowid LIMIT ?2
