-- The moment :offset messages after :us, :ns, out of the index alone.
SELECT ts_us, ts_ns FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND (ts_us, ts_ns) >= (:us, :ns) AND rowid <= :row_max
ORDER BY ts_us, ts_ns LIMIT 1 OFFSET :offset
