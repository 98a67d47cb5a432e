-- The messages up to the end of a moment, and which of them are a sender's.
SELECT ts_us, ts_ns, message_id, seq, from_msisdn = :from FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns, message_id) > (:us, :ns, :last) AND (ts_us, ts_ns) <= (:end_us, :end_ns) AND seq <= :row_max
ORDER BY ts_us, ts_ns, message_id
LIMIT :limit
