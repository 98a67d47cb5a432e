-- Messages behind a position and before a later microsecond, out of the index alone. In three parts, as in
-- entries_by_sender.sql.
SELECT SUM(n) FROM (
    SELECT COUNT(*) AS n FROM messages INDEXED BY messages_by_sender
    WHERE from_msisdn = :from AND ts_us = :us AND ts_ns = :ns AND seq > :last AND seq <= :row_max
    UNION ALL
    SELECT COUNT(*) AS n FROM messages INDEXED BY messages_by_sender
    WHERE from_msisdn = :from AND ts_us = :us AND ts_ns > :ns AND seq <= :row_max
    UNION ALL
    SELECT COUNT(*) AS n FROM messages INDEXED BY messages_by_sender
    WHERE from_msisdn = :from AND ts_us > :us AND ts_us < :end_us AND seq <= :row_max
)
