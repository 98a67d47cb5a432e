-- ?1 is Moment::UNKNOWN: a ts that cannot be read is not the first.
SELECT ts FROM messages WHERE ts_us > ?1 ORDER BY ts_us, ts_ns, message_id LIMIT 1
