-- Those of a recipient in a part of the table, which has no index of recipients.
DELETE FROM statuses WHERE seq > ?1 AND seq <= ?2 AND recipient = ?3
