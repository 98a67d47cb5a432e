-- For when no service is running: one that starts counts all messages.
DELETE FROM journal
