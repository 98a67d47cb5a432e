-- The highest seq that was ever given.
SELECT MAX(high, (SELECT COALESCE(MAX(seq), 0) FROM messages)) FROM arrival
