-- All columns, in the order in which the rows were stored, on from a row.
SELECT rowid, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns FROM messages
WHERE rowid > :row AND rowid <= :row_max
ORDER BY rowid
