-- Numbers that have to be the same, in one snapshot: the messages, and how many of them state, senders and arrivals know of.
WITH recent AS (SELECT coalesce(sum(cardinality(senders)), 0)::bigint AS n FROM commits)
SELECT (SELECT count(*) FROM messages), messages + recent.n,
    (SELECT coalesce(sum(n), 0)::bigint FROM tally_senders) + recent.n,
    (SELECT count(*) FROM arrivals JOIN messages USING (message_key)) + recent.n
FROM inbox_state, recent
