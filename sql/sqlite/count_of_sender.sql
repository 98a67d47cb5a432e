SELECT COUNT(*) FROM messages INDEXED BY messages_by_sender WHERE from_msisdn = ?1
