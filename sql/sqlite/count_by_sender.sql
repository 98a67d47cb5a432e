-- Messages behind a position and before a moment, out of the index alone.
SELECT COUNT(*) FROM messages INDEXED BY messages_by_sender
WHERE from_msisdn = :from AND (ts_us, ts_ns, seq) > (:us, :ns, :last) AND (ts_us, ts_ns) < (:end_us, :end_ns) AND seq <= :row_max
