-- Messages behind a position and before a later microsecond, out of the index alone.
SELECT COUNT(*) FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns, message_id) > (:us, :ns, :last) AND ts_us < :end_us AND seq <= :row_max
