SELECT source, received_at, fields, body, altered FROM deliveries WHERE delivery_key = $1::bytea
