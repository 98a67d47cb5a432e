-- The message_id behind a cursor that is too long to carry it. The moment guards against a rowid used anew.
SELECT message_id FROM messages WHERE rowid = ?1 AND ts_us = ?2 AND ts_ns = ?3
