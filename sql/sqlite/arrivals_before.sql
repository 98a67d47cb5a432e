-- Messages, the latest arrival first. Type and source are those of the native format.
SELECT seq, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns,
    IIF(text IS NULL, 'message', 'text') AS type, 'native' AS source, NULL AS from_id, NULL AS profile_name
FROM messages
WHERE seq > :low AND seq <= :high
ORDER BY seq DESC
