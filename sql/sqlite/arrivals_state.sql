-- The last entry of the journal, the highest seq that was ever given, and the lowest that is there.
SELECT
    COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0),
    MAX(high, (SELECT COALESCE(MAX(seq), 0) FROM messages)),
    (SELECT MIN(seq) FROM messages)
FROM arrival
