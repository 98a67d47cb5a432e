-- Deliveries in which there was nothing to store. Others go with the last of their messages and statuses.
WITH gone AS (
    DELETE FROM deliveries WHERE delivery_key IN (
        SELECT delivery_key FROM deliveries WHERE ignored AND received_at < $1::text LIMIT $2::bigint)
    RETURNING 1
)
SELECT count(*) FROM gone
