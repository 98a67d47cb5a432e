//! Pages of statuses, and which of the statuses of a message counts.

use crate::query::statuses::Selection;
use crate::store::order::{LOOK_TIME, Span};
use crate::store::{ReadError, Status, Statuses};
use std::time::Instant;

/// What a status is worth beside others of the same message: they arrive in any order. `failed` is final, and a word that
/// is not known is worth the least.
const RANKS: [&str; 5] = ["sent", "delivered", "read", "played", "failed"];

/// A page, found by looking at slices of so many seqs for a bounded time. `slice` reads at most so many statuses above one
/// seq, up to and with another, in the direction of the span.
pub(super) fn page(
    selection: &Selection,
    Span { ascending, mut low, mut high }: Span,
    slice_seqs: i64,
    mut slice: impl FnMut(i64, i64, usize) -> Result<Vec<Status>, ReadError>,
) -> Result<Statuses, ReadError> {
    let (mut items, begun, top) = (Vec::new(), Instant::now(), high);
    let wanted = selection.limit + 1; // one more, so that it is known whether another page follows
    while low < high && items.len() < wanted && begun.elapsed() < LOOK_TIME {
        let left = wanted - items.len();
        if ascending {
            let end = high.min(low.saturating_add(slice_seqs));
            items.extend(slice(low, end, left)?);
            low = end;
        } else {
            let begin = low.max(high - slice_seqs);
            items.extend(slice(begin, high, left)?);
            high = begin;
        }
    }
    let more = items.len() > selection.limit || low < high;
    items.truncate(selection.limit);
    let end = items.last().map(|status| status.seq).filter(|_| items.len() == selection.limit);
    if ascending {
        let next = end.filter(|_| more).unwrap_or(low);
        return Ok(Statuses { items, next, more, before: None, current: None });
    }
    items.reverse();
    let before = more.then(|| end.unwrap_or(high + 1));
    Ok(Statuses { items, next: top.max(0), more: false, before, current: None })
}

/// The page of one message, out of all its statuses in the order of arrival, and which one counts.
pub(super) fn of_message(selection: &Selection, all: Vec<Status>, Span { ascending, low, high }: Span) -> Statuses {
    let rank = |status: &&Status| RANKS.iter().position(|known| *known == status.status);
    let current = all.iter().max_by_key(rank).map(|status| status.status.clone());
    let is = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
    let mut items: Vec<Status> = all
        .into_iter()
        .filter(|status| (low + 1..=high).contains(&status.seq))
        .filter(|status| is(&selection.recipient, &status.recipient) && is(&selection.status, &status.status))
        .collect();
    let beyond = items.len().saturating_sub(selection.limit);
    if ascending {
        items.truncate(selection.limit);
        let next = items.last().filter(|_| beyond > 0).map_or(high, |status| status.seq);
        return Statuses { items, next, more: beyond > 0, before: None, current };
    }
    items.drain(..beyond);
    let before = items.first().filter(|_| beyond > 0).map(|status| status.seq);
    Statuses { items, next: high.max(0), more: false, before, current }
}
