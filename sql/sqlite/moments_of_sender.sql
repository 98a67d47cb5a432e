-- When some messages of a sender were sent, out of the index alone.
SELECT ts_us, seq FROM messages INDEXED BY messages_by_sender WHERE from_msisdn = ?1 LIMIT ?2
