//! Statuses of outgoing messages, in the order of their arrival, as in arrivals.rs.

use crate::query::statuses::Selection;
use crate::store::order::Span;
use crate::store::postgres::arrivals::SLICE_SEQS;
use crate::store::postgres::connection::Row;
use crate::store::postgres::fold::Folder;
use crate::store::postgres::pool::{Pool, READ_TIME};
use crate::store::postgres::value::{escaped, unescaped};
use crate::store::{ReadError, Status, Statuses, statuses};

/// The highest seq that was ever given to a status.
pub(super) fn last(pool: &Pool, folder: &Folder) -> Result<i64, ReadError> {
    folder.fold_for_read();
    let rows = pool.query(include_str!("../../../sql/postgres/last_status_seq.sql"), &[], READ_TIME)?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// A page, and with a message_id the status that counts.
pub(super) fn page(pool: &Pool, folder: &Folder, selection: &Selection) -> Result<Statuses, ReadError> {
    let span = Span::of(selection.place, last(pool, folder)?)?;
    if let Some(message_id) = &selection.message_id {
        let sql = include_str!("../../../sql/postgres/statuses_of_message.sql");
        let all = pool.query(sql, &[&escaped(message_id)], READ_TIME)?.iter().map(status).collect();
        return Ok(statuses::of_message(selection, all, span));
    }
    let sql = match span.ascending {
        true => include_str!("../../../sql/postgres/statuses_after.sql"),
        false => include_str!("../../../sql/postgres/statuses_before.sql"),
    };
    let (recipient, word) = (selection.recipient.as_deref().map(escaped), selection.status.as_deref().map(escaped));
    statuses::page(selection, span, SLICE_SEQS, |low, high, left| {
        let rows = pool.query(sql, &[&low, &high, &recipient, &word, &(left as i64)], READ_TIME)?;
        Ok(rows.iter().map(status).collect())
    })
}

fn status(row: &Row) -> Status {
    let text = |column| unescaped(row.get(column));
    Status {
        seq: row.get(0),
        message_id: text(1),
        status: text(2),
        recipient: text(3),
        ts: text(4),
        error_code: row.get(5),
        received_at: text(6),
    }
}
