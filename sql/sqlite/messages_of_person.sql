-- Some messages of a person, by the sender or by the provider's identifier, and whether a provider has delivered them.
SELECT seq, message_id, EXISTS (SELECT 1 FROM details WHERE details.seq = messages.seq) FROM messages
WHERE seq IN (
    SELECT seq FROM messages INDEXED BY messages_by_sender WHERE from_msisdn = ?1
    UNION ALL
    SELECT seq FROM details INDEXED BY details_by_person WHERE from_id = ?1
    LIMIT ?2
)
