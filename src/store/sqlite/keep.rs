//! What is kept of a provider's delivery beyond the rows of its messages: itself, their details, and its statuses.

use crate::delivery::{Delivery, Raw, StatusUpdate};
use crate::message::Details;
use crate::store::{Provided, Stored};
use rusqlite::{Connection, OptionalExtension};

/// Writes it within the transaction of the group. `stored` is what became of the delivery's messages, of which the new
/// ones have the numbers from `first_seq` on. Returns what became of its statuses.
///
/// A delivery of which every message and status was stored before is the provider's retry. It was kept the first time,
/// and is not kept again. One in which there is nothing to store has no such mark, and is kept each time. Without a body,
/// only the rest is kept.
pub(super) fn keep(
    connection: &Connection,
    delivery: &Delivery,
    (fields, body): (&str, Option<&[u8]>),
    stored: &[Stored],
    first_seq: i64,
    now: &str,
) -> rusqlite::Result<Vec<Stored>> {
    let id = next_delivery(connection)?;
    let statuses = delivery.statuses.iter().map(|update| {
        let StatusUpdate { message_id, status, recipient, ts, error_code } = update;
        (message_id.as_str(), status.as_str(), recipient.as_str(), ts.as_str(), *error_code)
    });
    let statuses = insert_statuses(connection, statuses, id, now)?;
    if delivery.updates() > 0 && !stored.iter().chain(&statuses).any(|outcome| *outcome == Stored::Created) {
        return Ok(statuses);
    }
    let source = delivery.source.label();
    let mut insert = connection.prepare_cached(include_str!("../../../sql/sqlite/insert_details.sql"))?;
    let created = delivery.messages.iter().zip(stored).filter(|(_, outcome)| **outcome == Stored::Created);
    for (seq, (message, _)) in (first_seq..).zip(created) {
        let Some(details) = &message.details else { continue };
        let (at, bytes) = (details.place.start as i64, details.place.len() as i64); // a body is in memory
        let Details { kind, from_id, profile_name, channel, reply_to, .. } = details;
        insert.execute((seq, source, kind, from_id, profile_name, channel, reply_to, id, at, bytes))?;
    }
    let mut insert = connection.prepare_cached(include_str!("../../../sql/sqlite/insert_delivery.sql"))?;
    let ignored = delivery.updates() == 0;
    insert.execute((id, source, now, fields, body.unwrap_or_default(), ignored, body.is_none()))?;
    Ok(statuses)
}

/// What is kept of the message with this seq.
pub(super) fn provided(connection: &Connection, seq: i64) -> rusqlite::Result<Option<Provided>> {
    let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/delivery_of.sql"))?;
    let provided = statement.query_row([seq], |row| {
        let (fields, body, altered): (Option<String>, Option<Vec<u8>>, Option<bool>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let raw = fields.zip(body).filter(|_| altered == Some(false)).map(|(fields, body)| Raw { fields, body });
        let (at, bytes): (i64, i64) = (row.get(3)?, row.get(4)?);
        let at = usize::try_from(at).unwrap_or(usize::MAX); // another program may have written anything
        let place = at..at.saturating_add(usize::try_from(bytes).unwrap_or(0));
        Ok(Provided { channel: row.get(5)?, reply_to: row.get(6)?, raw, place, last_seq: row.get(7)? })
    });
    provided.optional()
}

/// The id that the next delivery gets.
pub(super) fn next_delivery(connection: &Connection) -> rusqlite::Result<i64> {
    let mut next = connection.prepare_cached(include_str!("../../../sql/sqlite/next_delivery.sql"))?;
    next.query_row([], |row| row.get(0))
}

/// Stores what a provider has said of a message: message_id, status, recipient, ts and error_code of each.
pub(super) fn insert_statuses<'a>(
    connection: &Connection,
    statuses: impl Iterator<Item = (&'a str, &'a str, &'a str, &'a str, Option<i64>)>,
    delivery: i64,
    now: &str,
) -> rusqlite::Result<Vec<Stored>> {
    let mut last = connection.prepare_cached(include_str!("../../../sql/sqlite/last_status_seq.sql"))?;
    let mut seq: i64 = last.query_row([], |row| row.get(0))?;
    let mut insert = connection.prepare_cached(include_str!("../../../sql/sqlite/insert_status.sql"))?;
    let outcomes = statuses.map(|(message_id, status, recipient, ts, error_code)| {
        if insert.execute((seq + 1, message_id, status, recipient, ts, error_code, now, delivery))? == 0 {
            return Ok(Stored::Duplicate);
        }
        seq += 1; // a duplicate takes no number
        Ok(Stored::Created)
    });
    outcomes.collect()
}
