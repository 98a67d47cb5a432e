-- The message :offset messages behind the next, out of the index alone.
SELECT ts_us, ts_ns, seq FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND (ts_us, ts_ns, seq) > (:us, :ns, :last) AND seq <= :row_max
ORDER BY ts_us, ts_ns, seq
LIMIT 1 OFFSET :offset
