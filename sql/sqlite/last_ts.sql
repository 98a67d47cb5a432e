SELECT ts FROM messages WHERE ts_us > ?1 ORDER BY ts_us DESC, ts_ns DESC, message_id DESC LIMIT 1
