-- Deletes messages by their keys, and returns the deliveries that they were in.
WITH gone AS (
    DELETE FROM messages WHERE message_key = ANY($1::bytea[]) RETURNING from_msisdn, delivery_key
), places AS (
    DELETE FROM arrivals WHERE message_key = ANY($1)
), counted AS (
    UPDATE tally_senders SET n = tally_senders.n - of_sender.n
    FROM (SELECT from_msisdn, count(*) AS n FROM gone GROUP BY from_msisdn) AS of_sender
    WHERE tally_senders.from_msisdn = of_sender.from_msisdn
), state AS (
    UPDATE inbox_state SET messages = messages - (SELECT count(*) FROM gone), changes = changes + (SELECT count(*) FROM gone)
)
SELECT DISTINCT delivery_key FROM gone WHERE delivery_key IS NOT NULL
