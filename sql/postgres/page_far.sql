-- As page.sql, far from the beginning and without a search. The moment of the first row, and how many rows are before that
-- moment, are in an index alone: only rows of the same moment are counted one by one.
WITH total AS (
    SELECT CASE WHEN $1::text IS NULL AND $2::bigint IS NULL
        THEN (SELECT messages FROM inbox_state) + (SELECT coalesce(sum(cardinality(senders)), 0) FROM commits)
        ELSE (SELECT count(*) FROM messages
            WHERE ($1 IS NULL OR from_msisdn = $1) AND ($2 IS NULL OR (ts_us, ts_ns) >= ($2, $3::smallint)))
        END AS n
), first AS (
    SELECT ts_us, ts_ns FROM messages
    WHERE ($1 IS NULL OR from_msisdn = $1) AND ($2 IS NULL OR (ts_us, ts_ns) >= ($2, $3))
    ORDER BY ts_us, ts_ns OFFSET $4::bigint LIMIT 1
), before AS (
    SELECT count(*) AS n FROM messages
    WHERE ($1 IS NULL OR from_msisdn = $1) AND ($2 IS NULL OR (ts_us, ts_ns) >= ($2, $3))
        AND (ts_us, ts_ns) < ((SELECT ts_us FROM first), (SELECT ts_ns FROM first))
), page AS (
    SELECT message_id, from_msisdn, to_msisdn, ts, text, ts_us, ts_ns FROM messages
    WHERE ($1 IS NULL OR from_msisdn = $1)
        AND (ts_us, ts_ns) >= ((SELECT ts_us FROM first), (SELECT ts_ns FROM first))
    ORDER BY ts_us, ts_ns, message_id COLLATE "C"
    OFFSET $4 - (SELECT n FROM before) LIMIT $5::bigint
)
SELECT total.n::bigint, message_id, from_msisdn, to_msisdn, ts, text, ts_us, ts_ns
FROM total LEFT JOIN page ON true
ORDER BY ts_us, ts_ns, message_id COLLATE "C"
