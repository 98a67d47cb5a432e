-- What a new message has beyond the columns of messages.
INSERT INTO details (seq, source, type, from_id, profile_name, channel, reply_to, delivery, at, bytes)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
