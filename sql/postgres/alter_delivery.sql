UPDATE deliveries SET body = $2::bytea, altered = true WHERE delivery_key = $1::bytea
