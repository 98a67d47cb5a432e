-- The messages of one sender since a moment.
SELECT ts_us, ts_ns, message_id, seq, text FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND (ts_us, ts_ns, seq) > (:us, :ns, :last) AND seq <= :row_max
ORDER BY ts_us, ts_ns, seq
