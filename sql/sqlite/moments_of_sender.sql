-- When each message of a sender was sent, up to a row, out of the index alone.
SELECT ts_us FROM messages INDEXED BY messages_by_sender WHERE from_msisdn = ?1 AND rowid <= ?2
