-- One message of a page, by its seq.
SELECT ts_us, ts_ns, message_id, from_msisdn, to_msisdn, ts, text FROM messages WHERE seq = ?1
