-- One message that a search has found.
SELECT rowid, message_id, from_msisdn, to_msisdn, ts, text, ts_us, ts_ns FROM messages WHERE rowid = ?1
