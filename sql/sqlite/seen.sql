-- What other programs have done to messages: changes of any kind, and rows appended.
SELECT (SELECT n FROM messages_changes), (SELECT COALESCE(MAX(rowid), 0) FROM messages)
