SELECT seq FROM messages WHERE message_id = ?1
