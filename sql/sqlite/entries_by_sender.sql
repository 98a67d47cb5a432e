-- Where the messages of a sender are, out of the index alone. It has no message_id (0002_moments.sql). In three parts, because
-- SQLite would look for (ts_us, ts_ns, seq) > (…) from the beginning of the moment on: it may have a million messages.
SELECT ts_us, ts_ns, seq FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND ts_us = :us AND ts_ns = :ns AND seq > :last AND seq <= :row_max
UNION ALL
SELECT ts_us, ts_ns, seq FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND ts_us = :us AND ts_ns > :ns AND seq <= :row_max
UNION ALL
SELECT ts_us, ts_ns, seq FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND ts_us > :us AND seq <= :row_max
ORDER BY ts_us, ts_ns, seq
LIMIT :limit
