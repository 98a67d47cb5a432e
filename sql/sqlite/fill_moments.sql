-- Some of the rows that another program has written or changed, so few that the transaction is short.
UPDATE messages SET ts_us = moment_us(ts), ts_ns = moment_ns(ts)
WHERE rowid IN (SELECT rowid FROM messages INDEXED BY messages_by_moment WHERE ts_us IS NULL LIMIT ?1)
