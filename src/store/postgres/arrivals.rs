//! Reads in the order of arrival.
//!
//! What was acknowledged is folded first, so it is in the answer. No index has all filters in this order: a statement looks
//! at a part of it, and several of them for a bounded time. All parts are one view, because no number below one that was given
//! is given later. A message that is deleted meanwhile may be missing.

use crate::query::arrivals::{Filter, Selection};
use crate::store::filter;
use crate::store::order::{FOLLOWED_SEQS, LOOK_TIME, PAGE_BYTES, Span, State, lowest_near};
use crate::store::postgres::connection::Row;
use crate::store::postgres::fold::Folder;
use crate::store::postgres::pool::{Pool, READ_TIME, SEARCH_TIME};
use crate::store::postgres::value::{escaped, message_key, pattern, unescaped};
use crate::store::{Arrival, Arrivals, Provided, Raw, ReadError};
use std::time::Instant;

/// Seqs that one statement looks at.
pub(super) const SLICE_SEQS: i64 = 16_384;

/// What was found, and the part of the order that was not looked at: above `low`, up to and with `high`.
struct Found {
    items: Vec<Arrival>,
    low: i64,
    high: i64,
}

/// A page in the order of arrival, of what is found in a bounded time.
pub(super) fn page(pool: &Pool, folder: &Folder, selection: &Selection) -> Result<Arrivals, ReadError> {
    let Selection { place, limit, filter } = selection;
    folder.fold_for_read();
    let State { changes, last, oldest } = state(pool)?;
    let Span { ascending, low, high } = Span::of(*place, last)?;
    let Found { mut items, low: left_low, high: left_high } = look(pool, filter, ascending, (low, high), limit + 1)?;
    let more = items.len() > *limit || left_low < left_high;
    items.truncate(*limit);
    let end = items.last().map(|arrival| arrival.seq).filter(|_| items.len() == *limit);
    if ascending {
        let next = if more { end.unwrap_or(left_low) } else { high.max(0) };
        return Ok(Arrivals { items, next, more, before: None, oldest, changes });
    }
    let before = more.then(|| end.unwrap_or(left_high + 1));
    items.reverse();
    Ok(Arrivals { items, next: high.max(0), more: false, before, oldest, changes })
}

/// For each of some followers, a cursor and a filter, whether a message after the cursor may match: the new messages are
/// read once for all. For the others none does up to the seq that is returned too.
pub(super) fn followed(
    pool: &Pool,
    folder: &Folder,
    followers: &[(i64, Filter)],
) -> Result<(i64, Vec<bool>), ReadError> {
    folder.fold_for_read();
    let last = state(pool)?.last;
    let low = lowest_near(followers, last);
    let found = look(pool, &Filter::default(), true, (low, last), FOLLOWED_SEQS as usize + 1)?;
    let known = if found.low < found.high { last + 1..=last } else { low..=last };
    Ok((last, filter::may_match(followers, known, &found.items)))
}

/// The message with this seq.
pub(super) fn one(pool: &Pool, folder: &Folder, seq: i64) -> Result<Option<Arrival>, ReadError> {
    folder.fold_for_read();
    Ok(look(pool, &Filter::default(), true, (seq.saturating_sub(1), seq), 1)?.items.pop())
}

/// What a provider has said of the message with this seq.
pub(super) fn provided(pool: &Pool, folder: &Folder, seq: i64) -> Result<Option<Provided>, ReadError> {
    folder.fold_for_read();
    let rows = pool.query(include_str!("../../../sql/postgres/delivery_of.sql"), &[&seq], READ_TIME)?;
    Ok(rows.first().map(|row| {
        let fields = row.get::<_, Option<String>>(0).map(unescaped);
        let (body, altered): (Option<Vec<u8>>, Option<bool>) = (row.get(1), row.get(2));
        let raw = fields.zip(body).filter(|_| altered == Some(false)).map(|(fields, body)| Raw { fields, body });
        let number = |column| usize::try_from(row.get::<_, Option<i64>>(column).unwrap_or(0)).unwrap_or(0);
        let (at, bytes) = (number(3), number(4));
        let text = |column| row.get::<_, Option<String>>(column).map(unescaped);
        let last_seq = row.get::<_, Option<i64>>(7).unwrap_or(seq);
        Provided { channel: text(5), reply_to: text(6), raw, place: at..at.saturating_add(bytes), last_seq }
    }))
}

fn state(pool: &Pool) -> Result<State, ReadError> {
    let rows = pool.query(include_str!("../../../sql/postgres/arrivals_state.sql"), &[], READ_TIME)?;
    let state = rows.first().map(|row| {
        let (changes, last, oldest) = (row.get(0), row.get(1), row.get::<_, Option<i64>>(2));
        State { changes, last, oldest: oldest.unwrap_or(last + 1) }
    });
    Ok(state.unwrap_or(State { changes: 0, last: 0, oldest: 1 }))
}

/// Looks at a part of the order until so many messages, or so many bytes, were found, or for [`LOOK_TIME`].
fn look(
    pool: &Pool,
    filter: &Filter,
    ascending: bool,
    (mut low, mut high): (i64, i64),
    wanted: usize,
) -> Result<Found, ReadError> {
    let begun = Instant::now();
    let sql = match ascending {
        true => include_str!("../../../sql/postgres/arrivals_after.sql"),
        false => include_str!("../../../sql/postgres/arrivals_before.sql"),
    };
    let key = filter.message_id.as_deref().map(message_key);
    let key = key.as_ref().map(|key| key.as_slice());
    let from = filter.from.as_deref().map(escaped);
    let (us, ns) = (filter.since.map(|since| since.us), filter.since.map(|since| since.ns as i16)); // 0 to 999
    let pattern = filter.needle.as_ref().map(pattern);
    let kind = filter.kind.as_deref().map(escaped);
    let source = filter.source.as_deref().map(escaped);
    let from_id = filter.from_id.as_deref().map(escaped);
    // These have an index: the whole order is looked at in one go.
    let has_index = key.is_some() || from.is_some() || from_id.is_some();
    let mut items: Vec<Arrival> = Vec::new();
    let mut bytes = 0;
    while low < high && items.len() < wanted && bytes < PAGE_BYTES as i64 {
        let (first, last) = match ascending {
            _ if has_index => (low, high),
            true => (low, high.min(low.saturating_add(SLICE_SEQS))),
            false => (low.max(high - SLICE_SEQS), high),
        };
        let (limit, room) = ((wanted - items.len()) as i64, PAGE_BYTES as i64 - bytes);
        let rows = pool.query(
            sql,
            &[&first, &last, &key, &from, &us, &ns, &pattern, &kind, &source, &from_id, &limit, &room],
            if has_index { SEARCH_TIME } else { READ_TIME },
        )?;
        let found: Vec<Arrival> = rows.iter().map(arrival).collect();
        let found_bytes = found.iter().map(|arrival| arrival.text.as_ref().map_or(0, String::len) as i64).sum::<i64>();
        bytes += found_bytes;
        let is_cut = found.len() as i64 == limit || found_bytes >= room;
        let end = found.last().map(|arrival| arrival.seq).filter(|_| is_cut);
        match ascending {
            true => low = end.unwrap_or(last),
            false => high = end.map_or(first, |seq| seq - 1),
        }
        items.extend(found);
        if begun.elapsed() >= LOOK_TIME {
            break;
        }
    }
    Ok(Found { items, low, high })
}

fn arrival(row: &Row) -> Arrival {
    let text = |column| unescaped(row.get(column));
    let optional = |column| row.get::<_, Option<String>>(column).map(unescaped);
    Arrival {
        seq: row.get(0),
        message_id: text(1),
        from: text(2),
        to: text(3),
        ts: text(4),
        text: optional(5),
        kind: text(6),
        source: text(7),
        from_id: optional(8),
        profile_name: optional(9),
        received_at: text(10),
    }
}
