-- How many messages a person has, by all names.
SELECT count(DISTINCT message_key) FROM unnest($1::text[]) AS name
JOIN messages ON from_msisdn = name OR (from_id = name AND left(from_id, 256) = left(name, 256))
