//! Statuses of outgoing messages, in the order of their arrival.
//!
//! Only message_id has an index; the other filters are evaluated row by row, in slices, for a bounded time, as in
//! arrivals.rs.

use crate::query::order::Place;
use crate::query::statuses::Selection;
use crate::store::sqlite::arrivals::LOOK_TIME;
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::{ReadError, Status, Statuses, statuses};
use rusqlite::{Connection, Row, named_params};
use std::time::Instant;

/// Rows that are looked at in one hold: about 1 ms.
const SLICE_ROWS: i64 = 1024;

/// The highest seq that was ever given to a status.
pub(super) fn last(turns: &Turns) -> Result<i64, ReadError> {
    turns.take(Side::Read).slice(|connection| {
        let mut last = connection.prepare_cached(include_str!("../../../sql/sqlite/last_status_seq.sql"))?;
        Ok(last.query_row([], |row| row.get(0))?)
    })
}

/// A page, and with a message_id the status that counts.
pub(super) fn page(turns: &Turns, selection: &Selection) -> Result<Statuses, ReadError> {
    let last = last(turns)?;
    if selection.message_id.is_some() {
        return of_message(turns, selection, last);
    }
    let (mut items, begun) = (Vec::new(), Instant::now());
    let wanted = selection.limit + 1; // one more, so that it is known whether another page follows
    let (mut low, mut high, ascending) = match selection.place {
        Place::After(after) if after > last => return Err(ReadError::CursorAhead),
        Place::After(after) => (after, last, true),
        Place::Now => (last, last, true),
        Place::Newest | Place::Before(_) => (0, last, false),
    };
    while low < high && items.len() < wanted && begun.elapsed() < LOOK_TIME {
        let (from, to) = if ascending { (low, high.min(low + SLICE_ROWS)) } else { (low.max(high - SLICE_ROWS), high) };
        let mut slice = turns.take(Side::Read).slice(|connection| Ok(slice(connection, selection, from, to)?))?;
        if ascending {
            low = to;
        } else {
            slice.reverse();
            high = from;
        }
        items.extend(slice);
    }
    let more = ascending && (items.len() > selection.limit || low < high);
    items.truncate(selection.limit);
    let next = match items.last() {
        Some(status) if more && items.len() == selection.limit => status.seq,
        _ if ascending => low,
        _ => last,
    };
    if !ascending {
        items.reverse();
    }
    Ok(Statuses { items, next, more, current: None })
}

/// All statuses of one message are few: each word is stored once for a recipient.
fn of_message(turns: &Turns, selection: &Selection, last: i64) -> Result<Statuses, ReadError> {
    let after = match selection.place {
        Place::After(after) if after > last => return Err(ReadError::CursorAhead),
        Place::After(after) => after,
        Place::Now => last,
        Place::Newest | Place::Before(_) => 0,
    };
    let all: Vec<Status> = turns.take(Side::Read).slice(|connection| {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/statuses_of_message.sql"))?;
        Ok(statement.query_map([&selection.message_id], read)?.collect::<rusqlite::Result<_>>()?)
    })?;
    Ok(statuses::of_message(selection, all, after, last))
}

fn slice(connection: &Connection, selection: &Selection, low: i64, high: i64) -> rusqlite::Result<Vec<Status>> {
    let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/statuses_between.sql"))?;
    let Selection { recipient, status, .. } = selection;
    let parameters = named_params! { ":low": low, ":high": high, ":recipient": recipient, ":status": status };
    statement.query_map(parameters, read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Status> {
    Ok(Status {
        seq: row.get(0)?,
        message_id: row.get(1)?,
        status: row.get(2)?,
        recipient: row.get(3)?,
        ts: row.get(4)?,
        error_code: row.get(5)?,
        received_at: row.get(6)?,
    })
}
