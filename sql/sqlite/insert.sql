-- ON CONFLICT names its column: OR IGNORE would swallow every other constraint too, and with it a message.
INSERT INTO messages (seq, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (message_id) DO NOTHING
