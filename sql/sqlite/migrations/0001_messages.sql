-- The table of the original service. A database that it wrote has this already, and user_version 0.
-- One row per message. The same message_id again is the sender trying again, not an error.
CREATE TABLE messages (
    message_id  TEXT PRIMARY KEY NOT NULL,  -- the sender's choice; MessageId in src/message.rs has its bounds
    from_msisdn TEXT NOT NULL,              -- E.164
    to_msisdn   TEXT NOT NULL,              -- E.164
    ts          TEXT NOT NULL,              -- ISO 8601 UTC as it was sent, returned unchanged
    text        TEXT,                       -- NULL: the message has none
    created_at  TEXT NOT NULL               -- when it was stored, ISO 8601 UTC by this machine's clock
);
