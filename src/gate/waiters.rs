//! The clients whose requests wait for messages.
//!
//! 1. A worker has found nothing for each of them. A waiter holds a place here and a deadline, but no connection to a worker.
//! 2. A round follows a commit, at most once in [`PACE`]. In it one worker reads the new messages once for all that wait, and
//!    says who may have one. Only those are asked again, each from the cursor on that was reached.
//! 3. Without a commit there is a round once in [`POLL`]: another process may have stored something.
//! 4. No commit is missed: the count of commits is read before a worker is asked, and compared once the next one is watched.

use super::ClientId;
use crate::closed_set::closed_set;
use crate::server::Commits;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between the beginnings of two rounds. It bounds the work of a flood of commits, and is little beside the 150 ms
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
    /// When the next round is, even if all waiters have left meanwhile.
    due: Option<Instant>,
    round: Round,
    /// When the last round began.
    begun: Instant,
    /// The number of the last wait.
    number: u64,
}

/// How far a round is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    None,
    /// It waits for a connection to a worker.
    Called,
    /// It is with a worker. So many commits were there before.
    UnderWay {
        commits: u64,
    },
}

impl Waiters {
    pub(super) fn new(commits: Arc<Commits>, max: usize) -> Waiters {
        Waiters {
            commits,
            max,
            places: HashSet::new(),
            due: None,
            round: Round::None,
            begun: Instant::now(),
            number: 0,
        }
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
        self.plan_round(commits, now);
        true
    }

    /// A number for a new wait.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(super) fn places(&self) -> impl Iterator<Item = ClientId> {
        self.places.iter().copied()
    }

    /// `commits` is the count that those who wait know of.
    fn plan_round(&mut self, commits: u64, now: Instant) {
        self.commits.watch();
        let next = if self.commits.count() == commits { now + POLL } else { self.next_round(now) };
        self.due = Some(self.due.map_or(next, |due| due.min(next)));
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
        now.max(self.begun + PACE)
    }

    /// When [`Waiters::call_round`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.round == Round::None)
    }

    /// Calls a round, if one is due.
    pub(super) fn call_round(&mut self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.due = None;
            self.round = if self.places.is_empty() { Round::None } else { Round::Called };
        }
    }

    /// Whether a round was called, which begins now.
    pub(super) fn begins_round(&mut self, now: Instant) -> bool {
        let begins = self.round == Round::Called;
        if begins {
            self.round = Round::UnderWay { commits: self.commits.count() };
            self.begun = now;
        }
        begins
    }

    /// The round that was under way has ended.
    pub(super) fn end_round(&mut self, now: Instant) {
        if let Round::UnderWay { commits } = self.round {
            self.round = Round::None;
            self.plan_round(commits, now);
        }
    }
}
