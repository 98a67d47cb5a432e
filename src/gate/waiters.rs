//! The clients whose requests wait for messages.
//!
//! 1. A worker has found nothing for each of them. A waiter holds a place here and a deadline, and nothing behind the gate.
//! 2. After a commit all of them are asked again, at most once in [`PACE`]. The worker then evaluates the filters, from the
//!    cursor on that it gave before.
//! 3. Without a commit they are asked again once in [`POLL`]: another process may have stored something.
//! 4. No commit is missed: the count of commits is read before a worker is asked, and compared once the next one is watched.

use super::ClientId;
use crate::closed_set::closed_set;
use crate::server::Commits;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two rounds in which all are asked. It bounds the work of a flood of commits, and is little beside the 150 ms
/// within which a waiter is promised its message.
const PACE: Duration = Duration::from_millis(50);

/// Between two rounds when nothing was committed.
const POLL: Duration = Duration::from_secs(1);

closed_set! {
    /// The `result` label of `inbox_waits_total`: how a wait has ended.
    pub(super) enum WaitResult;
    /// The label.
    #[expect(dead_code, reason = "the counters have the words of the set")]
    pub(super) fn label() -> &'static str;
    Message = "message",
    Timeout = "timeout",
    Refused = "refused",
    Drained = "drained",
    Left = "left",
    Failed = "failed",
}

/// All that have a place.
pub(super) struct Waiters {
    commits: Arc<Commits>,
    max: usize,
    /// Some of them are being asked again.
    places: HashSet<ClientId>,
    /// When the next round is. There may be none to ask any more.
    due: Option<Instant>,
    /// When the last round was.
    asked: Instant,
}

impl Waiters {
    pub(super) fn new(commits: Arc<Commits>, max: usize) -> Waiters {
        Waiters { commits, max, places: HashSet::new(), due: None, asked: Instant::now() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many commits there were, to be read before a worker is asked.
    pub(super) fn commits(&self) -> u64 {
        self.commits.count()
    }

    /// Gives a client a place, unless it has one. False: there is none. `commits` was the count before a worker was asked.
    pub(super) fn take_in(&mut self, client: ClientId, commits: u64, now: Instant) -> bool {
        if self.places.len() >= self.max && !self.places.contains(&client) {
            return false;
        }
        self.places.insert(client);
        self.commits.watch();
        let next = if self.commits.count() == commits { now + POLL } else { self.next_round(now) };
        self.due = Some(self.due.map_or(next, |due| due.min(next)));
        true
    }

    pub(super) fn leave(&mut self, client: ClientId) {
        self.places.remove(&client);
    }

    /// Something was committed.
    pub(super) fn on_commit(&mut self, now: Instant) {
        let next = self.next_round(now);
        self.due = self.due.map(|due| due.min(next));
    }

    fn next_round(&self, now: Instant) -> Instant {
        now.max(self.asked + PACE)
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Begins a round, if one is due: those to be asked again, unless they are being asked.
    pub(super) fn round(&mut self, now: Instant) -> Vec<ClientId> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.due = None;
        self.asked = now;
        self.places.iter().copied().collect()
    }
}
