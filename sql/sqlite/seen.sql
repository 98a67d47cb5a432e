-- What other programs have done to messages: entries of the journal, and rows appended.
SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0), (SELECT COALESCE(MAX(seq), 0) FROM messages)
