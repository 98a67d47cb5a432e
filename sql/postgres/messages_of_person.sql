-- Some messages of a person, and whether a provider has delivered them.
SELECT message_key, message_id, source IS NOT NULL FROM messages
WHERE from_msisdn = $1::text OR (from_id = $1 AND left(from_id, 256) = left($1, 256)) LIMIT $2::bigint
