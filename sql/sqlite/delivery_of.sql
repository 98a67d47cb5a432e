-- The delivery that brought a message, the message's place in it, what else is known of the message, and the last message
-- of the same delivery.
SELECT fields, body, altered, at, bytes, channel, reply_to,
    (SELECT MAX(others.seq) FROM details AS others WHERE others.delivery = details.delivery)
FROM details LEFT JOIN deliveries ON deliveries.id = details.delivery
WHERE details.seq = ?1
