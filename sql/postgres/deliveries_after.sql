SELECT delivery_key, body FROM deliveries WHERE delivery_key > $1::bytea ORDER BY delivery_key LIMIT $2::bigint
