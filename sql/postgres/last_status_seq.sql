-- The highest number that was ever given to a status.
SELECT last_status_seq FROM inbox_state
