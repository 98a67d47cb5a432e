//! Reads in the order of arrival.
//!
//! No index has the filters in this order. The messages of a sender who has few are looked up one by one; otherwise filters
//! are evaluated row by row. Both is done in slices with the turn given up in between, for a bounded time. All slices see one
//! state: no seq below one that was given is given later, so no new row gets into the range that is looked at. A row that is
//! deleted meanwhile may be missing.

use crate::query::arrivals::{Filter, Selection};
use crate::store::filter::{self, Fields};
use crate::store::order::{LOOK_TIME, PAGE_BYTES, Span, State, lowest_near};
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::sqlite::value::text;
use crate::store::{Arrival, Arrivals, ReadError};
use crate::timestamp::Moment;
use rusqlite::{Connection, Row};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a slice holds the connection. Reads are promised to hold it for less than 5 ms.
const SLICE_TIME: Duration = Duration::from_millis(1);

/// Rows between two looks at the clock.
const CLOCK_ROWS: usize = 32;

/// Messages of a sender that are looked up one by one: listing so many takes about 1 ms. A sender who has more is found by
/// reading all messages, on the average after few of them.
const SENDER_MESSAGES: usize = 4096;

/// Seqs that are not looked at yet: those above `low`, up to and with `high`.
#[derive(Clone, Copy)]
struct Range {
    low: i64,
    high: i64,
}

impl Range {
    fn of(seq: i64) -> Range {
        Range { low: seq - 1, high: seq }
    }
}

/// From which end a range is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
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
    let state = turns.take(Side::Read).slice(|connection| Ok(state(connection)?))?;
    let Span { ascending, low, high } = Span::of(*place, state.last)?;
    let end = if ascending { End::Low } else { End::High };
    let ranges =
        turns.take(Side::Read).slice(|connection| Ok(ranges(connection, filter, end, Range { low, high })?))?;
    let (mut items, left) = look(turns, filter, end, ranges, limit + 1, time)?;
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
    let low = lowest_near(followers, last);
    let new = VecDeque::from([Range { low, high: last }]);
    let (arrivals, left) = look(turns, &Filter::default(), End::Low, new, usize::MAX, LOOK_TIME)?;
    let known = if left.is_none() { low..=last } else { last + 1..=last };
    Ok((last, filter::may_match(followers, known, &arrivals)))
}

/// The message with this seq.
pub(super) fn one(turns: &Turns, seq: i64) -> Result<Option<Arrival>, ReadError> {
    let (mut found, _) = look(turns, &Filter::default(), End::Low, [Range::of(seq)].into(), 1, LOOK_TIME)?;
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

/// What of a range is to be looked at, in this order: all of it, or the messages that an index knows.
fn ranges(connection: &Connection, filter: &Filter, end: End, range: Range) -> rusqlite::Result<VecDeque<Range>> {
    let known = match filter {
        Filter { message_id: Some(id), .. } => {
            let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/seq_of_id.sql"))?;
            statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?
        }
        // A range that is short is read as quickly as the index.
        Filter { from: Some(from), .. } if range.high - range.low > SENDER_MESSAGES as i64 => {
            let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/seqs_of_sender.sql"))?;
            let seqs = statement.query_map((from, SENDER_MESSAGES as i64 + 1), |row| row.get(0))?;
            seqs.collect::<rusqlite::Result<_>>()?
        }
        _ => return Ok([range].into()),
    };
    if known.len() > SENDER_MESSAGES {
        return Ok([range].into());
    }
    let mut known: Vec<i64> = known.into_iter().filter(|seq| range.low < *seq && *seq <= range.high).collect();
    known.sort_unstable();
    if end == End::High {
        known.reverse();
    }
    Ok(known.into_iter().map(Range::of).collect())
}

/// Looks at ranges, one after the other, until so many messages were found, or for that time, but at a slice of them at
/// least. The range is returned that comes next, if the time, or the room on a page, was not enough.
fn look(
    turns: &Turns,
    filter: &Filter,
    end: End,
    mut ranges: VecDeque<Range>,
    wanted: usize,
    time: Duration,
) -> Result<(Vec<Arrival>, Option<Range>), ReadError> {
    let begun = Instant::now();
    let (mut found, mut scratch) = (Found { items: Vec::new(), bytes: 0, wanted }, Vec::new());
    while !ranges.is_empty() && found.items.len() < wanted {
        turns
            .take(Side::Read)
            .slice(|connection| Ok(slice(connection, filter, end, &mut ranges, &mut found, &mut scratch)?))?;
        if found.items.len() < wanted && (found.is_full() || begun.elapsed() >= time) {
            return Ok((found.items, ranges.front().copied()));
        }
    }
    Ok((found.items, None))
}

/// Looks at rows for about [`SLICE_TIME`], and takes what was looked at out of the ranges.
fn slice(
    connection: &Connection,
    filter: &Filter,
    end: End,
    ranges: &mut VecDeque<Range>,
    found: &mut Found,
    scratch: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    let begun = Instant::now();
    let mut statement = connection.prepare_cached(match end {
        End::Low => include_str!("../../../sql/sqlite/arrivals_after.sql"),
        End::High => include_str!("../../../sql/sqlite/arrivals_before.sql"),
    })?;
    let mut read = 0;
    while let Some(range) = ranges.front_mut() {
        let mut rows = statement.query(&[(":low", &range.low), (":high", &range.high)])?;
        while let Some(row) = rows.next()? {
            let seq = row.get(0)?;
            match end {
                End::Low => range.low = seq,
                End::High => range.high = seq - 1,
            }
            if filter.takes(&fields(row)?, scratch) {
                found.add(arrival(row)?);
            }
            read += 1;
            if found.is_full() || read % CLOCK_ROWS == 0 && begun.elapsed() >= SLICE_TIME {
                if range.low >= range.high {
                    ranges.pop_front();
                }
                return Ok(());
            }
        }
        ranges.pop_front();
    }
    Ok(())
}

/// What a filter looks at, of a row.
fn fields<'a>(row: &'a Row<'_>) -> rusqlite::Result<Fields<'a>> {
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
