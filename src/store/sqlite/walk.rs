//! Reads that need no look at the texts: pages out of an index, totals out of the tally, and for what the tally does
//! not know, counting along an index in slices, with the turn given up in between.
//!
//! All slices of one read see one state of the database: rows that are stored meanwhile have a rowid above the one that
//! was the highest at the start, and are left out. All but a page of a deep offset is read in the hold that told that
//! highest rowid.

use crate::query::{Cursor, Last, Selection, Start};
use crate::store::sqlite::buckets::Since;
use crate::store::sqlite::database::View;
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::row::{Placed, finish, moment};
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::{Page, ReadError};
use crate::timestamp::Moment;
use rusqlite::{CachedStatement, Connection, ToSql, named_params};

/// Index entries looked at in one hold. At about 50 ns each this is a fifth of a millisecond; those of a page by sender
/// that an offset skips are read as rows, at about 1 µs each.
const SLICE_ROWS: u64 = 4096;

/// Index entries counted in one hold: about 0.8 ms.
const COUNT_ROWS: u64 = 16_384;

/// After every moment.
const END: Moment = Moment { us: i64::MAX, ns: 1000 };

/// The two indexes that have the order of time.
#[derive(Clone, Copy)]
enum Along<'a> {
    Moment,
    Sender(&'a str),
}

impl<'a> Along<'a> {
    fn sender(self) -> Option<&'a str> {
        match self {
            Along::Moment => None,
            Along::Sender(from) => Some(from),
        }
    }
}

/// A page and its total, without a needle.
pub(super) fn page(turns: &Turns, selection: &Selection, deadline: Deadline) -> Result<Page, ReadError> {
    let along = selection.from.as_deref().map_or(Along::Moment, Along::Sender);
    let since = selection.since.unwrap_or(Moment::UNKNOWN);
    let mut walk = Walk { turns, along, deadline, limit: selection.limit, row_max: i64::MAX };
    let (first, total, row_max) = turns.view(deadline, |view| {
        let first = match &selection.start {
            Start::After(cursor) if cursor.moment < since => {
                First::Rows(walk.rows(view.connection, since, Skip::Rows(0))?)
            }
            Start::After(cursor) => {
                First::Rows(walk.rows(view.connection, cursor.moment, walk.skip(view.connection, cursor)?)?)
            }
            &Start::Offset(offset) if offset < SLICE_ROWS => {
                First::Rows(walk.rows(view.connection, since, Skip::Rows(offset))?)
            }
            &Start::Offset(offset) => First::Far { offset, known: view.tally.since(along.sender(), since) },
        };
        Ok((first, walk.known_total(view, selection.since), view.row_max()?))
    })?;
    walk.row_max = row_max;
    let total = walk.count(total)?;
    let rows = match first {
        First::Rows(rows) => rows,
        First::Far { offset, known } => walk.far(since, offset, known, total)?,
    };
    Ok(finish(rows, total, selection.limit))
}

/// What the first hold of a walk brings.
enum First {
    /// All of the page.
    Rows(Vec<Placed>),
    /// The page is too deep to be reached in one hold; this is what the tally says about the way.
    Far { offset: u64, known: Option<Since> },
}

/// What of a total is known at once, and the stretch that is still to be counted.
struct Total {
    known: u64,
    uncounted: Option<Stretch>,
}

/// From one moment up to, not including, another.
struct Stretch {
    from: Moment,
    to: Moment,
    /// Messages that it has at most.
    most: u64,
}

struct Walk<'a> {
    turns: &'a Turns,
    along: Along<'a>,
    deadline: Deadline,
    limit: usize,
    /// The highest rowid when the walk began.
    row_max: i64,
}

impl Walk<'_> {
    fn known_total(&self, view: &View<'_>, since: Option<Moment>) -> Total {
        match (self.along, since) {
            (Along::Moment, None) => Total { known: view.tally.total(), uncounted: None },
            (Along::Sender(from), None) => Total { known: view.tally.of_sender(from), uncounted: None },
            (_, Some(since)) => {
                let sender = self.along.sender();
                match view.tally.since(sender, since) {
                    Some(known) => Total {
                        known: known.counted(),
                        uncounted: Some(Stretch { from: since, to: known.next, most: known.uncounted_max }),
                    },
                    None => {
                        let most = sender.map_or(0, |sender| view.tally.of_sender(sender));
                        Total { known: 0, uncounted: Some(Stretch { from: since, to: END, most }) }
                    }
                }
            }
        }
    }

    /// The page after so many messages: first to the stretch where it begins, as far as the tally knows, then slice by
    /// slice to the moment, and from there by SQL's OFFSET.
    fn far(&self, since: Moment, offset: u64, known: Option<Since>, total: u64) -> Result<Vec<Placed>, ReadError> {
        if offset >= total {
            return Ok(Vec::new());
        }
        let (mut at, mut left) = (since, offset);
        let mut before = total.saturating_sub(known.as_ref().map_or(0, Since::counted));
        for (beginning, count) in known.into_iter().flat_map(|known| known.stretches) {
            if offset < before {
                break;
            }
            (at, left) = (beginning, offset - before);
            before += count;
        }
        while left >= SLICE_ROWS {
            let Some(next) = self.seek(at, SLICE_ROWS)? else { return Ok(Vec::new()) };
            // Less than the slice when it ends amid messages of one moment: the page can begin only at a moment.
            let passed = self.count_slice(at, next)?;
            if passed == 0 {
                break; // more than a slice within one nanosecond
            }
            // Another program may have moved rows between the two holds.
            (at, left) = (next, left.saturating_sub(passed));
        }
        self.turns.take(Side::Read).slice(|connection| self.rows(connection, at, Skip::Rows(left)))
    }

    fn count(&self, total: Total) -> Result<u64, ReadError> {
        let Some(Stretch { from: mut at, to, most }) = total.uncounted else { return Ok(total.known) };
        let mut count = total.known;
        while most > COUNT_ROWS
            && let Some(next) = self.seek(at, COUNT_ROWS)?.filter(|&next| next < to)
        {
            // The slice may begin and end within one nanosecond; then all of that nanosecond is counted at once.
            let next = if next > at { next } else { Moment { us: at.us, ns: at.ns + 1 } };
            count += self.count_slice(at, next)?;
            at = next;
        }
        Ok(count + self.count_slice(at, to)?)
    }

    /// The moment so many messages on, in one hold.
    fn seek(&self, at: Moment, messages: u64) -> Result<Option<Moment>, ReadError> {
        self.deadline.check()?;
        let sql = match self.along {
            Along::Moment => include_str!("../../../sql/sqlite/seek_by_moment.sql"),
            Along::Sender(_) => include_str!("../../../sql/sqlite/seek_by_sender.sql"),
        };
        self.turns.take(Side::Read).slice(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let offset = messages as i64;
            let (us, ns, row_max) = (&at.us, &at.ns, &self.row_max);
            bind(&mut statement, self.along, &[(":us", us), (":ns", ns), (":row_max", row_max), (":offset", &offset)])?;
            let mut rows = statement.raw_query();
            Ok(rows.next()?.map(|row| moment(row, 0)).transpose()?)
        })
    }

    /// How many messages there are between two moments, in one hold.
    fn count_slice(&self, at: Moment, end: Moment) -> Result<u64, ReadError> {
        self.deadline.check()?;
        let sql = match self.along {
            Along::Moment => include_str!("../../../sql/sqlite/count_by_moment.sql"),
            Along::Sender(_) => include_str!("../../../sql/sqlite/count_by_sender.sql"),
        };
        self.turns.take(Side::Read).slice(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let parameters: [(&str, &dyn ToSql); 5] = [
                (":us", &at.us),
                (":ns", &at.ns),
                (":end_us", &end.us),
                (":end_ns", &end.ns),
                (":row_max", &self.row_max),
            ];
            bind(&mut statement, self.along, &parameters)?;
            let mut rows = statement.raw_query();
            let count: i64 = rows.next()?.map_or(Ok(0), |row| row.get(0))?;
            Ok(count as u64) // COUNT(*) is never negative
        })
    }

    /// What of a cursor's moment does not belong to the page.
    fn skip<'c>(&self, connection: &Connection, cursor: &'c Cursor) -> Result<Skip<'c>, ReadError> {
        let row = match &cursor.last {
            Last::Id(id) => return Ok(Skip::Past(id)),
            Last::Row(row) => row,
        };
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/rank_of_row.sql"))?;
        let Moment { us, ns } = &cursor.moment;
        let parameters = named_params! { ":row": row, ":us": us, ":ns": ns, ":from": self.along.sender() };
        match statement.query_row(parameters, |row| row.get::<_, i64>(0))? {
            0 => Err(ReadError::CursorGone),
            rank => Ok(Skip::Rows(rank.unsigned_abs())),
        }
    }

    /// The rows of the page, and one more, so that it is known whether another page follows.
    fn rows(&self, connection: &Connection, at: Moment, skip: Skip<'_>) -> Result<Vec<Placed>, ReadError> {
        let sql = match (self.along, &skip) {
            (Along::Moment, Skip::Rows(_)) => include_str!("../../../sql/sqlite/page_since_by_moment.sql"),
            (Along::Moment, Skip::Past(_)) => include_str!("../../../sql/sqlite/page_after_by_moment.sql"),
            (Along::Sender(_), Skip::Rows(_)) => include_str!("../../../sql/sqlite/page_since_by_sender.sql"),
            (Along::Sender(_), Skip::Past(_)) => include_str!("../../../sql/sqlite/page_after_by_sender.sql"),
        };
        let limit = self.limit as i64 + 1; // at most 101
        let mut statement = connection.prepare_cached(sql)?;
        let (us, ns): (&dyn ToSql, &dyn ToSql) = (&at.us, &at.ns);
        match skip {
            Skip::Rows(rows) => {
                let offset = rows.min(i64::MAX as u64) as i64;
                let parameters =
                    [(":us", us), (":ns", ns), (":limit", &limit), (":offset", &offset), (":row_max", &self.row_max)];
                bind(&mut statement, self.along, &parameters)?;
            }
            Skip::Past(id) => {
                bind(&mut statement, self.along, &[(":us", us), (":ns", ns), (":limit", &limit), (":id", &id)])?
            }
        }
        let mut rows = statement.raw_query();
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            page.push(Placed::read(row)?);
        }
        Ok(page)
    }
}

/// What of a stretch does not belong to the page.
enum Skip<'a> {
    /// So many messages.
    Rows(u64),
    /// The message with this message_id at the stretch's first moment, and all before it.
    Past(&'a str),
}

/// Binds the parameters, and the sender where the statement goes along one.
fn bind(
    statement: &mut CachedStatement<'_>,
    along: Along<'_>,
    parameters: &[(&str, &dyn ToSql)],
) -> rusqlite::Result<()> {
    let from = along.sender();
    let from = from.as_ref().map(|from| (":from", from as &dyn ToSql));
    for (name, value) in parameters.iter().copied().chain(from) {
        let index =
            statement.parameter_index(name)?.ok_or_else(|| rusqlite::Error::InvalidParameterName(name.to_owned()))?;
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}
