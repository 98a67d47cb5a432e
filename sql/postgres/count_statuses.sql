-- How many statuses there are of messages to a person, by all names. Recipients have no index.
SELECT count(*) FROM statuses WHERE recipient = ANY($1::text[])
