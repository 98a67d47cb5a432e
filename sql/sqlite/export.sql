-- All columns, in the order in which the rows were stored, on from a row.
SELECT seq, message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns FROM messages
WHERE seq > :seq AND seq <= :row_max
ORDER BY seq
