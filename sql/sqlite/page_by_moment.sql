SELECT ts_us, ts_ns, message_id, from_msisdn, to_msisdn, ts, text FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns, message_id) > (:us, :ns, :last) AND seq <= :row_max
ORDER BY ts_us, ts_ns, message_id
LIMIT :limit
