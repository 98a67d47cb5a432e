-- How many messages of a row's moment, of one sender or of all (:from IS NULL), come up to and with that row. Only for
-- cursors that cannot carry the message_id; a database taken over may have there what is no text, or NULL.
SELECT COUNT(*) FROM messages AS last, messages AS m INDEXED BY messages_by_moment
WHERE last.rowid = :row AND last.ts_us = :us AND last.ts_ns = :ns
    AND m.ts_us = last.ts_us AND m.ts_ns = last.ts_ns
    AND (:from IS NULL OR m.from_msisdn = :from)
    AND (m.message_id < last.message_id
        OR (m.message_id IS NULL AND last.message_id IS NOT NULL)
        OR (m.message_id IS last.message_id AND m.rowid <= last.rowid))
