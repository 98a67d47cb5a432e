-- How many statuses there are of messages to a person, by all names: ?1 is a JSON array of them. Recipients have no index.
SELECT COUNT(*) FROM statuses WHERE recipient IN (SELECT value FROM json_each(?1))
