-- How many messages were deleted, the highest number that was given, and the lowest that is there.
SELECT changes, last_seq, (SELECT min(seq) FROM arrivals) FROM inbox_state
