//! Statuses of outgoing messages, in the order of their arrival, as in arrivals.rs.

use crate::query::order::Place;
use crate::query::statuses::Selection;
use crate::store::postgres::arrivals::{LOOK_TIME, SLICE_SEQS};
use crate::store::postgres::connection::Row;
use crate::store::postgres::fold::Folder;
use crate::store::postgres::pool::{Pool, READ_TIME};
use crate::store::postgres::value::{escaped, unescaped};
use crate::store::{ReadError, Status, Statuses, statuses};
use std::time::Instant;

/// The highest seq that was ever given to a status.
pub(super) fn last(pool: &Pool, folder: &Folder) -> Result<i64, ReadError> {
    folder.fold_for_read();
    let rows = pool.query(include_str!("../../../sql/postgres/last_status_seq.sql"), &[], READ_TIME)?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// A page, and with a message_id the status that counts.
pub(super) fn page(pool: &Pool, folder: &Folder, selection: &Selection) -> Result<Statuses, ReadError> {
    let last = last(pool, folder)?;
    let (mut low, mut high, ascending) = match selection.place {
        Place::After(after) if after > last => return Err(ReadError::CursorAhead),
        Place::After(after) => (after, last, true),
        Place::Now => (last, last, true),
        Place::Newest | Place::Before(_) => (0, last, false),
    };
    if let Some(message_id) = &selection.message_id {
        let sql = include_str!("../../../sql/postgres/statuses_of_message.sql");
        let all = pool.query(sql, &[&escaped(message_id)], READ_TIME)?.iter().map(status).collect();
        return Ok(statuses::of_message(selection, all, low, last));
    }
    let sql = match ascending {
        true => include_str!("../../../sql/postgres/statuses_after.sql"),
        false => include_str!("../../../sql/postgres/statuses_before.sql"),
    };
    let (recipient, word) = (selection.recipient.as_deref().map(escaped), selection.status.as_deref().map(escaped));
    let (mut items, begun): (Vec<Status>, _) = (Vec::new(), Instant::now());
    let wanted = selection.limit + 1; // one more, so that it is known whether another page follows
    while low < high && items.len() < wanted {
        let (first, end) = match ascending {
            true => (low, high.min(low.saturating_add(SLICE_SEQS))),
            false => (low.max(high - SLICE_SEQS), high),
        };
        let limit = (wanted - items.len()) as i64;
        let rows = pool.query(sql, &[&first, &end, &recipient, &word, &limit], READ_TIME)?;
        items.extend(rows.iter().map(status));
        match ascending {
            true => low = end,
            false => high = first,
        }
        if begun.elapsed() >= LOOK_TIME {
            break;
        }
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
