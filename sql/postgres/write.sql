-- One group, in one statement and so in one transaction: what is new, what of a delivery is kept, and the row of commits.
-- Rows are sorted by key, so that two groups with the same keys wait for each other in one order. What is stored already is
-- left as it is. A message that was erased is not stored again, and its delivery only without the body. What has no time
-- of its own arrives now, by the clock of the server: those of the instances may differ.
WITH clock AS (
    SELECT to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS now
), input AS (
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::bigint[], $10::smallint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
        $17::bytea[], $18::bigint[], $19::bigint[], $20::int[])
    AS input (message_key, message_id, from_msisdn, to_msisdn, ts, text, text_folded, created_at, ts_us, ts_ns,
        source, type, from_id, profile_name, channel, reply_to, delivery_key, at, bytes, place)
), gone AS (
    SELECT message_key, delivery_key
    FROM unnest($21::bytea[], $22::bytea[], $23::bytea[]) AS provided (hash, message_key, delivery_key)
    JOIN erased USING (hash) WHERE until > (SELECT now FROM clock)
), inserted AS (
    INSERT INTO messages (message_key, message_id, from_msisdn, to_msisdn, ts, text, text_folded, created_at, ts_us, ts_ns,
        source, type, from_id, profile_name, channel, reply_to, delivery_key, at, bytes)
    SELECT message_key, message_id, from_msisdn, to_msisdn, ts, text, text_folded,
        coalesce(created_at, (SELECT now FROM clock)), ts_us, ts_ns, source, type, from_id, profile_name, channel,
        reply_to, delivery_key, at, bytes
    FROM input WHERE message_key NOT IN (SELECT message_key FROM gone) ORDER BY message_key
    ON CONFLICT (message_key) DO NOTHING
    RETURNING message_key
), updates AS (
    SELECT * FROM unnest($24::bytea[], $25::text[], $26::text[], $27::text[], $28::text[], $29::bigint[], $30::text[],
        $31::bytea[], $32::int[])
    AS updates (status_key, message_id, status, recipient, ts, error_code, received_at, delivery_key, place)
), updated AS (
    INSERT INTO statuses (status_key, message_id, status, recipient, ts, error_code, received_at, delivery_key)
    SELECT status_key, message_id, status, recipient, ts, error_code, coalesce(received_at, (SELECT now FROM clock)),
        delivery_key FROM updates ORDER BY status_key
    ON CONFLICT (status_key) DO NOTHING
    RETURNING status_key
), kept AS (
    INSERT INTO deliveries (delivery_key, source, received_at, fields, body, ignored, altered)
    SELECT delivery_key, source, coalesce(received_at, (SELECT now FROM clock)), fields,
        CASE WHEN delivery_key IN (SELECT delivery_key FROM gone) THEN ''::bytea ELSE body END,
        ignored, altered OR delivery_key IN (SELECT delivery_key FROM gone)
    FROM unnest($33::bytea[], $34::text[], $35::text[], $36::text[], $37::bytea[], $38::boolean[], $39::boolean[])
    AS delivery (delivery_key, source, received_at, fields, body, ignored, altered)
    WHERE ignored
        OR delivery_key IN (SELECT delivery_key FROM input JOIN inserted USING (message_key) WHERE delivery_key IS NOT NULL)
        OR delivery_key IN (SELECT delivery_key FROM updates JOIN updated USING (status_key))
), committed AS (
    INSERT INTO commits (commit_id, senders, message_keys, status_keys)
    SELECT $40::bytea,
        ARRAY(SELECT from_msisdn FROM input JOIN inserted USING (message_key)),
        ARRAY(SELECT message_key FROM input JOIN inserted USING (message_key) ORDER BY place),
        ARRAY(SELECT status_key FROM updates JOIN updated USING (status_key) ORDER BY place)
)
SELECT message_key AS key FROM inserted UNION ALL SELECT status_key FROM updated
