//! Which state of the database the tally is about, and how it follows when that is not the present one.
//!
//! 1. The tally is of the messages up to one `seq`, as they were at one entry of the journal (0003_arrivals.sql).
//! 2. Commits of this connection are counted as they are made, as long as no other program has written.
//! 3. `PRAGMA data_version` says when another connection has. Then the entries of the journal that came since are
//!    followed first, except those about messages that were not counted yet; and only when all are, the messages with a
//!    higher `seq` are counted, as they are now. So none is counted twice.
//! 4. Following goes in steps, with the turn given up in between: however much there is, ingest continues.
//! 5. When the file has become another database, by `.restore` of the sqlite3 shell for example, all is counted again
//!    (turn.rs). It is noticed by the stamp, which this service changes about a second after every change, and by numbers
//!    that are lower than they were.

use crate::store::sqlite::tally::Tally;
use crate::store::sqlite::value::text;
use crate::timestamp::Moment;
use rusqlite::Connection;

/// Rows or entries of the journal in one step: about 1 ms.
const STEP_ROWS: i64 = 4096;

/// The counts, and what they are about.
#[derive(Default)]
pub(super) struct Count {
    /// Exact when [`Count::is_exact`] says so.
    pub(super) tally: Tally,
    /// None: nothing is known, all is to be counted again.
    counted: Option<Counted>,
}

struct Counted {
    /// `PRAGMA data_version` at which the tally was exact; None while there is more to follow.
    data_version: Option<i64>,
    /// The last entry of the journal that was followed.
    entry: i64,
    /// The highest `seq` that was counted.
    seq: i64,
    /// The stamp of this database.
    stamp: i64,
    /// Something has changed since the stamp did.
    unstamped: bool,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// The tally is exact.
    Exact,
    /// There is more to follow.
    Partly,
    /// All has to be counted again.
    Lost,
}

impl Count {
    /// Counts all messages in one pass, within a transaction of the connection.
    pub(super) fn build(connection: &Connection) -> rusqlite::Result<Count> {
        let Seen { entry, seq, stamp, .. } = seen(connection)?;
        let counted = Counted { data_version: None, entry, seq, stamp, unstamped: true };
        Ok(Count { tally: Tally::build(connection)?, counted: Some(counted) })
    }

    /// Whether the tally is that of the database with this `PRAGMA data_version`.
    pub(super) fn is_exact(&self, data_version: i64) -> bool {
        let known = self.counted.as_ref().and_then(|counted| counted.data_version);
        known == Some(data_version) && self.tally.is_settled()
    }

    /// The last entry of the journal that was followed.
    pub(super) fn followed(&self) -> Option<i64> {
        self.counted.as_ref().map(|counted| counted.entry)
    }

    /// This connection has deleted messages, or a COMMIT of it has failed and may have been made nevertheless: the next step
    /// looks.
    pub(super) fn doubt(&mut self) {
        if let Some(counted) = &mut self.counted {
            counted.data_version = None;
        }
    }

    /// Goes one step towards being exact, within a transaction of the connection.
    pub(super) fn step(&mut self, connection: &Connection, data_version: i64) -> rusqlite::Result<Followed> {
        let Some(mut counted) = self.counted.take() else { return Ok(Followed::Lost) };
        // Should it fail, it is not certain what was counted.
        let followed = counted.step(&mut self.tally, connection, data_version)?;
        if followed != Followed::Lost {
            self.counted = Some(counted);
        }
        Ok(followed)
    }

    /// Counts messages that this connection has stored while `PRAGMA data_version` was this, up to `seq`.
    pub(super) fn committed<'a>(
        &mut self,
        data_version: i64,
        messages: impl Iterator<Item = (&'a str, Moment)>,
        connection: &Connection,
        seq: i64,
    ) {
        // When another program has written, the next step counts these messages too.
        let Some(counted) = self.counted.as_mut().filter(|counted| counted.data_version == Some(data_version)) else {
            return;
        };
        match self.tally.add_all(messages, connection, seq) {
            Ok(()) => (counted.unstamped, counted.seq) = (counted.unstamped || counted.seq != seq, seq),
            Err(_) => self.counted = None, // the messages are stored all the same
        }
    }

    /// Whether the stamp is to be changed, while `PRAGMA data_version` is this.
    pub(super) fn is_unstamped(&self, data_version: i64) -> bool {
        let counted = self.counted.as_ref().filter(|counted| counted.data_version == Some(data_version));
        counted.is_some_and(|counted| counted.unstamped)
    }

    /// This connection has changed the stamp.
    pub(super) fn stamped(&mut self, stamp: i64) {
        if let Some(counted) = &mut self.counted {
            (counted.stamp, counted.unstamped) = (stamp, false);
        }
    }
}

impl Counted {
    fn step(&mut self, tally: &mut Tally, connection: &Connection, data_version: i64) -> rusqlite::Result<Followed> {
        if self.data_version == Some(data_version) {
            tally.settle();
            return Ok(if tally.is_settled() { Followed::Exact } else { Followed::Partly });
        }
        self.data_version = None;
        let seen = seen(connection)?;
        if seen.stamp != self.stamp || seen.entry < self.entry || seen.seq_given < self.seq {
            return Ok(Followed::Lost);
        }
        self.unstamped |= seen.entry > self.entry || seen.seq > self.seq;
        let Some(entries) = self.follow_journal(tally, connection)? else { return Ok(Followed::Lost) };
        if entries == STEP_ROWS {
            return Ok(Followed::Partly);
        }
        if self.entry < seen.entry {
            return Ok(Followed::Lost); // another program has removed entries
        }
        if self.append(tally, connection)? == STEP_ROWS {
            return Ok(Followed::Partly);
        }
        self.data_version = Some(data_version);
        Ok(if tally.is_settled() { Followed::Exact } else { Followed::Partly })
    }

    /// Follows some entries, and returns how many. None: a message went that was not counted.
    fn follow_journal(&mut self, tally: &mut Tally, connection: &Connection) -> rusqlite::Result<Option<i64>> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/journal_after.sql"))?;
        let mut entries = statement.query((self.entry, STEP_ROWS))?;
        let mut count = 0;
        while let Some(entry) = entries.next()? {
            count += 1;
            self.entry = entry.get(0)?;
            let seq: i64 = entry.get(1)?;
            if seq > self.seq {
                continue;
            }
            let (from, us) = (text(entry.get_ref(2)?).unwrap_or_default(), entry.get(3)?);
            if entry.get::<_, i64>(4)? > 0 {
                tally.add(&from, us);
            } else if !tally.remove(&from, us) {
                return Ok(None);
            }
        }
        Ok(Some(count))
    }

    /// Counts some of the messages with a higher `seq`, and returns how many.
    fn append(&mut self, tally: &mut Tally, connection: &Connection) -> rusqlite::Result<i64> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/appended.sql"))?;
        let mut rows = statement.query((self.seq, STEP_ROWS))?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            self.seq = row.get(0)?;
            let from = text(row.get_ref(1)?).unwrap_or_default().into_owned();
            messages.push((from, Moment { us: row.get(2)?, ns: 0 }));
        }
        tally.add_all(messages.iter().map(|(from, moment)| (from.as_str(), *moment)), connection, self.seq)?;
        Ok(messages.len() as i64)
    }
}

/// What the ends of the tables say.
pub(super) struct Seen {
    /// The last entry that the journal has had.
    pub(super) entry: i64,
    /// The highest `seq` of a message.
    pub(super) seq: i64,
    /// The highest `seq` that was ever given, also to a message that was deleted since.
    pub(super) seq_given: i64,
    stamp: i64,
}

pub(super) fn seen(connection: &Connection) -> rusqlite::Result<Seen> {
    connection.prepare_cached(include_str!("../../../sql/sqlite/seen.sql"))?.query_row([], |row| {
        let seq = row.get(1)?;
        Ok(Seen { entry: row.get(0)?, seq, seq_given: row.get::<_, i64>(2)?.max(seq), stamp: row.get(3)? })
    })
}
