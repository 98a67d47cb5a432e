-- What else a person is called: the identifiers that a provider has for a number, and the numbers of an identifier.
SELECT DISTINCT from_id FROM messages WHERE from_msisdn = $1::text AND from_id IS NOT NULL
UNION
SELECT DISTINCT from_msisdn FROM messages WHERE from_id = $1 AND left(from_id, 256) = left($1, 256) AND from_msisdn <> 'unknown'
