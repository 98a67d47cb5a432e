-- Of the oldest messages, those that arrived before an instant: so few that the transaction is short.
SELECT message_key FROM (SELECT message_key FROM arrivals ORDER BY seq LIMIT $2::bigint) AS oldest
JOIN messages USING (message_key) WHERE created_at < $1::text
