-- Some messages of a sender, so few that the transaction is short.
DELETE FROM messages
WHERE rowid IN (SELECT rowid FROM messages INDEXED BY messages_by_sender WHERE from_msisdn = :from LIMIT :limit)
