-- All columns, in the order in which the rows were stored, on from a row; what a provider has said of them; and the
-- delivery that they came in, if it is kept.
SELECT messages.seq, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns,
    source, type, from_id, profile_name, channel, reply_to, at, bytes,
    (SELECT id FROM deliveries WHERE id = details.delivery)
FROM messages LEFT JOIN details ON details.seq = messages.seq
WHERE messages.seq > :seq AND messages.seq <= :row_max
ORDER BY messages.seq
