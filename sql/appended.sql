-- The messages that have been appended.
SELECT from_msisdn, ts_us, ts_ns FROM messages WHERE rowid > ?1
