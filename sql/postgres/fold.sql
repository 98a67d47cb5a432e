-- Numbers and counts what some commits have added, oldest first. The transaction has locked the row of inbox_state before,
-- so this sees what the transaction before has written, and numbers become visible in their order.
WITH taken AS (
    DELETE FROM commits WHERE commit_id IN (SELECT commit_id FROM commits ORDER BY begun, commit_id LIMIT 1000)
    RETURNING begun, commit_id, senders, message_keys, status_keys
), numbered AS (
    SELECT message_key, row_number() OVER (ORDER BY begun, commit_id, place) AS n
    FROM taken, unnest(message_keys) WITH ORDINALITY AS key (message_key, place)
), numbered_statuses AS (
    SELECT status_key, row_number() OVER (ORDER BY begun, commit_id, place) AS n
    FROM taken, unnest(status_keys) WITH ORDINALITY AS key (status_key, place)
), arrived AS (
    INSERT INTO arrivals (seq, message_key) SELECT last_seq + n, message_key FROM numbered, inbox_state
), statuses_arrived AS (
    INSERT INTO status_arrivals (seq, status_key) SELECT last_status_seq + n, status_key FROM numbered_statuses, inbox_state
), counted AS (
    INSERT INTO tally_senders AS tally (from_msisdn, n)
    SELECT sender, count(*) FROM taken, unnest(senders) AS sender GROUP BY sender ORDER BY sender
    ON CONFLICT (from_msisdn) DO UPDATE SET n = tally.n + excluded.n
), moved AS (
    UPDATE inbox_state SET last_seq = last_seq + (SELECT count(*) FROM numbered),
        last_status_seq = last_status_seq + (SELECT count(*) FROM numbered_statuses),
        messages = messages + (SELECT count(*) FROM numbered)
)
SELECT count(*) FROM taken
