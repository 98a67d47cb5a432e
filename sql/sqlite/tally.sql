-- Every row once, sender by sender, out of the index alone, in one go.
SELECT from_msisdn, ts_us FROM messages INDEXED BY messages_by_sender ORDER BY from_msisdn
