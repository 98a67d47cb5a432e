-- The messages of one sender since a moment. In three parts, as in entries_by_sender.sql.
SELECT ts_us, ts_ns, message_id, seq, text FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND ts_us = :us AND ts_ns = :ns AND seq > :last AND seq <= :row_max
UNION ALL
SELECT ts_us, ts_ns, message_id, seq, text FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND ts_us = :us AND ts_ns > :ns AND seq <= :row_max
UNION ALL
SELECT ts_us, ts_ns, message_id, seq, text FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND ts_us > :us AND seq <= :row_max
ORDER BY ts_us, ts_ns, seq
