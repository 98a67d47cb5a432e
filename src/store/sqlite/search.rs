//! Reads that have to look at the texts: `q`.
//!
//! Many rows are read, in slices with the turn given up in between, so that ingest goes on. All slices see one state
//! of the database, as in walk.rs. What is found is counted, and the best places are kept: memory is bounded by the
//! page and the offset, and the offset by going through the rows again.

use crate::query::Needle;
use crate::query::{Cursor, Last, Selection, Start};
use crate::store::sqlite::database::View;
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::row::{Placed, finish, moment};
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::sqlite::value::text;
use crate::store::{Page, ReadError};
use crate::timestamp::Moment;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, ToSql};
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// How long a slice holds the connection. Reads are promised to hold it for less than 5 ms.
const SLICE_TIME: Duration = Duration::from_millis(1);

/// Rows between two looks at the clock.
const CLOCK_ROWS: u32 = 32;

/// Most places kept in one pass: with a message_id of 40 bytes about 1 MiB. A deeper offset takes another pass.
const PLACES_MAX: u64 = 8192;

/// A place in the order, and the row that is there.
type Place = (Moment, String, i64);

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
    let (row_max, plan, mut after) = turns.view(deadline, |view| {
        let plan = plan(view, selection, since);
        let after = match &selection.start {
            Start::Offset(_) => None,
            Start::After(cursor) => Some(cursor_place(view, cursor)?),
        };
        Ok((view.row_max()?, plan, after))
    })?;
    let search = Search { turns, needle, plan, since, row_max, deadline };
    let mut offset = match selection.start {
        Start::Offset(offset) => offset,
        Start::After(_) => 0,
    };
    let wanted = selection.limit as u64 + 1; // one more, so that it is known whether another page follows
    loop {
        let (total, places) = search.pass(after.as_ref(), offset.saturating_add(wanted).min(PLACES_MAX))?;
        if after.is_none() && offset >= total {
            return Ok(finish(Vec::new(), total, selection.limit));
        }
        if offset + wanted <= PLACES_MAX || (places.len() as u64) < PLACES_MAX {
            let places = places.get(offset as usize..).unwrap_or_default();
            return Ok(finish(search.rows(places)?, total, selection.limit));
        }
        // The page is not among the places kept; those that are passed over are.
        let passed = offset.min(PLACES_MAX);
        offset -= passed;
        after = places.into_iter().nth(passed as usize - 1);
    }
}

/// The place that a cursor stands for. The row matters only among messages whose message_id reads the same, which is so
/// only for what another program has written.
fn cursor_place(view: &View<'_>, cursor: &Cursor) -> Result<Place, ReadError> {
    let moment = cursor.moment;
    match &cursor.last {
        Last::Id(id) => Ok((moment, id.clone(), i64::MAX)),
        &Last::Row(row) => {
            let mut statement = view.connection.prepare_cached(include_str!("../../../sql/sqlite/id_of_row.sql"))?;
            let id = statement.query_row((row, moment.us, moment.ns), |row| {
                Ok(text(row.get_ref(0)?).unwrap_or_default().into_owned())
            });
            Ok((moment, id.optional()?.ok_or(ReadError::CursorGone)?, row))
        }
    }
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
    /// The highest rowid when the search began.
    row_max: i64,
    deadline: Deadline,
}

/// The last row that was looked at.
struct Reached {
    row: i64,
    moment: Moment,
    id: String,
}

impl Search<'_> {
    /// Goes through all rows once. Returns how many match, and of those behind `after` the first `keep`, in order.
    fn pass(&self, after: Option<&Place>, keep: u64) -> Result<(u64, Vec<Place>), ReadError> {
        let mut found = Found { total: 0, places: BinaryHeap::new(), after, keep: keep as usize };
        // Before the first row: nothing has a nanosecond of -1, and SQLite gives no rowid below 1 of itself.
        let before = Moment { ns: -1, ..self.since };
        let mut reached = Some(Reached { row: i64::MIN, moment: before, id: String::new() });
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
        found: &mut Found<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Reached>, ReadError> {
        let begun = Instant::now();
        let sql = match self.plan {
            Plan::Row => include_str!("../../../sql/sqlite/search_by_row.sql"),
            Plan::Moment => include_str!("../../../sql/sqlite/search_by_moment.sql"),
            Plan::Sender(_) => include_str!("../../../sql/sqlite/search_by_sender.sql"),
        };
        let mut statement = connection.prepare_cached(sql)?;
        let sender = if let Plan::Sender(sender) = self.plan { sender } else { "" };
        let parameters: [(&str, &dyn ToSql); 6] = [
            (":row", &from.row),
            (":row_max", &self.row_max),
            (":us", &from.moment.us),
            (":ns", &from.moment.ns),
            (":id", &from.id),
            (":from", &sender),
        ];
        for (name, value) in parameters {
            // Each plan has those of these parameters that its order needs.
            if let Some(index) = statement.parameter_index(name)? {
                statement.raw_bind_parameter(index, value)?;
            }
        }
        let mut rows = statement.raw_query();
        let mut read = 0;
        while let Some(row) = rows.next()? {
            read += 1;
            let matches = match row.get_ref(0)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => self.needle.is_in(bytes, scratch),
                value => text(value).is_some_and(|text| self.needle.is_in(text.as_bytes(), scratch)),
            };
            // Not at a message_id that is no text, from which the next slice could not go on.
            let stop = read % CLOCK_ROWS == 0 && begun.elapsed() >= SLICE_TIME && row.get_ref(4)?.as_str().is_ok();
            if !matches && !stop {
                continue;
            }
            let reached = Reached {
                row: row.get(1)?,
                moment: moment(row, 2)?,
                id: text(row.get_ref(4)?).unwrap_or_default().into_owned(),
            };
            if matches && reached.moment >= self.since {
                found.add(&reached);
            }
            if stop {
                return Ok(Some(reached));
            }
        }
        Ok(None)
    }

    /// The rows at some places. One that another program has deleted meanwhile is left out.
    fn rows(&self, places: &[Place]) -> Result<Vec<Placed>, ReadError> {
        self.turns.take(Side::Read).slice(|connection| {
            let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/page_of_row.sql"))?;
            let rows = places.iter().map(|(_, _, row)| statement.query_row([row], Placed::read).optional());
            Ok(rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// What a pass has found so far.
struct Found<'a> {
    total: u64,
    /// The first places, the last of them on top.
    places: BinaryHeap<Place>,
    after: Option<&'a Place>,
    keep: usize,
}

impl Found<'_> {
    fn add(&mut self, Reached { row, moment, id }: &Reached) {
        self.total += 1;
        if self.after.is_some_and(|(after, after_id, after_row)| (moment, id, row) <= (after, after_id, after_row)) {
            return;
        }
        if self.places.len() == self.keep {
            match self.places.peek() {
                Some((last, last_id, last_row)) if (moment, id, row) < (last, last_id, last_row) => self.places.pop(),
                _ => return,
            };
        }
        self.places.push((*moment, id.clone(), *row));
    }
}
