-- Everything at once. Only what other engines that speak the protocol have too: keys are made by the program, so there are
-- no sequences; no triggers, no foreign keys, and no collations of columns (the statements name "C").
-- Text is as it was sent, except for U+0000 and U+0001, which are escaped (src/store/postgres/value.rs).

CREATE TABLE inbox_schema (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version        int NOT NULL,   -- migrations applied
    oldest_program int NOT NULL,   -- the oldest version of the schema whose program may still run on this one
    erasure_key    bytea NOT NULL  -- erased.hash is made with it, and the key of the page's sessions
);
INSERT INTO inbox_schema (version, oldest_program, erasure_key)
VALUES (0, 1, decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

-- One row per message. The same message_id again is the sender trying again, not an error.
CREATE TABLE messages (
    message_key  bytea PRIMARY KEY,  -- the first 16 bytes of SHA-256(message_id): an index entry has at most 2,704 bytes
    message_id   text NOT NULL,
    from_msisdn  text NOT NULL,
    to_msisdn    text NOT NULL,
    ts           text NOT NULL,      -- ISO 8601 UTC as it was sent, returned unchanged
    text         text,               -- NULL: the message has none
    text_folded  text,               -- what q looks at: folded by the program, so that both engines find the same
    created_at   text NOT NULL,      -- when it was stored, ISO 8601 UTC by the clock of the server
    ts_us        bigint NOT NULL,    -- the instant of ts: microseconds since 1970 UTC, rounded down
    ts_ns        smallint NOT NULL,  -- and 0 to 999 nanoseconds beyond
    -- What a message of a provider has beyond that; NULL in native ones.
    source       text,
    type         text,               -- the provider's word
    from_id      text,               -- the provider's identifier of the person who wrote it
    profile_name text,
    channel      text,               -- the provider's identifier of the number that it was sent to
    reply_to     text,               -- the message_id of the message that it answers
    delivery_key bytea,              -- deliveries.delivery_key, which may have been deleted since
    at           bigint,             -- where the message begins in the body, in bytes
    bytes        bigint              -- its length there
);

-- Which messages follow this one: pages, cursors, since, first and last. Ties are sorted by message_id when they are read.
CREATE INDEX messages_by_moment ON messages (ts_us, ts_ns);

-- Which messages has this sender, in the order of time.
CREATE INDEX messages_by_sender ON messages (from_msisdn, ts_us, ts_ns);

-- Which messages has this person, by the beginning of an identifier of any length, and which are left of a delivery. Only
-- messages of providers are in them.
CREATE INDEX messages_by_person ON messages (left(from_id, 256)) WHERE from_id IS NOT NULL;
CREATE INDEX messages_by_delivery ON messages (delivery_key) WHERE delivery_key IS NOT NULL;

-- Deliveries as they came, each once. One with messages or statuses is kept when at least one of them was new.
CREATE TABLE deliveries (
    delivery_key bytea PRIMARY KEY,  -- 16 random bytes
    source       text NOT NULL,
    received_at  text NOT NULL,
    fields       text NOT NULL,      -- the header fields of the signature, a line `name: value` each
    body         bytea NOT NULL,
    ignored      boolean NOT NULL,   -- there was nothing in it to store
    altered      boolean NOT NULL    -- parts of the body were erased, so the signature does not match any more
);
CREATE INDEX deliveries_ignored ON deliveries (received_at) WHERE ignored;

-- What became of messages that were sent through a provider. Each status of a message and a recipient is stored once.
CREATE TABLE statuses (
    status_key   bytea PRIMARY KEY,  -- the first 16 bytes of SHA-256(message_id, status, recipient)
    message_id   text NOT NULL,
    status       text NOT NULL,
    recipient    text NOT NULL,
    ts           text NOT NULL,
    error_code   bigint,
    received_at  text NOT NULL,
    delivery_key bytea NOT NULL
);
CREATE INDEX statuses_by_message ON statuses (message_id);
CREATE INDEX statuses_by_delivery ON statuses (delivery_key);

-- What each commit has added and has no number yet. Every commit writes a row, also one of duplicates only: a transaction
-- that writes nothing does not wait for the standby, so that it could acknowledge a message that only one machine has.
CREATE TABLE commits (
    commit_id    bytea PRIMARY KEY,  -- 16 random bytes
    begun        timestamptz NOT NULL DEFAULT statement_timestamp(),
    senders      text[] NOT NULL,    -- one entry a message
    message_keys bytea[] NOT NULL,   -- in the order of arrival
    status_keys  bytea[] NOT NULL
);

-- What follows is changed only by a transaction that has locked the row of inbox_state (src/store/postgres/fold.rs).
CREATE TABLE inbox_state (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    last_seq        bigint NOT NULL,  -- the highest number that was given to a message
    last_status_seq bigint NOT NULL,  -- and to a status
    messages        bigint NOT NULL,  -- those that are counted; the others are in commits
    changes         bigint NOT NULL   -- messages that were deleted
);
INSERT INTO inbox_state (last_seq, last_status_seq, messages, changes) VALUES (0, 0, 0, 0);

-- The order of arrival. No number is given twice, and none becomes visible after a higher one.
CREATE TABLE arrivals (
    seq         bigint PRIMARY KEY,
    message_key bytea NOT NULL UNIQUE
);
CREATE TABLE status_arrivals (
    seq        bigint PRIMARY KEY,
    status_key bytea NOT NULL UNIQUE
);

-- Messages per sender, as far as they are counted.
CREATE TABLE tally_senders (
    from_msisdn text PRIMARY KEY,
    n           bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX tally_senders_empty ON tally_senders (from_msisdn) WHERE n = 0;

-- Messages that were erased, for as long as their provider may send them again.
CREATE TABLE erased (
    hash  bytea PRIMARY KEY,  -- HMAC-SHA256 of the message_id
    until text NOT NULL       -- ISO 8601 UTC
);
