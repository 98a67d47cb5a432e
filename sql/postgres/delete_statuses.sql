-- Deletes statuses by their keys, and returns the deliveries that they were in.
WITH gone AS (
    DELETE FROM statuses WHERE status_key = ANY($1::bytea[]) RETURNING delivery_key
), places AS (
    DELETE FROM status_arrivals WHERE status_key = ANY($1)
)
SELECT DISTINCT delivery_key FROM gone
