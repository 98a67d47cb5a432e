-- The sort is of the messages of one nanosecond: the index has no message_id (0002_moments.sql).
SELECT rowid, message_id, from_msisdn, to_msisdn, ts, text, ts_us, ts_ns
FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND (ts_us, ts_ns) >= (:us, :ns) AND rowid <= :row_max
ORDER BY ts_us, ts_ns, message_id
LIMIT :limit OFFSET :offset
