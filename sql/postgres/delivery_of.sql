-- The delivery that brought a message, the message's place in it, what else is known of the message, and the last message
-- of the same delivery.
SELECT fields, body, altered, at, bytes, channel, reply_to,
    (SELECT max(others.seq) FROM messages AS sisters JOIN arrivals AS others USING (message_key)
        WHERE sisters.delivery_key = messages.delivery_key)
FROM arrivals JOIN messages USING (message_key) LEFT JOIN deliveries USING (delivery_key)
WHERE arrivals.seq = $1 AND messages.source IS NOT NULL
