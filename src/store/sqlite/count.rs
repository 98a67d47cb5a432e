//! Which state of the database the tally is about, and how it catches up when that is not the present one.
//!
//! 1. Commits of this connection are counted as they are made.
//! 2. `PRAGMA data_version` says when another connection has changed the file; then the journal and the highest
//!    rowid (0003_arrivals.sql) say how. Rows that were appended are counted; after any other change, all are counted anew.
//! 3. Both goes in steps, with the turn given up in between: however many rows there are, ingest goes on.

use crate::store::sqlite::tally::{Counting, Tally};
use crate::timestamp::Moment;
use rusqlite::Connection;

/// Rows counted in one step: about 1 ms.
const STEP_ROWS: usize = 4096;

/// The counts, and what they are about.
#[derive(Default)]
pub(super) struct Count {
    /// Exact when [`Count::is_exact`] says so.
    pub(super) tally: Tally,
    state: State,
}

#[derive(Default)]
enum State {
    /// Nothing was counted yet, and nobody waits: the service starts.
    #[default]
    New,
    /// Nothing can be said; all rows are to be counted.
    Unknown,
    /// The tally is about this state of the table.
    Counted(Counted),
    /// All rows are being counted, up to one that was the highest when that began.
    Counting { counting: Box<Counting>, changes: i64, row_max: i64 },
}

struct Counted {
    /// `PRAGMA data_version`; None as long as rows above `row_max` may be missing.
    data_version: Option<i64>,
    /// How often other programs had changed the table, appending programs of this kind not included.
    changes: i64,
    /// The highest rowid that was counted.
    row_max: i64,
}

impl Count {
    /// Whether the tally is that of the database with this `PRAGMA data_version`.
    pub(super) fn is_exact(&self, data_version: i64) -> bool {
        matches!(self.state, State::Counted(Counted { data_version: Some(counted), .. }) if counted == data_version)
    }

    /// Goes one step towards being exact, within a transaction of the connection. Should it fail, everything is counted
    /// anew the next time.
    pub(super) fn step(&mut self, connection: &Connection, data_version: i64) -> rusqlite::Result<()> {
        let (changes, highest) = seen(connection)?;
        let counted = |row_max| {
            State::Counted(Counted { data_version: (row_max == highest).then_some(data_version), changes, row_max })
        };
        self.state = match std::mem::replace(&mut self.state, State::Unknown) {
            State::Counted(before) if before.changes == changes && before.row_max <= highest => {
                counted(self.tally.append(connection, before.row_max, STEP_ROWS)?)
            }
            State::New => {
                self.tally = Tally::build(connection)?;
                counted(highest)
            }
            State::Counting { changes: before, .. } if before != changes => {
                // All in one go: by steps, a program that changes rows all the time would put off the end for ever.
                self.tally = Tally::build(connection)?;
                counted(highest)
            }
            State::Counting { mut counting, changes, row_max } => {
                match counting.step(connection, row_max, STEP_ROWS)? {
                    true => {
                        self.tally = counting.end();
                        counted(row_max)
                    }
                    false => State::Counting { counting, changes, row_max },
                }
            }
            State::Unknown | State::Counted(_) => {
                State::Counting { counting: Box::default(), changes, row_max: highest }
            }
        };
        Ok(())
    }

    /// It is not certain what the table holds: all rows are counted anew the next time.
    pub(super) fn forget(&mut self) {
        self.state = State::Unknown;
    }

    /// Counts messages that this connection has appended to a table whose highest rowid was `row_max`.
    pub(super) fn committed<'a>(
        &mut self,
        row_max: i64,
        messages: impl Iterator<Item = (&'a str, Moment)>,
        connection: &Connection,
    ) {
        let State::Counted(counted) = &mut self.state else { return };
        let mut messages = messages.peekable();
        // When another process has appended or deleted, the next read counts, and these messages too.
        if counted.row_max != row_max || messages.peek().is_none() {
            return;
        }
        let last = connection.last_insert_rowid();
        match self.tally.add_all(messages, connection, last) {
            Ok(()) => counted.row_max = last,
            // The messages are stored all the same.
            Err(_) => self.state = State::Unknown,
        }
    }
}

/// The highest seq that was ever given, also to a message that was deleted since.
pub(super) fn last_seq(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached(include_str!("../../../sql/sqlite/last_seq.sql"))?.query_row([], |row| row.get(0))
}

/// How often other programs have changed the table, and the highest rowid.
pub(super) fn seen(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    connection
        .prepare_cached(include_str!("../../../sql/sqlite/seen.sql"))?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}
