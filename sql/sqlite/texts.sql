SELECT seq, text FROM messages WHERE seq > ?1 AND seq <= ?2 AND text IS NOT NULL ORDER BY seq
