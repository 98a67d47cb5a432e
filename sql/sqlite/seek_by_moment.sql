-- The message :offset messages behind the next, out of the index alone.
SELECT ts_us, ts_ns, message_id FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns, message_id) > (:us, :ns, :last) AND seq <= :row_max
ORDER BY ts_us, ts_ns, message_id
LIMIT 1 OFFSET :offset
