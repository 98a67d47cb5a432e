-- Whether a delivery with nothing to store is there already.
SELECT EXISTS (SELECT 1 FROM deliveries WHERE ignored AND received_at = $1::text AND body = $2::bytea)
