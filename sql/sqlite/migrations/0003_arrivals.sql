-- A strict table whose key is the order of arrival. What an older table holds becomes text once, here: as_text,
-- moment_us and moment_ns are functions of the program (src/store/sqlite/schema.rs). All rows are kept.
CREATE TABLE arrived (
    -- The order of arrival; given by the writer, never twice. As large as a number in JSON can be exactly.
    seq         INTEGER PRIMARY KEY CHECK (seq < 9007199254740992),
    message_id  TEXT NOT NULL CHECK (length(CAST(message_id AS BLOB)) <= 1024), -- as MessageId in src/message.rs
    from_msisdn TEXT NOT NULL,         -- E.164
    to_msisdn   TEXT NOT NULL,         -- E.164
    ts          TEXT NOT NULL,         -- ISO 8601 UTC as it was sent, returned unchanged
    text        TEXT,                  -- NULL: the message has none
    created_at  TEXT NOT NULL,         -- when it was stored, ISO 8601 UTC by this machine's clock
    -- The instant of ts: microseconds since 1970 UTC, rounded down, and 0 to 999 nanoseconds beyond. The smallest
    -- integer stands for a ts that cannot be read, which only another program can have written.
    ts_us       INTEGER NOT NULL DEFAULT -9223372036854775808,
    ts_ns       INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO arrived
SELECT rowid, message_id, COALESCE(as_text(from_msisdn), ''), COALESCE(as_text(to_msisdn), ''),
    COALESCE(as_text(ts), ''), as_text(text), COALESCE(as_text(created_at), ''), moment_us(ts), moment_ns(ts)
FROM messages
WHERE typeof(message_id) = 'text' AND message_id = as_text(message_id) AND length(CAST(message_id AS BLOB)) <= 1024
ORDER BY rowid;

-- Made here and not with the table: by sorting, it takes a fraction of the time.
CREATE UNIQUE INDEX messages_by_id ON arrived (message_id);

-- A message_id that was not text, or is cut because it is too long, may read as another one. Then the row's number makes
-- it a message_id of its own.
INSERT INTO arrived
SELECT row,
    CASE WHEN place = 1 AND NOT EXISTS (SELECT 1 FROM arrived WHERE message_id = id) THEN id ELSE id || '#' || row END,
    COALESCE(as_text(from_msisdn), ''), COALESCE(as_text(to_msisdn), ''),
    COALESCE(as_text(ts), ''), as_text(text), COALESCE(as_text(created_at), ''), moment_us(ts), moment_ns(ts)
FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY id ORDER BY row) AS place
    FROM (
        SELECT *, rowid AS row,
            IIF(length(CAST(as_text(message_id) AS BLOB)) > 1024, substr(as_text(message_id), 1, 200) || '…',
                COALESCE(as_text(message_id), '')) AS id
        FROM messages
        WHERE typeof(message_id) <> 'text' OR message_id <> as_text(message_id) OR length(CAST(message_id AS BLOB)) > 1024
    )
);

DROP TABLE messages; -- with its indexes and triggers
DROP TABLE messages_changes;
ALTER TABLE arrived RENAME TO messages;

-- Which messages follow this one in the order of the contract: pages, cursors, since, first and last.
CREATE INDEX messages_by_moment ON messages (ts_us, ts_ns, message_id);

-- Which messages has this sender, in the order of time; and how many has each. Without message_id, which would widen
-- every entry by a third and cost a third of the ingest rate: messages of one sender within one nanosecond are sorted
-- when they are read.
CREATE INDEX messages_by_sender ON messages (from_msisdn, ts_us, ts_ns);

-- All that follows is for programs that know nothing of seq and of instants. The service turns triggers off where it
-- only appends (src/store/sqlite/schema.rs), so they cost it nothing.

-- One row.
CREATE TABLE arrival (
    high  INTEGER NOT NULL, -- the highest seq of a message that is not there any more, so that it is not given again
    stamp INTEGER NOT NULL  -- a random number; the service compares it to notice that an older file was restored
) STRICT;
INSERT INTO arrival VALUES (0, 0);

-- What became of messages that were there before: the service's counts follow it (src/store/sqlite/count.rs), and
-- what they have followed is removed. Messages that are new are not in it: they have the highest seq.
CREATE TABLE journal (
    n           INTEGER PRIMARY KEY AUTOINCREMENT,
    seq         INTEGER NOT NULL,
    from_msisdn TEXT NOT NULL,
    ts_us       INTEGER NOT NULL,
    change      INTEGER NOT NULL -- 1: such a message came, -1: it went
) STRICT;

-- The messages that a change in progress replaces, if it does (OR REPLACE): SQLite has no trigger for those.
CREATE TABLE replaced (
    seq         INTEGER PRIMARY KEY,
    from_msisdn TEXT NOT NULL,
    ts_us       INTEGER NOT NULL
) STRICT;

-- The instant that each ts stands for. The same as Timestamp::parse of src/timestamp.rs.
CREATE VIEW instants AS
SELECT seq,
    IIF(readable, unixepoch(substr(ts, 1, 19)) * 1000000 + CAST(substr(digits, 1, 6) AS INTEGER), -9223372036854775808)
        AS us,
    IIF(readable, CAST(substr(digits, 7, 3) AS INTEGER), 0) AS ns
FROM (
    SELECT seq, ts, rtrim(substr(ts, 21), 'Z') || '000000000' AS digits,
        ts GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9]*Z'
        AND ts NOT GLOB '0000*'
        AND strftime('%Y-%m-%dT%H:%M:%S', substr(ts, 1, 19)) IS substr(ts, 1, 19)
        AND (length(ts) = 20
            OR (length(ts) BETWEEN 22 AND 30 AND substr(ts, 20, 1) = '.'
                AND substr(ts, 21, length(ts) - 21) NOT GLOB '*[^0-9]*')) AS readable
    FROM messages
);

CREATE TRIGGER messages_inserting BEFORE INSERT ON messages
BEGIN
    DELETE FROM replaced;
    INSERT INTO replaced SELECT seq, from_msisdn, ts_us FROM messages WHERE message_id = NEW.message_id;
    INSERT OR IGNORE INTO replaced SELECT seq, from_msisdn, ts_us FROM messages WHERE seq = NEW.seq;
END;

CREATE TRIGGER messages_inserted AFTER INSERT ON messages
BEGIN
    INSERT INTO journal (seq, from_msisdn, ts_us, change) SELECT seq, from_msisdn, ts_us, -1 FROM replaced;
    UPDATE arrival SET high = (SELECT MAX(seq) FROM replaced) WHERE high < (SELECT MAX(seq) FROM replaced);
    DELETE FROM replaced;
    UPDATE messages SET (ts_us, ts_ns) = (SELECT us, ns FROM instants WHERE seq = NEW.seq) WHERE seq = NEW.seq;
    -- A seq that is not the highest: as if the message had been there, and got the next seq by the update.
    INSERT INTO journal (seq, from_msisdn, ts_us, change)
    SELECT seq, from_msisdn, ts_us, 1 FROM messages
    WHERE seq = NEW.seq AND (seq <= (SELECT high FROM arrival) OR seq < (SELECT MAX(seq) FROM messages));
    UPDATE messages SET seq = MAX((SELECT high FROM arrival), (SELECT MAX(seq) FROM messages)) + 1
    WHERE seq = NEW.seq AND (seq <= (SELECT high FROM arrival) OR seq < (SELECT MAX(seq) FROM messages));
END;

CREATE TRIGGER messages_updating BEFORE UPDATE OF seq, message_id ON messages
BEGIN
    DELETE FROM replaced;
    INSERT INTO replaced SELECT seq, from_msisdn, ts_us FROM messages
    WHERE message_id = NEW.message_id AND seq <> OLD.seq;
    INSERT OR IGNORE INTO replaced SELECT seq, from_msisdn, ts_us FROM messages WHERE seq = NEW.seq AND seq <> OLD.seq;
END;

CREATE TRIGGER messages_key_updated AFTER UPDATE OF seq, message_id ON messages
BEGIN
    INSERT INTO journal (seq, from_msisdn, ts_us, change) SELECT seq, from_msisdn, ts_us, -1 FROM replaced;
    UPDATE arrival SET high = (SELECT MAX(seq) FROM replaced) WHERE high < (SELECT MAX(seq) FROM replaced);
    UPDATE arrival SET high = OLD.seq WHERE high < OLD.seq AND NEW.seq <> OLD.seq;
    DELETE FROM replaced;
END;

CREATE TRIGGER messages_updated AFTER UPDATE OF seq, message_id, from_msisdn, to_msisdn, ts, text, created_at ON messages
BEGIN
    UPDATE messages SET (ts_us, ts_ns) = (SELECT us, ns FROM instants WHERE seq = NEW.seq)
    WHERE seq = NEW.seq AND ts IS NOT OLD.ts;
    INSERT INTO journal (seq, from_msisdn, ts_us, change) VALUES (OLD.seq, OLD.from_msisdn, OLD.ts_us, -1);
    INSERT INTO journal (seq, from_msisdn, ts_us, change)
    SELECT seq, from_msisdn, ts_us, 1 FROM messages WHERE seq = NEW.seq;
END;

CREATE TRIGGER messages_deleted AFTER DELETE ON messages
BEGIN
    DELETE FROM replaced WHERE seq = OLD.seq;
    UPDATE arrival SET high = OLD.seq WHERE high < OLD.seq;
    INSERT INTO journal (seq, from_msisdn, ts_us, change) VALUES (OLD.seq, OLD.from_msisdn, OLD.ts_us, -1);
END;
