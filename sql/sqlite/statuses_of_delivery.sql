SELECT message_id, status, recipient, ts, error_code FROM statuses WHERE delivery = ?1 ORDER BY seq
