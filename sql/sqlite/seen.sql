-- The last entry of the journal, the highest seq, the highest seq of a message that is not there any more, and the stamp.
SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0),
    COALESCE((SELECT MAX(seq) FROM messages), 0),
    high, stamp
FROM arrival
