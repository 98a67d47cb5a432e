-- Where the messages of a sender are, out of the index alone. It has no message_id (0002_moments.sql).
SELECT ts_us, ts_ns, seq FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND (ts_us, ts_ns, seq) > (:us, :ns, :last) AND seq <= :row_max
ORDER BY ts_us, ts_ns, seq
LIMIT :limit
