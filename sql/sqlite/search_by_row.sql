-- Everything, in the order it lies on disk.
SELECT ts_us, ts_ns, message_id, seq, text FROM messages
WHERE seq > :seq AND seq <= :row_max
ORDER BY seq
