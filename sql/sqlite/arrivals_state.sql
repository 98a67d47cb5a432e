-- The last entry of the journal, the highest seq that was ever given, the lowest that is there, and the stamp.
SELECT
    COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0),
    MAX(high, (SELECT COALESCE(MAX(seq), 0) FROM messages)),
    (SELECT MIN(seq) FROM messages),
    stamp
FROM arrival
