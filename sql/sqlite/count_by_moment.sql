-- Messages from one moment up to, not including, another, out of the index alone.
SELECT COUNT(*) FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns) >= (:us, :ns) AND (ts_us, ts_ns) < (:end_us, :end_ns) AND rowid <= :row_max
