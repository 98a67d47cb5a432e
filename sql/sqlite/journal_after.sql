-- What other programs have changed after an entry.
SELECT n, seq, from_msisdn, ts_us, change FROM journal WHERE n > ?1 ORDER BY n LIMIT ?2
