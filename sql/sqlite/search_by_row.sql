-- A range, in the order it lies on disk; only the messages of one sender, if that is given.
SELECT ts_us, ts_ns, message_id, seq, text FROM messages
WHERE seq > :seq AND seq <= :row_max AND (:from IS NULL OR from_msisdn = :from)
ORDER BY seq
