-- On from a row of tally_first.sql, of which nothing is NULL.
SELECT from_msisdn, ts_us, ts_ns, rowid FROM messages INDEXED BY messages_by_sender
WHERE (from_msisdn, ts_us, ts_ns, rowid) > (?1, ?2, ?3, ?4)
ORDER BY from_msisdn, ts_us, ts_ns, rowid
