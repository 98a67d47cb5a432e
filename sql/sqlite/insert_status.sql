-- ON CONFLICT names its columns: OR IGNORE would swallow every other constraint too, and with it a status.
INSERT INTO statuses (seq, message_id, status, recipient, ts, error_code, received_at, delivery)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (message_id, status, recipient) DO NOTHING
