//! A part of an order of arrival: what both engines share of reading it.

use crate::query::arrivals::Filter;
use crate::query::order::Place;
use crate::store::ReadError;
use std::time::Duration;

/// How long one call looks for messages or statuses, commits in between included. Then its page is what was found, and the
/// next call continues: a filter that matches little keeps no worker from other reads.
pub(super) const LOOK_TIME: Duration = Duration::from_millis(250);

/// Bytes of texts after which a page ends: a text of a provider may be as long as a body.
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// Seqs that are read for those who wait. At 20,000 messages a second, 1,000 arrive between two looks.
pub(super) const FOLLOWED_SEQS: i64 = 4096;

/// What a page of messages says beside them.
pub(super) struct State {
    pub(super) changes: i64,
    pub(super) last: i64,
    pub(super) oldest: i64,
}

/// The seqs above `low`, up to and with `high`.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// The page begins at the low end.
    pub(super) ascending: bool,
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Span {
    /// Where a page lies, when `last` is the highest seq that was ever given.
    pub(super) fn of(place: Place, last: i64) -> Result<Span, ReadError> {
        let (ascending, low, high) = match place {
            Place::After(after) if after > last => return Err(ReadError::CursorAhead),
            Place::After(after) => (true, after, last),
            Place::Now => (true, last, last),
            Place::Newest => (false, 0, last),
            Place::Before(before) => (false, 0, last.min(before.saturating_sub(1))),
        };
        Ok(Span { ascending, low, high })
    }
}

/// The lowest cursor of those who wait that is near enough to the end to read all that came after it.
pub(super) fn lowest_near(followers: &[(i64, Filter)], last: i64) -> i64 {
    let near = followers.iter().map(|(after, _)| *after).filter(|after| last - after <= FOLLOWED_SEQS);
    near.min().unwrap_or(last)
}
