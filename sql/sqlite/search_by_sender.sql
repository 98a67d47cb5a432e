-- The messages of one sender since a moment.
SELECT text, rowid, ts_us, ts_ns, message_id FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND (ts_us, ts_ns, rowid) > (:us, :ns, :row) AND rowid <= :row_max
ORDER BY ts_us, ts_ns, rowid
