-- As expire_messages.sql: what no provider sends again.
DELETE FROM erased WHERE until < ?1 AND hash IN (SELECT hash FROM erased LIMIT ?2)
