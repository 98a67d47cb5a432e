-- The first message from a seq on.
SELECT seq FROM messages WHERE seq >= ?1 ORDER BY seq LIMIT 1
