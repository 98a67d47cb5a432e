-- What providers send, which native messages have no row of.

-- Deliveries as they came, each once. One with messages or statuses is kept when at least one of them was new.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of arrival, never given twice: details name it
    source      TEXT NOT NULL,              -- Source in src/delivery.rs
    received_at TEXT NOT NULL,              -- when it was stored, ISO 8601 UTC by this machine's clock
    fields      TEXT NOT NULL,              -- the header fields of the signature, a line `name: value` each
    body        BLOB NOT NULL,
    ignored     INTEGER NOT NULL,           -- 1: there was nothing in it to store
    altered     INTEGER NOT NULL DEFAULT 0  -- 1: parts of the body were erased, so the signature does not match any more
) STRICT;

-- What a message of a provider has beyond the columns of messages.
CREATE TABLE details (
    seq          INTEGER PRIMARY KEY,  -- that of messages
    source       TEXT NOT NULL,
    type         TEXT NOT NULL,        -- the provider's word
    from_id      TEXT,                 -- the provider's identifier of the person who wrote it
    profile_name TEXT,
    channel      TEXT,                 -- the provider's identifier of the number that it was sent to
    reply_to     TEXT,                 -- the message_id of the message that it answers
    delivery     INTEGER NOT NULL,     -- deliveries.id, which may have been deleted since
    at           INTEGER NOT NULL,     -- where the message begins in the body, in bytes
    bytes        INTEGER NOT NULL      -- its length there
) STRICT;

-- What became of messages that were sent through a provider. Each status of a message and a recipient is stored once.
CREATE TABLE statuses (
    seq         INTEGER PRIMARY KEY CHECK (seq < 9007199254740992),  -- the order of arrival; never given twice
    message_id  TEXT NOT NULL,     -- of the message that was sent
    status      TEXT NOT NULL,     -- the provider's word
    recipient   TEXT NOT NULL,
    ts          TEXT NOT NULL,     -- ISO 8601 UTC by the provider's clock
    error_code  INTEGER,           -- the first that the provider gives
    received_at TEXT NOT NULL,     -- when it was stored, ISO 8601 UTC by this machine's clock
    delivery    INTEGER NOT NULL,  -- deliveries.id, which may have been deleted since
    UNIQUE (message_id, status, recipient)
) STRICT;

-- Which messages and statuses are left of a delivery. Both grow with arrival, so they cost next to nothing.
CREATE INDEX details_by_delivery ON details (delivery);
CREATE INDEX statuses_by_delivery ON statuses (delivery);
CREATE INDEX deliveries_ignored ON deliveries (ignored) WHERE ignored = 1;

-- Which messages has this person. Only messages of providers are in it.
CREATE INDEX details_by_person ON details (from_id) WHERE from_id IS NOT NULL;

-- Messages that were erased, for as long as their provider may send them again.
CREATE TABLE erased (
    hash  BLOB PRIMARY KEY,  -- HMAC-SHA256 of the message_id
    until TEXT NOT NULL      -- ISO 8601 UTC
) STRICT;
CREATE TABLE erasure (key BLOB NOT NULL) STRICT; -- one row
INSERT INTO erasure VALUES (randomblob(32));

-- The highest seq that was ever given to a status that is not there any more.
ALTER TABLE arrival ADD COLUMN status_high INTEGER NOT NULL DEFAULT 0;

-- A delivery goes with the last of its messages and statuses.
CREATE TRIGGER details_deleted AFTER DELETE ON details
BEGIN
    DELETE FROM deliveries
    WHERE id = OLD.delivery
        AND NOT EXISTS (SELECT 1 FROM details WHERE delivery = OLD.delivery)
        AND NOT EXISTS (SELECT 1 FROM statuses WHERE delivery = OLD.delivery);
END;

CREATE TRIGGER statuses_deleted AFTER DELETE ON statuses
BEGIN
    UPDATE arrival SET status_high = OLD.seq WHERE status_high < OLD.seq;
    DELETE FROM deliveries
    WHERE id = OLD.delivery
        AND NOT EXISTS (SELECT 1 FROM details WHERE delivery = OLD.delivery)
        AND NOT EXISTS (SELECT 1 FROM statuses WHERE delivery = OLD.delivery);
END;

-- Other programs know nothing of details.
CREATE TRIGGER messages_details_deleted AFTER DELETE ON messages
BEGIN
    DELETE FROM details WHERE seq = OLD.seq;
END;

CREATE TRIGGER messages_details_moved AFTER UPDATE OF seq ON messages WHEN NEW.seq <> OLD.seq
BEGIN
    UPDATE details SET seq = NEW.seq WHERE seq = OLD.seq;
END;
