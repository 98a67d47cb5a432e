//! Reads that have to look at the texts: `q`.
//!
//! Many rows are read, in slices with the lock released in between, so that ingest continues. All slices see one state
//! of the database, as in walk.rs. Matches are counted, and the places of those up to the end of the page are kept.

use crate::query::{Needle, Selection, Start};
use crate::store::sqlite::database::View;
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::row::{Last, Placed, Position, bind, finish};
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::{Page, ReadError};
use crate::timestamp::Moment;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// How long a slice holds the connection. Reads are promised to hold it for less than 5 ms.
const SLICE_TIME: Duration = Duration::from_millis(1);

/// Rows between two looks at the clock.
const CLOCK_ROWS: u32 = 32;

/// A place in the order of a page, and the seq of the message that is there.
type Place = (Moment, Vec<u8>, i64);

/// Which rows are read, and in which order.
#[derive(Clone, Copy)]
enum Plan<'a> {
    /// All, as they lie on disk.
    Row,
    /// Those since a moment.
    Moment,
    /// Those of a sender.
    Sender(&'a str),
}

/// A page and its total, with a needle.
pub(super) fn page(
    turns: &Turns,
    selection: &Selection,
    needle: &Needle,
    deadline: Deadline,
) -> Result<Page, ReadError> {
    let since = selection.since.unwrap_or(Moment::UNKNOWN);
    let (row_max, plan) = turns.view(deadline, |view| Ok((view.row_max()?, plan(view, selection, since))))?;
    let search = Search { turns, needle, plan, since, row_max, deadline };
    let (offset, after) = match &selection.start {
        Start::Offset(offset) => (*offset as usize, None), // at most OFFSET_SEARCH_MAX
        Start::After(cursor) => (0, Some((cursor.moment, cursor.id.clone().into_bytes(), i64::MAX))),
    };
    // One more than the page, so that it is known whether another page follows.
    let keep = offset.saturating_add(selection.limit + 1);
    let (total, places) = search.places(Found { total: 0, places: BinaryHeap::new(), after, keep })?;
    let rows = search.rows(places.get(offset..).unwrap_or_default())?;
    Ok(finish(rows, total, selection.limit))
}

/// The plan that reads the least: reading along an index costs about four times as much per row.
fn plan<'a>(view: &View<'_>, selection: &'a Selection, since: Moment) -> Plan<'a> {
    let recent = || view.tally.since(None, since).is_some_and(|known| known.counted() < view.tally.total() / 4);
    match &selection.from {
        Some(from) => Plan::Sender(from),
        None if selection.since.is_some() && recent() => Plan::Moment,
        None => Plan::Row,
    }
}

struct Search<'a> {
    turns: &'a Turns,
    needle: &'a Needle,
    plan: Plan<'a>,
    since: Moment,
    /// The highest seq when the search began.
    row_max: i64,
    deadline: Deadline,
}

/// The last row that was looked at.
struct Reached {
    seq: i64,
    position: Position,
}

impl Search<'_> {
    /// Goes through all rows. Returns how many match, and the places to keep, in order.
    fn places(&self, mut found: Found) -> Result<(u64, Vec<Place>), ReadError> {
        let mut reached = Some(Reached { seq: i64::MIN, position: Position::before(self.since) });
        let mut scratch = Vec::new();
        while let Some(from) = reached {
            self.deadline.check()?;
            let slice = |connection: &Connection| self.slice(connection, &from, &mut found, &mut scratch);
            reached = self.turns.take(Side::Read).slice(slice)?;
        }
        Ok((found.total, found.places.into_sorted_vec()))
    }

    /// Looks at rows for about [`SLICE_TIME`]. Returns where it stopped; None when there are no more.
    fn slice(
        &self,
        connection: &Connection,
        from: &Reached,
        found: &mut Found,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Reached>, ReadError> {
        let begun = Instant::now();
        let (sql, sender) = match self.plan {
            Plan::Row => (include_str!("../../../sql/sqlite/search_by_row.sql"), None),
            Plan::Moment => (include_str!("../../../sql/sqlite/search_by_moment.sql"), None),
            Plan::Sender(sender) => (include_str!("../../../sql/sqlite/search_by_sender.sql"), Some(sender)),
        };
        let mut statement = connection.prepare_cached(sql)?;
        let Position { moment: Moment { us, ns }, last } = &from.position;
        bind(&mut statement, &[(":us", us), (":ns", ns), (":last", last), (":seq", &from.seq)])?;
        bind(&mut statement, &[(":from", &sender), (":row_max", &self.row_max)])?;
        let mut rows = statement.raw_query();
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read += 1;
            let matches = row.get_ref(4)?.as_bytes_or_null().unwrap_or_default();
            let matches = matches.is_some_and(|text| self.needle.is_in(text, scratch));
            let stop = read % CLOCK_ROWS == 0 && begun.elapsed() >= SLICE_TIME;
            if !matches && !stop {
                continue;
            }
            let (seq, mut position) = (row.get(3)?, Position::read(row)?);
            if matches && position.moment >= self.since {
                found.add(&position, seq);
            }
            if stop {
                if sender.is_some() {
                    position.last = Last::Seq(seq);
                }
                return Ok(Some(Reached { seq, position }));
            }
        }
        Ok(None)
    }

    /// The rows at some places. One that another program has deleted meanwhile is left out.
    fn rows(&self, places: &[Place]) -> Result<Vec<Placed>, ReadError> {
        self.turns.take(Side::Read).slice(|connection| {
            let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/page_of_row.sql"))?;
            let rows = places.iter().map(|(_, _, seq)| statement.query_row([seq], Placed::read).optional());
            Ok(rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// What a search has found so far.
struct Found {
    total: u64,
    /// The first places, the last of them on top.
    places: BinaryHeap<Place>,
    /// Places up to this one are not kept.
    after: Option<Place>,
    keep: usize,
}

impl Found {
    fn add(&mut self, position: &Position, seq: i64) {
        self.total += 1;
        let Last::Id(id) = &position.last else { return };
        let place = (&position.moment, id, &seq);
        let is_behind = |(moment, id, seq): &Place| place > (moment, id, seq);
        if self.after.as_ref().is_some_and(|after| !is_behind(after)) {
            return;
        }
        if self.places.len() == self.keep {
            if self.places.peek().is_none_or(is_behind) {
                return;
            }
            self.places.pop();
        }
        self.places.push((position.moment, id.clone(), seq));
    }
}
