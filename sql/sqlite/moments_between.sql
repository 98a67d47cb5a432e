-- The instants of messages behind a position and before a moment, out of the index alone.
SELECT ts_us, ts_ns, message_id FROM messages INDEXED BY messages_by_moment
WHERE (ts_us, ts_ns, message_id) > (:us, :ns, :last) AND ts_us < :end_us AND seq <= :row_max
ORDER BY ts_us, ts_ns, message_id
LIMIT :limit
