-- As expire_messages.sql.
DELETE FROM statuses WHERE received_at < ?1 AND seq IN (SELECT seq FROM statuses ORDER BY seq LIMIT ?2)
