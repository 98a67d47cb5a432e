-- The messages since a moment; for few of them this beats reading everything.
SELECT text, rowid, ts_us, ts_ns, message_id FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns, message_id) > (:us, :ns, :id) AND rowid <= :row_max
ORDER BY ts_us, ts_ns, message_id
