-- For the order within a moment.
SELECT message_id FROM messages WHERE seq = ?1
