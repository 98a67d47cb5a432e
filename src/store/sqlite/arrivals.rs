//! Reads in the order of arrival.
//!
//! Nothing has an index for the filters in this order, so they are evaluated row by row, in slices with the turn given up
//! in between, for a bounded time. All slices see one state: of the range that is looked at, no new row is a part, since
//! no seq below one that was given is given later. A row that is deleted meanwhile may be missing.

use crate::mutex::UNPOISONED;
use crate::query::arrivals::{Filter, Place, Selection};
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::sqlite::value::text;
use crate::store::{Arrival, Arrivals, ReadError};
use crate::timestamp::{Moment, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::VecDeque;
use std::sync::Mutex;
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

/// How far back [`Recent`] goes at most: in seqs, and in bytes of texts. At 20,000 messages a second, 1,000 arrive between
/// two rounds of those who wait.
const RECENT_SEQS: i64 = 4096;
const RECENT_BYTES: usize = 4 << 20;

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
    /// Another one than before may be another database (count.rs).
    stamp: i64,
}

/// The messages that arrived last, read once for all who follow with a filter: 64 of them would otherwise each read every
/// message. It only ever says that none matches. What may match is read from the database, where it may be gone by now.
#[derive(Default)]
pub(super) struct Recent {
    stamp: i64,
    /// It has all messages above `low`, up to and with `high`.
    low: i64,
    high: i64,
    arrivals: VecDeque<Arrival>,
    /// Of their texts.
    bytes: usize,
}

impl Recent {
    /// Whether it is certain that no message after a cursor matches. The lock was taken before the state was read.
    fn excludes(&mut self, turns: &Turns, filter: &Filter, after: i64, state: &State) -> Result<bool, ReadError> {
        let begin = state.last - RECENT_SEQS;
        if after < begin {
            return Ok(false);
        }
        if self.stamp != state.stamp || self.high > state.last || self.high < begin {
            *self = Recent { stamp: state.stamp, low: after, high: after, ..Recent::default() };
        }
        let new = Range { low: self.high, high: state.last };
        let (arrivals, left) = look(turns, &Filter::default(), End::Low, new, usize::MAX, LOOK_TIME)?;
        self.bytes += arrivals.iter().map(text_bytes).sum::<usize>();
        self.arrivals.extend(arrivals);
        self.high = left.map_or(state.last, |left| left.low);
        while let Some(first) = self.arrivals.front()
            && (first.seq <= begin || self.bytes > RECENT_BYTES)
        {
            (self.low, self.bytes) = (first.seq, self.bytes - text_bytes(first));
            self.arrivals.pop_front();
        }
        let is_whole = self.low <= after && self.high == state.last;
        let mut later = self.arrivals.iter().rev().take_while(|arrival| arrival.seq > after);
        let mut scratch = Vec::new();
        Ok(is_whole && !later.any(|arrival| filter.takes(&Fields::from(arrival), &mut scratch)))
    }
}

fn text_bytes(arrival: &Arrival) -> usize {
    arrival.text.as_ref().map_or(0, String::len)
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
        self.bytes += text_bytes(&arrival);
        self.items.push(arrival);
    }

    fn is_full(&self) -> bool {
        self.items.len() == self.wanted || self.bytes >= PAGE_BYTES
    }
}

/// A page in the order of arrival, of what is found within that time.
pub(super) fn page(
    turns: &Turns,
    recent: &Mutex<Recent>,
    Selection { place, limit, filter }: &Selection,
    time: Duration,
) -> Result<Arrivals, ReadError> {
    let follows = matches!(place, Place::After(_)) && !filter.takes_all();
    let mut recent = follows.then(|| recent.lock().expect(UNPOISONED));
    let (state, only) =
        turns.take(Side::Read).slice(|connection| Ok((state(connection)?, only(connection, filter)?)))?;
    let (end, low, high) = match *place {
        Place::After(after) if after > state.last => return Err(ReadError::CursorAhead),
        Place::After(after) => (End::Low, after, state.last),
        Place::Now => (End::Low, state.last, state.last),
        Place::Newest => (End::High, 0, state.last),
        Place::Before(before) => (End::High, 0, state.last.min(before.saturating_sub(1))),
    };
    if let Some(recent) = &mut recent
        && recent.excludes(turns, filter, low, &state)?
    {
        let State { changes, oldest, last, .. } = state;
        return Ok(Arrivals { items: Vec::new(), next: last, more: false, before: None, oldest, changes });
    }
    drop(recent);
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
        Ok(State { changes, last, oldest: oldest.unwrap_or(last + 1), stamp: row.get(3)? })
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

/// What a filter looks at. A message_id is not among it: with one, the range has only its row.
struct Fields<'a> {
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
    fn takes_all(&self) -> bool {
        let Filter { from, since, needle, kind, source, from_id, message_id } = self;
        since.is_none()
            && needle.is_none()
            && [from, kind, source, from_id, message_id].into_iter().all(Option::is_none)
    }

    fn takes(&self, fields: &Fields<'_>, scratch: &mut Vec<u8>) -> bool {
        let is = |wanted: &Option<String>, field: Option<&[u8]>| {
            wanted.as_ref().is_none_or(|wanted| field == Some(wanted.as_bytes()))
        };
        is(&self.from, Some(fields.from))
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
