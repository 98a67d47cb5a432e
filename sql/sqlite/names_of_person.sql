-- What else a person is called: the identifiers that a provider has for a number, and the numbers of an identifier.
SELECT DISTINCT from_id FROM details
WHERE from_id IS NOT NULL AND seq IN (SELECT seq FROM messages INDEXED BY messages_by_sender WHERE from_msisdn = ?1)
UNION
SELECT DISTINCT from_msisdn FROM messages
WHERE from_msisdn <> 'unknown' AND seq IN (SELECT seq FROM details INDEXED BY details_by_person WHERE from_id = ?1)
