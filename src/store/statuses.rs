//! Which of the statuses of a message counts.

use crate::query::order::Place;
use crate::query::statuses::Selection;
use crate::store::{Status, Statuses};

/// What a status is worth beside others of the same message: they arrive in any order. `failed` is final, and a word that
/// is not known is worth the least.
const RANKS: [&str; 5] = ["sent", "delivered", "read", "played", "failed"];

/// The page of one message, out of all its statuses in the order of arrival: those after a cursor, and which one counts.
/// `last` is the highest seq that was ever given to a status.
pub(super) fn of_message(selection: &Selection, all: Vec<Status>, after: i64, last: i64) -> Statuses {
    let rank = |status: &&Status| RANKS.iter().position(|known| *known == status.status);
    let current = all.iter().max_by_key(rank).map(|status| status.status.clone());
    let is = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
    let mut items: Vec<Status> = all
        .into_iter()
        .filter(|status| {
            status.seq > after && is(&selection.recipient, &status.recipient) && is(&selection.status, &status.status)
        })
        .collect();
    let beyond = items.len().saturating_sub(selection.limit);
    if selection.place == Place::Newest {
        items.drain(..beyond);
        return Statuses { items, next: last, more: false, current };
    }
    items.truncate(selection.limit);
    let more = beyond > 0;
    let next = items.last().filter(|_| more).map_or(last, |status| status.seq);
    Statuses { items, next, more, current }
}
