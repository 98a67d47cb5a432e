-- The first columns of export.sql, and where the message is in the body.
SELECT seq, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns, message_key,
    source, type, from_id, profile_name, channel, reply_to, at, bytes
FROM messages JOIN arrivals USING (message_key)
WHERE delivery_key = $1::bytea
ORDER BY seq
