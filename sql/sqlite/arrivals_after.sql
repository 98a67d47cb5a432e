-- Messages in the order of arrival. What is not a provider's has no details.
SELECT seq, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns,
    COALESCE(details.type, IIF(text IS NULL, 'message', 'text')) AS type, COALESCE(details.source, 'native') AS source,
    details.from_id, details.profile_name
FROM messages LEFT JOIN details USING (seq)
WHERE seq > :low AND seq <= :high
ORDER BY seq
