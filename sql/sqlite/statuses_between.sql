SELECT seq, message_id, status, recipient, ts, error_code, received_at FROM statuses
WHERE seq > :low AND seq <= :high
    AND (:recipient IS NULL OR recipient = :recipient) AND (:status IS NULL OR status = :status)
ORDER BY seq
