-- The instant of ts as integers, since text does not sort by time (`10:00:00.5Z` < `10:00:00Z`).
-- moment_us and moment_ns are functions of the program (src/store/sqlite/schema.rs). A ts that cannot be read, which only a
-- database taken over can hold, gets the smallest integer.
-- NULL means "not known yet": another program has written the row, and src/store/sqlite/database.rs fills it in at the next read.
ALTER TABLE messages ADD COLUMN ts_us INTEGER;  -- microseconds since 1970 UTC, rounded down
ALTER TABLE messages ADD COLUMN ts_ns INTEGER;  -- nanoseconds beyond ts_us, 0 to 999

UPDATE messages SET ts_us = moment_us(ts), ts_ns = moment_ns(ts);

-- Which messages follow this one in the order of the contract: pages, cursors, since, first and last.
CREATE INDEX messages_by_moment ON messages (ts_us, ts_ns, message_id);

-- Which messages has this sender, in the order of time; and how many has each. Without message_id, which would widen
-- every entry by a third and cost a third of the ingest rate: messages of one sender within one nanosecond are sorted
-- when they are read.
CREATE INDEX messages_by_sender ON messages (from_msisdn, ts_us, ts_ns);

-- Another program that changes ts does not know of ts_us.
CREATE TRIGGER messages_ts_changed AFTER UPDATE OF ts ON messages
WHEN NEW.ts IS NOT OLD.ts AND NEW.ts_us IS OLD.ts_us
BEGIN
    UPDATE messages SET ts_us = NULL, ts_ns = NULL WHERE rowid = NEW.rowid;
END;

-- How often another program has changed messages, so that a service can tell from a change of the file (PRAGMA
-- data_version) whether its counts still hold: Litestream, for one, changes tables of its own all the time. The program
-- itself turns triggers off where it only appends, so they cost it nothing (src/store/sqlite/schema.rs).
CREATE TABLE messages_changes (n INTEGER NOT NULL);
INSERT INTO messages_changes VALUES (0);
CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN UPDATE messages_changes SET n = n + 1; END;
CREATE TRIGGER messages_updated AFTER UPDATE ON messages BEGIN UPDATE messages_changes SET n = n + 1; END;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages BEGIN UPDATE messages_changes SET n = n + 1; END;
