-- The columns of export.sql, except for the last.
SELECT messages.seq, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns,
    source, type, from_id, profile_name, channel, reply_to, at, bytes
FROM details JOIN messages ON messages.seq = details.seq
WHERE delivery = ?1
ORDER BY details.seq
