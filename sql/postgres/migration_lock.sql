-- Of several instances that start at once, one migrates. The number is this program's own choice.
SELECT pg_advisory_xact_lock(7276140921)
