-- The index of q: which blocks of messages may hold a text (src/store/sqlite/pieces.rs). It follows behind the messages
-- (src/store/sqlite/index.rs); what it does not have yet is read.

-- Groups of messages, by seq / 32768. One that is not here is not in the index.
CREATE TABLE search_groups (
    id    INTEGER PRIMARY KEY,
    state INTEGER NOT NULL      -- 0: it is in the index; any other number: it is being built
) STRICT;

-- The slices of a group, some in a row: 1024 * group + the number of the row.
CREATE TABLE search_slices (
    id     INTEGER PRIMARY KEY,
    slices BLOB NOT NULL
) STRICT;

-- Another program has changed a text that may be in the index. A new message never is: it has the highest seq. Of one that is
-- deleted, the index says no more than that it may be there.
CREATE TRIGGER messages_text_updated AFTER UPDATE OF seq, text ON messages
BEGIN
    DELETE FROM search_groups WHERE id = NEW.seq >> 15;
END;
