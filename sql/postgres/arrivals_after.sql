-- Messages in the order of arrival, up to a number of them, or of bytes of their texts.
-- Parameters that are NULL do not filter.
SELECT seq, message_id, from_msisdn, to_msisdn, ts, text, type, source, from_id, profile_name, created_at
FROM (
    SELECT seq, message_id, from_msisdn, to_msisdn, ts, text, from_id, profile_name, created_at,
        coalesce(type, CASE WHEN text IS NULL THEN 'message' ELSE 'text' END) AS type, coalesce(source, 'native') AS source,
        sum(coalesce(octet_length(text), 0)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
            - coalesce(octet_length(text), 0) AS bytes_before
    FROM arrivals JOIN messages USING (message_key)
    WHERE seq > $1::bigint AND seq <= $2::bigint
        AND ($3::bytea IS NULL OR message_key = $3)
        AND ($4::text IS NULL OR from_msisdn = $4)
        AND ($5::bigint IS NULL OR (ts_us, ts_ns) >= ($5, $6::smallint))
        AND ($7::text IS NULL OR text_folded LIKE $7)
        AND ($8::text IS NULL OR coalesce(type, CASE WHEN text IS NULL THEN 'message' ELSE 'text' END) = $8)
        AND ($9::text IS NULL OR coalesce(source, 'native') = $9)
        AND ($10::text IS NULL OR (from_id = $10 AND left(from_id, 256) = left($10, 256)))
    ORDER BY seq
    LIMIT $11::bigint
) AS page
WHERE bytes_before < $12::bigint
ORDER BY seq
