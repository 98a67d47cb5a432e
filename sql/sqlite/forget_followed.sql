-- Some entries that the counts have followed, so few that the transaction is short.
DELETE FROM journal WHERE n IN (SELECT n FROM journal WHERE n <= ?1 ORDER BY n LIMIT ?2)
