-- Those of a recipient, for whom there is no index.
SELECT status_key FROM statuses WHERE recipient = $1::text
