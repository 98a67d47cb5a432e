-- The highest seq that was ever given to a status.
SELECT MAX(status_high, (SELECT COALESCE(MAX(seq), 0) FROM statuses)) FROM arrival
