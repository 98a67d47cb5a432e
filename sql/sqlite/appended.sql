-- The messages that have been appended.
SELECT seq, from_msisdn, ts_us FROM messages WHERE seq > ?1 ORDER BY seq LIMIT ?2
