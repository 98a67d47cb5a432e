//! Statuses of outgoing messages, in the order of their arrival.
//!
//! Only message_id has an index; the other filters are evaluated row by row, in slices, for a bounded time, as in
//! arrivals.rs.

use crate::query::statuses::Selection;
use crate::store::order::Span;
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::{ReadError, Status, Statuses, statuses};
use rusqlite::{Connection, Row, named_params};

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
    let span = Span::of(selection.place, last(turns)?)?;
    if let Some(message_id) = &selection.message_id {
        // All statuses of one message are few: each word is stored once for a recipient.
        let all: Vec<Status> = turns.take(Side::Read).slice(|connection| {
            let sql = include_str!("../../../sql/sqlite/statuses_of_message.sql");
            Ok(connection.prepare_cached(sql)?.query_map([message_id], read)?.collect::<rusqlite::Result<_>>()?)
        })?;
        return Ok(statuses::of_message(selection, all, span));
    }
    statuses::page(selection, span, SLICE_ROWS, |low, high, _| {
        let slice = turns.take(Side::Read).slice(|connection| Ok(slice(connection, selection, low, high)?));
        slice.map(|mut slice| {
            if !span.ascending {
                slice.reverse();
            }
            slice
        })
    })
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
