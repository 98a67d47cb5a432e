-- All of /stats in one snapshot: what is counted, and what is not yet. $1 is Moment::UNKNOWN.
WITH recent AS (
    SELECT sender, count(*) AS n FROM commits, unnest(senders) AS sender GROUP BY sender
), counts AS (
    SELECT coalesce(from_msisdn, sender) AS sender, coalesce(tally_senders.n, 0) + coalesce(recent.n, 0) AS n
    FROM tally_senders FULL JOIN recent ON from_msisdn = sender
), top AS (
    SELECT sender, n FROM counts WHERE n > 0 ORDER BY n DESC, sender COLLATE "C" LIMIT 10
)
SELECT (SELECT coalesce(sum(n), 0)::bigint FROM counts), (SELECT count(*) FROM counts WHERE n > 0),
    (SELECT ts FROM messages WHERE ts_us > $1::bigint ORDER BY ts_us, ts_ns, message_id COLLATE "C" LIMIT 1),
    (SELECT ts FROM messages WHERE ts_us > $1 ORDER BY ts_us DESC, ts_ns DESC, message_id COLLATE "C" DESC LIMIT 1),
    top.sender, top.n
FROM (VALUES (1)) AS one LEFT JOIN top ON true
ORDER BY top.n DESC, top.sender COLLATE "C"
