-- A page and how many match on all pages, in one snapshot. Parameters that are NULL do not filter; the statement is planned
-- each time, with what is given.
WITH total AS (
    SELECT CASE WHEN $1::text IS NULL AND $2::bigint IS NULL AND $4::text IS NULL
        THEN (SELECT messages FROM inbox_state) + (SELECT coalesce(sum(cardinality(senders)), 0) FROM commits)
        ELSE (SELECT count(*) FROM messages
            WHERE ($1 IS NULL OR from_msisdn = $1) AND ($2 IS NULL OR (ts_us, ts_ns) >= ($2, $3::smallint))
                AND ($4 IS NULL OR text_folded LIKE $4))
        END AS n
), page AS (
    SELECT message_id, from_msisdn, to_msisdn, ts, text, ts_us, ts_ns FROM messages
    WHERE ($1 IS NULL OR from_msisdn = $1) AND ($4 IS NULL OR text_folded LIKE $4)
        AND (ts_us, ts_ns) >= ($5::bigint, $6::smallint)
        AND ($7::text IS NULL OR (ts_us, ts_ns) > ($5, $6) OR message_id COLLATE "C" > $7)
    ORDER BY ts_us, ts_ns, message_id COLLATE "C"
    OFFSET $8::bigint LIMIT $9::bigint
)
SELECT total.n::bigint, message_id, from_msisdn, to_msisdn, ts, text, ts_us, ts_ns
FROM total LEFT JOIN page ON true
ORDER BY ts_us, ts_ns, message_id COLLATE "C"
