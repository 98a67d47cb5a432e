-- The delivery that brought a message, the message's place in it, and what else is known of the message.
SELECT fields, body, altered, at, bytes, channel, reply_to
FROM details LEFT JOIN deliveries ON deliveries.id = details.delivery
WHERE details.seq = ?1
