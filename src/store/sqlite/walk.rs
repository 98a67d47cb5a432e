//! Reads that do not look at texts: pages from the indexes by time, totals from the tally and, where the tally does not
//! know them, counted along an index.
//!
//! 1. A hold reads at most a slice of index entries, whatever the data; the lock is released between two slices.
//! 2. All slices of one read see one state: messages stored meanwhile have a seq above the highest at the start, and are
//!    left out. A message that is deleted meanwhile may shift the page of an offset.
//! 3. messages_by_moment has the order of a page. messages_by_sender has it too, except within one moment, where it is
//!    in order of seq: a moment of less than a window is sorted in memory, a larger one is read along messages_by_moment.

use crate::query::{Cursor, Selection, Start};
use crate::store::sqlite::buckets::Since;
use crate::store::sqlite::database::View;
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::row::{Last, Placed, Position, bind, finish, moment};
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::{Page, ReadError};
use crate::timestamp::Moment;
use rusqlite::{Connection, Statement, ToSql};

/// Index entries that are skipped or counted in one hold: about 0.8 ms, along messages_by_sender 2 ms. The unit tests have
/// small tables.
const SLICE_ENTRIES: u64 = if cfg!(test) { 16 } else { 16_384 };

/// Index entries whose rows may be looked up in one hold: about 1 ms.
const WINDOW_ENTRIES: usize = if cfg!(test) { 8 } else { 1024 };

/// A page and its total, without a needle.
pub(super) fn page(turns: &Turns, selection: &Selection, deadline: Deadline) -> Result<Page, ReadError> {
    let since = selection.since.unwrap_or(Moment::UNKNOWN);
    let sender = selection.from.as_deref();
    // Most pages are complete after this hold.
    let (walk, first, total) = turns.view(deadline, |view| {
        let walk = Walk { turns, sender, deadline, limit: selection.limit, row_max: view.row_max()? };
        let mut reading = match &selection.start {
            &Start::Offset(offset) if offset > 0 => {
                let known = view.tally.since(sender, since);
                return Ok((walk, First::Far { offset, known }, known_total(view, sender, selection.since)));
            }
            Start::After(cursor) if cursor.moment >= since => walk.after(cursor),
            _ => Reading::new(Position::before(since)),
        };
        walk.step(view.connection, &mut reading)?;
        Ok((walk, First::Rows(reading), known_total(view, sender, selection.since)))
    })?;
    let total = walk.total(total)?;
    let reading = match first {
        First::Rows(reading) => Some(reading),
        First::Far { offset, .. } if offset >= total => None,
        First::Far { offset, known } => walk.far(since, offset, known, total)?,
    };
    let rows = reading.map_or(Ok(Vec::new()), |reading| walk.read(reading))?;
    Ok(finish(rows, total, selection.limit))
}

/// What the first hold brings.
enum First {
    /// The page, or its beginning.
    Rows(Reading),
    /// The page is behind so many messages; this is what the tally says about the way.
    Far { offset: u64, known: Option<Since> },
}

/// What of a total is known at once, and what is still to be counted.
struct Total {
    known: u64,
    uncounted: Option<Uncounted>,
}

/// From a moment up to, not including, a microsecond.
struct Uncounted {
    from: Moment,
    to_us: i64,
    /// Messages that it has at most.
    most: u64,
}

fn known_total(view: &View<'_>, sender: Option<&str>, since: Option<Moment>) -> Total {
    let all = || sender.map_or(view.tally.total(), |sender| view.tally.of_sender(sender));
    let Some(from) = since else { return Total { known: all(), uncounted: None } };
    match view.tally.since(sender, from) {
        Some(known) => {
            let uncounted = Uncounted { from, to_us: known.next.us, most: known.uncounted_max };
            Total { known: known.counted(), uncounted: Some(uncounted) }
        }
        None => Total { known: 0, uncounted: Some(Uncounted { from, to_us: i64::MAX, most: all() }) },
    }
}

struct Walk<'a> {
    turns: &'a Turns,
    sender: Option<&'a str>,
    deadline: Deadline,
    limit: usize,
    /// The highest seq when the walk began.
    row_max: i64,
}

/// A page that is being read.
struct Reading {
    /// Reading continues behind this.
    at: Position,
    /// With a sender: the moment that is being read along messages_by_moment.
    crowd: Option<Moment>,
    /// Messages up to this one do not belong to the page.
    past: Option<Cursor>,
    /// So many more messages do not.
    skip: u64,
    /// The page, and one more row, so that it is known whether another page follows.
    rows: Vec<Placed>,
    done: bool,
}

impl Reading {
    fn new(at: Position) -> Reading {
        Reading { at, crowd: None, past: None, skip: 0, rows: Vec::new(), done: false }
    }

    fn is_past(&self, moment: Moment, id: &[u8]) -> bool {
        self.past.as_ref().is_some_and(|past| (moment, id) <= (past.moment, past.id.as_bytes()))
    }
}

impl Walk<'_> {
    /// The page behind a cursor.
    fn after(&self, cursor: &Cursor) -> Reading {
        let at = match self.sender {
            None => Position { moment: cursor.moment, last: Last::Id(cursor.id.clone().into_bytes()) },
            Some(_) => Position::before(cursor.moment),
        };
        Reading { past: Some(cursor.clone()), ..Reading::new(at) }
    }

    /// The page behind so many messages: on to where the tally knows the way, and from there entry by entry.
    fn far(&self, since: Moment, offset: u64, known: Option<Since>, total: u64) -> Result<Option<Reading>, ReadError> {
        let (mut from, mut skip) = (since, offset);
        let mut before = total.saturating_sub(known.as_ref().map_or(0, Since::counted));
        for (beginning, count) in known.into_iter().flat_map(|known| known.stretches) {
            if offset < before {
                break;
            }
            (from, skip) = (beginning, offset - before);
            before += count;
        }
        let (mut at, mut left) = (Position::before(from), skip);
        while left > 0 {
            let entries = left.min(SLICE_ENTRIES);
            let Some(next) = self.seek(&at, entries)? else { return Ok(None) };
            (at, left) = (next, left - entries);
        }
        if self.sender.is_none() || skip == 0 {
            return Ok(Some(Reading::new(at)));
        }
        // The messages of one moment are in another order in the page: those before its microsecond are skipped for certain.
        let skip = skip.saturating_sub(self.count(&Position::before(from), at.moment.us, skip)?);
        let begin = from.max(Moment { us: at.moment.us, ns: 0 });
        Ok(Some(Reading { skip, ..Reading::new(Position::before(begin)) }))
    }

    fn read(&self, mut reading: Reading) -> Result<Vec<Placed>, ReadError> {
        while !reading.done {
            self.hold(|connection| self.step(connection, &mut reading))?;
        }
        Ok(reading.rows)
    }

    /// Reads as much of a page as one hold may.
    fn step(&self, connection: &Connection, reading: &mut Reading) -> Result<(), ReadError> {
        match (self.sender, reading.crowd) {
            (None, _) => self.rows(connection, reading)?,
            (Some(_), None) => self.window(connection, reading)?,
            (Some(_), Some(moment)) => self.crowd(connection, reading, moment)?,
        }
        reading.done |= reading.rows.len() > self.limit;
        Ok(())
    }

    /// Messages of all senders.
    fn rows(&self, connection: &Connection, reading: &mut Reading) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/page_by_moment.sql"))?;
        let limit = self.limit + 1;
        self.bind(&mut statement, &reading.at, &[(":limit", &(limit as i64))])?;
        let (mut rows, mut read) = (statement.raw_query(), 0);
        while let Some(row) = rows.next()? {
            read += 1;
            reading.at = Position::read(row)?;
            let placed = Placed::read(row)?;
            // A cursor holds the message_id as text. What is not UTF-8 has another place, and could come again and again.
            if !reading.is_past(placed.moment, placed.item.message_id.as_bytes()) {
                reading.rows.push(placed);
            }
        }
        reading.done = read < limit;
        Ok(())
    }

    /// Messages of one sender, moment by moment.
    fn window(&self, connection: &Connection, reading: &mut Reading) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/entries_by_sender.sql"))?;
        self.bind(&mut statement, &reading.at, &[(":limit", &(WINDOW_ENTRIES as i64))])?;
        let (mut rows, mut read) = (statement.raw_query(), 0);
        let (mut of, mut seqs) = (Moment::UNKNOWN, Vec::new());
        while let Some(row) = rows.next()? {
            read += 1;
            let at = moment(row, 0)?;
            if at != of {
                self.add(connection, reading, of, std::mem::take(&mut seqs))?;
                of = at;
            }
            if reading.rows.len() > self.limit {
                return Ok(());
            }
            seqs.push(row.get(2)?);
        }
        if read < WINDOW_ENTRIES {
            self.add(connection, reading, of, seqs)?;
            reading.done = true;
            return Ok(());
        }
        // The moment may have more messages than were read.
        reading.at = Position::before(of);
        if seqs.len() == WINDOW_ENTRIES {
            reading.crowd = Some(of);
            if let Some(past) = reading.past.as_ref().filter(|past| past.moment == of) {
                reading.at = Position { moment: of, last: Last::Id(past.id.clone().into_bytes()) };
            }
        }
        Ok(())
    }

    /// Adds all messages of one moment, as far as they belong to the page.
    fn add(
        &self,
        connection: &Connection,
        reading: &mut Reading,
        moment: Moment,
        mut seqs: Vec<i64>,
    ) -> rusqlite::Result<()> {
        if seqs.len() > 1 {
            let mut id_of_row = connection.prepare_cached(include_str!("../../../sql/sqlite/id_of_row.sql"))?;
            let mut id = |seq| id_of_row.query_row([seq], |row| Ok((row.get_ref(0)?.as_bytes()?.to_vec(), seq)));
            let mut ids: Vec<(Vec<u8>, i64)> = seqs.into_iter().map(&mut id).collect::<rusqlite::Result<_>>()?;
            ids.retain(|(id, _)| !reading.is_past(moment, id));
            ids.sort_unstable();
            seqs = ids.into_iter().map(|(_, seq)| seq).collect();
        }
        for seq in seqs {
            if reading.rows.len() <= self.limit {
                take(connection, reading, seq)?;
            }
        }
        Ok(())
    }

    /// Messages of one sender at a moment at which it has many: in the order of the page, and among those of others.
    fn crowd(&self, connection: &Connection, reading: &mut Reading, moment: Moment) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/entries_of_moment.sql"))?;
        let parameters: [(&str, &dyn ToSql); 3] =
            [(":end_us", &moment.us), (":end_ns", &moment.ns), (":limit", &(WINDOW_ENTRIES as i64))];
        self.bind(&mut statement, &reading.at, &parameters)?;
        let (mut rows, mut read) = (statement.raw_query(), 0);
        while let Some(row) = rows.next()? {
            read += 1;
            reading.at = Position::read(row)?;
            if row.get(4)? {
                take(connection, reading, row.get(3)?)?;
            }
            if reading.rows.len() > self.limit {
                return Ok(());
            }
        }
        if read < WINDOW_ENTRIES {
            reading.crowd = None;
            reading.at = Position { moment, last: Last::End };
        }
        Ok(())
    }

    fn total(&self, total: Total) -> Result<u64, ReadError> {
        let Some(Uncounted { from, to_us, most }) = total.uncounted else { return Ok(total.known) };
        Ok(total.known + self.count(&Position::before(from), to_us, most)?)
    }

    /// How many messages there are behind a position and before a microsecond.
    fn count(&self, at: &Position, end_us: i64, most: u64) -> Result<u64, ReadError> {
        if at.moment.us >= end_us {
            return Ok(0);
        }
        let (mut count, mut at) = (0, at.clone());
        while most > count + SLICE_ENTRIES
            && let Some(next) = self.seek(&at, SLICE_ENTRIES)?.filter(|next| next.moment.us < end_us)
        {
            count += SLICE_ENTRIES;
            at = next;
        }
        let sql = match self.sender {
            None => include_str!("../../../sql/sqlite/count_by_moment.sql"),
            Some(_) => include_str!("../../../sql/sqlite/count_by_sender.sql"),
        };
        self.hold(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            self.bind(&mut statement, &at, &[(":end_us", &end_us)])?;
            let mut rows = statement.raw_query();
            let rest: i64 = rows.next()?.map_or(Ok(0), |row| row.get(0))?;
            Ok(count + rest.unsigned_abs()) // COUNT(*) is never negative
        })
    }

    /// The place of the last of so many messages behind a position, in the order of the index. At most a slice of them.
    fn seek(&self, at: &Position, messages: u64) -> Result<Option<Position>, ReadError> {
        let sql = match self.sender {
            None => include_str!("../../../sql/sqlite/seek_by_moment.sql"),
            Some(_) => include_str!("../../../sql/sqlite/seek_by_sender.sql"),
        };
        self.hold(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            self.bind(&mut statement, at, &[(":offset", &(messages as i64 - 1))])?;
            let mut rows = statement.raw_query();
            Ok(rows.next()?.map(Position::read).transpose()?)
        })
    }

    fn hold<T>(&self, slice: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, ReadError> {
        self.deadline.check()?;
        self.turns.take(Side::Read).slice(slice)
    }

    /// Binds the position, what is the same for all statements of a walk, and some more.
    fn bind(&self, statement: &mut Statement<'_>, at: &Position, more: &[(&str, &dyn ToSql)]) -> rusqlite::Result<()> {
        let Position { moment: Moment { us, ns }, last } = at;
        bind(statement, &[(":us", us), (":ns", ns), (":last", last), (":row_max", &self.row_max)])?;
        bind(statement, &[(":from", &self.sender)])?;
        bind(statement, more)
    }
}

/// Adds a message to the page, unless it is one to skip.
fn take(connection: &Connection, reading: &mut Reading, seq: i64) -> rusqlite::Result<()> {
    if reading.skip > 0 {
        reading.skip -= 1;
        return Ok(());
    }
    let mut row = connection.prepare_cached(include_str!("../../../sql/sqlite/page_of_row.sql"))?;
    let placed = row.query_row([seq], Placed::read)?;
    if !reading.is_past(placed.moment, placed.item.message_id.as_bytes()) {
        reading.rows.push(placed);
    }
    Ok(())
}
