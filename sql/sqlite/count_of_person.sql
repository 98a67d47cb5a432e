-- How many messages a person has, by all names: ?1 is a JSON array of them.
SELECT COUNT(*) FROM (
    SELECT seq FROM messages INDEXED BY messages_by_sender WHERE from_msisdn IN (SELECT value FROM json_each(?1))
    UNION
    SELECT seq FROM details INDEXED BY details_by_person WHERE from_id IN (SELECT value FROM json_each(?1))
)
