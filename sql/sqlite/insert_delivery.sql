-- A delivery as it came.
INSERT INTO deliveries (id, source, received_at, fields, body, ignored, altered) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
