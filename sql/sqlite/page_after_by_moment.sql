SELECT rowid, message_id, from_msisdn, to_msisdn, ts, text, ts_us, ts_ns
FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns, message_id) > (:us, :ns, :id)
ORDER BY ts_us, ts_ns, message_id
LIMIT :limit
