-- All columns, in the order of arrival, on from a number, up to a number of rows, or of bytes of their texts; what a
-- provider has said of them; and the delivery that they came in, if it is kept.
SELECT seq, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns, message_key,
    source, type, from_id, profile_name, channel, reply_to,
    (SELECT delivery_key FROM deliveries WHERE deliveries.delivery_key = slice.delivery_key)
FROM (
    SELECT seq, messages.*,
        sum(coalesce(octet_length(text), 0)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING)
            - coalesce(octet_length(text), 0) AS bytes_before
    FROM arrivals JOIN messages USING (message_key)
    WHERE seq > $1::bigint AND seq <= $2::bigint
    ORDER BY seq
    LIMIT $3::bigint
) AS slice
WHERE bytes_before < $4::bigint
ORDER BY seq
