//! Reads in the order of arrival.
//!
//! Nothing has an index for the filters in this order, so they are evaluated row by row, in slices with the turn given up
//! in between, for a bounded time. All slices see one state: of the range that is looked at, no new row is a part, since
//! no seq below one that was given is given later. A row that is deleted meanwhile may be missing.

use crate::query::arrivals::{Filter, Place, Selection};
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::sqlite::value::text;
use crate::store::{Arrival, Arrivals, ReadError};
use crate::timestamp::{Moment, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};
use std::time::{Duration, Instant};

/// How long a slice holds the connection. Reads are promised to hold it for less than 5 ms.
const SLICE_TIME: Duration = Duration::from_millis(1);

/// Rows between two looks at the clock.
const CLOCK_ROWS: usize = 32;

/// How long one call looks for messages, commits in between included. Then its page is what was found, and the next call
/// continues: a filter that matches little keeps no worker from other reads.
pub(super) const LOOK_TIME: Duration = Duration::from_millis(250);

/// Bytes of texts after which a page ends: a text of a provider may be as long as a body.
const PAGE_BYTES: usize = 1 << 20;

/// Seqs that one call of [`followed`] looks at. At 20,000 messages a second, 1,000 arrive between two calls.
const FOLLOWED_SEQS: i64 = 4096;

/// Seqs that are not looked at yet: those above `low`, up to and with `high`.
#[derive(Clone, Copy)]
struct Range {
    low: i64,
    high: i64,
}

/// From which end a range is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
}

/// What a page says beside its messages.
struct State {
    changes: i64,
    last: i64,
    oldest: i64,
}

/// What was found so far.
struct Found {
    items: Vec<Arrival>,
    /// Of their texts.
    bytes: usize,
    /// How many items at most.
    wanted: usize,
}

impl Found {
    fn add(&mut self, arrival: Arrival) {
        self.bytes += arrival.text.as_ref().map_or(0, String::len);
        self.items.push(arrival);
    }

    fn is_full(&self) -> bool {
        self.items.len() == self.wanted || self.bytes >= PAGE_BYTES
    }
}

/// A page in the order of arrival, of what is found within that time.
pub(super) fn page(
    turns: &Turns,
    Selection { place, limit, filter }: &Selection,
    time: Duration,
) -> Result<Arrivals, ReadError> {
    let (state, only) =
        turns.take(Side::Read).slice(|connection| Ok((state(connection)?, only(connection, filter)?)))?;
    let (end, low, high) = match *place {
        Place::After(after) if after > state.last => return Err(ReadError::CursorAhead),
        Place::After(after) => (End::Low, after, state.last),
        Place::Now => (End::Low, state.last, state.last),
        Place::Newest => (End::High, 0, state.last),
        Place::Before(before) => (End::High, 0, state.last.min(before.saturating_sub(1))),
    };
    let looked_at = Range { low: low.max(only.low), high: high.min(only.high) };
    let (mut items, left) = look(turns, filter, end, looked_at, limit + 1, time)?;
    let one_more = items.len() > *limit;
    items.truncate(*limit);
    let last = items.last().map(|arrival| arrival.seq).filter(|_| one_more);
    let (next, before) = match end {
        End::Low => (last.or(left.map(|left| left.low)), None),
        End::High => (None, last.or(left.map(|left| left.high + 1))),
    };
    if end == End::High {
        items.reverse();
    }
    let State { changes, oldest, .. } = state;
    Ok(Arrivals { items, next: next.unwrap_or(high.max(0)), more: next.is_some(), before, oldest, changes })
}

/// For each of some followers, a cursor and a filter, whether a message after the cursor may match: the new messages are
/// read once for all. For the others none does up to the seq that is returned too.
pub(super) fn followed(turns: &Turns, followers: &[(i64, Filter)]) -> Result<(i64, Vec<bool>), ReadError> {
    let last = turns.take(Side::Read).slice(|connection| Ok(state(connection)?.last))?;
    let near = followers.iter().map(|(after, _)| *after).filter(|after| last - after <= FOLLOWED_SEQS);
    let low = near.min().unwrap_or(last);
    let new = Range { low, high: last };
    let (arrivals, left) = look(turns, &Filter::default(), End::Low, new, usize::MAX, LOOK_TIME)?;
    let fields: Vec<(i64, Fields<'_>)> = arrivals.iter().map(|arrival| (arrival.seq, Fields::from(arrival))).collect();
    let mut scratch = Vec::new();
    let may_match = followers.iter().map(|(after, filter)| {
        let is_known = (low..=last).contains(after) && left.is_none();
        let mut later = fields.iter().rev().take_while(|(seq, _)| seq > after);
        !is_known || later.any(|(_, fields)| filter.takes(fields, &mut scratch))
    });
    Ok((last, may_match.collect()))
}

/// The message with this seq.
pub(super) fn one(turns: &Turns, seq: i64) -> Result<Option<Arrival>, ReadError> {
    let (mut found, _) = look(turns, &Filter::default(), End::Low, Range { low: seq - 1, high: seq }, 1, LOOK_TIME)?;
    Ok(found.pop())
}

fn state(connection: &Connection) -> rusqlite::Result<State> {
    let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/arrivals_state.sql"))?;
    statement.query_row([], |row| {
        let (changes, last) = (row.get(0)?, row.get(1)?);
        let oldest: Option<i64> = row.get(2)?;
        Ok(State { changes, last, oldest: oldest.unwrap_or(last + 1) })
    })
}

/// The seqs that the filter leaves without a look at the rows: with a message_id, at most one.
fn only(connection: &Connection, filter: &Filter) -> rusqlite::Result<Range> {
    let Some(id) = &filter.message_id else { return Ok(Range { low: 0, high: i64::MAX }) };
    let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/seq_of_id.sql"))?;
    let seq: Option<i64> = statement.query_row([id], |row| row.get(0)).optional()?;
    Ok(seq.map_or(Range { low: 0, high: 0 }, |seq| Range { low: seq - 1, high: seq }))
}

/// Looks at a range until so many messages were found, or for that time, but at a slice of it at least. What of it was not
/// looked at is returned if the time, or the room on a page, was not enough.
fn look(
    turns: &Turns,
    filter: &Filter,
    end: End,
    mut range: Range,
    wanted: usize,
    time: Duration,
) -> Result<(Vec<Arrival>, Option<Range>), ReadError> {
    let begun = Instant::now();
    let (mut found, mut scratch) = (Found { items: Vec::new(), bytes: 0, wanted }, Vec::new());
    while range.low < range.high {
        range = turns
            .take(Side::Read)
            .slice(|connection| Ok(slice(connection, filter, end, range, &mut found, &mut scratch)?))?;
        if found.items.len() == wanted {
            break;
        }
        if range.low < range.high && (found.is_full() || begun.elapsed() >= time) {
            return Ok((found.items, Some(range)));
        }
    }
    Ok((found.items, None))
}

/// Looks at rows for about [`SLICE_TIME`]. Returns what of the range is left.
fn slice(
    connection: &Connection,
    filter: &Filter,
    end: End,
    range: Range,
    found: &mut Found,
    scratch: &mut Vec<u8>,
) -> rusqlite::Result<Range> {
    let begun = Instant::now();
    let mut statement = connection.prepare_cached(match end {
        End::Low => include_str!("../../../sql/sqlite/arrivals_after.sql"),
        End::High => include_str!("../../../sql/sqlite/arrivals_before.sql"),
    })?;
    let mut rows = statement.query(&[(":low", &range.low), (":high", &range.high)])?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        read += 1;
        if filter.takes(&Fields::of(row)?, scratch) {
            found.add(arrival(row)?);
        }
        if found.is_full() || read % CLOCK_ROWS == 0 && begun.elapsed() >= SLICE_TIME {
            let seq = row.get(0)?;
            return Ok(match end {
                End::Low => Range { low: seq, ..range },
                End::High => Range { high: seq - 1, ..range },
            });
        }
    }
    Ok(Range { low: range.high, ..range })
}

/// What a filter looks at.
struct Fields<'a> {
    message_id: &'a [u8],
    from: &'a [u8],
    moment: Moment,
    text: Option<&'a [u8]>,
    kind: &'a [u8],
    source: &'a [u8],
    from_id: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn of(row: &'a Row<'_>) -> rusqlite::Result<Fields<'a>> {
        let optional = |column| -> rusqlite::Result<Option<&'a [u8]>> { Ok(row.get_ref(column)?.as_bytes_or_null()?) };
        let required = |column| optional(column).map(Option::unwrap_or_default);
        Ok(Fields {
            message_id: required(1)?,
            from: required(2)?,
            moment: Moment { us: row.get(7)?, ns: row.get(8)? },
            text: optional(5)?,
            kind: required(9)?,
            source: required(10)?,
            from_id: optional(11)?,
        })
    }
}

impl<'a> From<&'a Arrival> for Fields<'a> {
    fn from(arrival: &'a Arrival) -> Fields<'a> {
        Fields {
            message_id: arrival.message_id.as_bytes(),
            from: arrival.from.as_bytes(),
            moment: Timestamp::parse(&arrival.ts).map_or(Moment::UNKNOWN, |ts| ts.moment()),
            text: arrival.text.as_ref().map(String::as_bytes),
            kind: arrival.kind.as_bytes(),
            source: arrival.source.as_bytes(),
            from_id: arrival.from_id.as_ref().map(String::as_bytes),
        }
    }
}

impl Filter {
    fn takes(&self, fields: &Fields<'_>, scratch: &mut Vec<u8>) -> bool {
        let is = |wanted: &Option<String>, field: Option<&[u8]>| {
            wanted.as_ref().is_none_or(|wanted| field == Some(wanted.as_bytes()))
        };
        is(&self.message_id, Some(fields.message_id))
            && is(&self.from, Some(fields.from))
            && is(&self.kind, Some(fields.kind))
            && is(&self.source, Some(fields.source))
            && is(&self.from_id, fields.from_id)
            && self.since.is_none_or(|since| fields.moment >= since)
            && self.needle.as_ref().is_none_or(|needle| fields.text.is_some_and(|text| needle.is_in(text, scratch)))
    }
}

fn arrival(row: &Row<'_>) -> rusqlite::Result<Arrival> {
    let optional = |column| row.get_ref(column).map(|value| text(value).map(|text| text.into_owned()));
    let required = |column| optional(column).map(Option::unwrap_or_default);
    Ok(Arrival {
        seq: row.get(0)?,
        message_id: required(1)?,
        from: required(2)?,
        to: required(3)?,
        ts: required(4)?,
        text: optional(5)?,
        kind: required(9)?,
        source: required(10)?,
        from_id: optional(11)?,
        profile_name: optional(12)?,
        received_at: required(6)?,
    })
}
