//! Reads that have to look at the texts: `q`.
//!
//! The index says where the needle may be (index.rs), and every row there is looked at: the index may be wrong about a row,
//! and does not have the newest ones. Many rows may be read, in slices with the lock released in between, so that ingest
//! continues. All slices see one state of the database, as in walk.rs. Matches are counted, and the places of those up to
//! the end of the page are kept.

use crate::query::{Needle, Selection, Start};
use crate::store::sqlite::database::View;
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::index;
use crate::store::sqlite::row::{Last, Placed, Position, bind, finish};
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::{Page, ReadError};
use crate::timestamp::Moment;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long a slice holds the connection. Reads are promised to hold it for less than 5 ms.
const SLICE_TIME: Duration = Duration::from_millis(1);

/// Rows between two looks at the clock.
const CLOCK_ROWS: u32 = 32;

/// A place in the order of a page, and the seq of the message that is there.
type Place = (Moment, Vec<u8>, i64);

/// In which order rows are read.
#[derive(Clone, Copy)]
enum Plan {
    /// As they lie on disk.
    Row,
    /// Those since a moment, by time.
    Moment,
    /// Those of the sender, by time.
    Sender,
}

/// How many rows there are to read in each order; at most.
struct Sizes {
    all: u64,
    since: Option<u64>,
    of_sender: Option<u64>,
}

/// A page and its total, with a needle.
pub(super) fn page(
    turns: &Turns,
    selection: &Selection,
    needle: &Needle,
    deadline: Deadline,
) -> Result<Page, ReadError> {
    let since = selection.since.unwrap_or(Moment::UNKNOWN);
    let (row_max, sizes) = turns.view(deadline, |view| Ok((view.row_max()?, sizes(view, selection))))?;
    let ranges = index::candidates(turns, needle, row_max)?;
    let plan = plan(&sizes, &ranges);
    let ranges = if matches!(plan, Plan::Row) { ranges } else { vec![i64::MIN..=row_max] };
    let search = Search { turns, needle, plan, sender: selection.from.as_deref(), since, ranges, deadline };
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

fn sizes(view: &View<'_>, selection: &Selection) -> Sizes {
    let of_sender = selection.from.as_deref().map(|from| view.tally.of_sender(from));
    // Not for a sender: the rows along messages_by_moment are everybody's.
    let since = selection.since.filter(|_| of_sender.is_none());
    let since = since.and_then(|since| view.tally.since(None, since)).map(|known| known.counted());
    Sizes { all: view.tally.total(), since, of_sender }
}

/// The plan that takes the least time: reading along an index costs about four times as much per row.
fn plan(sizes: &Sizes, ranges: &[RangeInclusive<i64>]) -> Plan {
    let seqs = |range: &RangeInclusive<i64>| range.end().abs_diff(*range.start()).saturating_add(1);
    let by_row = ranges.iter().map(seqs).fold(0, u64::saturating_add).min(sizes.all);
    match (sizes.of_sender, sizes.since) {
        (Some(rows), _) if rows.saturating_mul(4) < by_row => Plan::Sender,
        (None, Some(rows)) if rows.saturating_mul(4) < by_row => Plan::Moment,
        _ => Plan::Row,
    }
}

struct Search<'a> {
    turns: &'a Turns,
    needle: &'a Needle,
    plan: Plan,
    sender: Option<&'a str>,
    since: Moment,
    /// Which seqs are looked at, in order: at most up to the highest when the search began.
    ranges: Vec<RangeInclusive<i64>>,
    deadline: Deadline,
}

/// The last row that was looked at.
struct Reached {
    range: usize,
    /// In order of seq.
    seq: i64,
    /// By time.
    position: Position,
}

impl Search<'_> {
    /// Goes through all rows. Returns how many match, and the places to keep, in order.
    fn places(&self, mut found: Found) -> Result<(u64, Vec<Place>), ReadError> {
        let mut reached = Some(Reached { range: 0, seq: i64::MIN, position: Position::before(self.since) });
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
        let mut statement = connection.prepare_cached(match self.plan {
            Plan::Row => include_str!("../../../sql/sqlite/search_by_row.sql"),
            Plan::Moment => include_str!("../../../sql/sqlite/search_by_moment.sql"),
            Plan::Sender => include_str!("../../../sql/sqlite/search_by_sender.sql"),
        })?;
        let Position { moment: Moment { us, ns }, last } = &from.position;
        bind(&mut statement, &[(":us", us), (":ns", ns), (":last", last), (":from", &self.sender)])?;
        let mut read = 0;
        for (index, range) in self.ranges.iter().enumerate().skip(from.range) {
            let after = from.seq.max(range.start().saturating_sub(1));
            bind(&mut statement, &[(":seq", &after), (":row_max", range.end())])?;
            let mut rows = statement.raw_query();
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
                    if matches!(self.plan, Plan::Sender) {
                        position.last = Last::Seq(seq);
                    }
                    return Ok(Some(Reached { range: index, seq, position }));
                }
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
