-- The messages since a moment; for few of them this beats reading everything.
SELECT ts_us, ts_ns, message_id, seq, text FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns, message_id) > (:us, :ns, :last) AND seq <= :row_max
ORDER BY ts_us, ts_ns, message_id
