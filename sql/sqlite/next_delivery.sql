-- The id that the next delivery gets.
SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'deliveries'), 0) + 1
