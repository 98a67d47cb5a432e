-- The messages of a sender, at most so many, out of the index alone.
SELECT seq FROM messages INDEXED BY messages_by_sender WHERE from_msisdn = ?1 LIMIT ?2
