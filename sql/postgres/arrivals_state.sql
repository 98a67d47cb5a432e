-- How many messages were deleted, the highest number that was given, and the lowest that is there. Not by min(): without
-- statistics, as right after an import, the server would read the whole index for it.
SELECT changes, last_seq, (SELECT seq FROM arrivals ORDER BY seq LIMIT 1) FROM inbox_state
