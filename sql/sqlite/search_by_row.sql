-- Everything, in the order it lies on disk.
SELECT text, rowid, ts_us, ts_ns, message_id FROM messages
WHERE rowid > :row AND rowid <= :row_max
ORDER BY rowid
