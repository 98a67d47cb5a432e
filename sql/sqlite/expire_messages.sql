-- Of the oldest messages, those that arrived before an instant: so few that the transaction is short.
DELETE FROM messages WHERE created_at < ?1 AND seq IN (SELECT seq FROM messages ORDER BY seq LIMIT ?2)
