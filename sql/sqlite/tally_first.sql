-- Every row once, sender by sender, out of the index alone, to be read in steps.
SELECT from_msisdn, ts_us, ts_ns, rowid FROM messages INDEXED BY messages_by_sender
ORDER BY from_msisdn, ts_us, ts_ns, rowid
