//! What each client is waited for, and until when: one ordered set. A client whose request is with tiny_http is not in
//! it: upstream.rs has the deadline of the connection.

use super::ClientId;
use std::collections::BTreeSet;
use std::time::Instant;

/// What is waited for. Within one kind, except [`Wait::Arrival`], every wait takes equally long, so the order of the ends
/// is that of the beginnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// The first byte of a request.
    Request,
    /// The end of a head.
    Head,
    /// The end of a body.
    Body,
    /// A lone connection to tiny_http.
    Turn,
    /// Messages: for as long as the client has asked for.
    Arrival,
    /// That the client takes its answer.
    Read,
    /// That the client closes its side.
    Close,
}

impl Wait {
    const ALL: [Wait; 7] = [Wait::Request, Wait::Head, Wait::Body, Wait::Turn, Wait::Arrival, Wait::Read, Wait::Close];
}

/// A wait and its end.
pub(super) type Deadline = (Wait, Instant);

/// The deadlines of all clients, one each.
pub(super) struct Deadlines {
    set: BTreeSet<(Wait, Instant, ClientId)>,
    /// Before every deadline: an `Instant` has no smallest value.
    origin: Instant,
}

impl Deadlines {
    pub(super) fn new() -> Deadlines {
        Deadlines { set: BTreeSet::new(), origin: Instant::now() }
    }

    pub(super) fn insert(&mut self, (wait, end): Deadline, client: ClientId) {
        self.set.insert((wait, end, client));
    }

    pub(super) fn remove(&mut self, (wait, end): Deadline, client: ClientId) {
        self.set.remove(&(wait, end, client));
    }

    /// Those that have waited in this way, from the one that has waited longest.
    pub(super) fn longest(&self, wait: Wait) -> impl Iterator<Item = (Instant, ClientId)> {
        let of_kind = self.set.range((wait, self.origin, 0)..).take_while(move |(kind, ..)| *kind == wait);
        of_kind.map(|(_, end, client)| (*end, *client))
    }

    /// The earliest of all, with its client.
    pub(super) fn next(&self) -> Option<(Instant, Wait, ClientId)> {
        let firsts = Wait::ALL.into_iter().filter_map(|wait| Some((wait, self.longest(wait).next()?)));
        firsts.map(|(wait, (end, client))| (end, wait, client)).min()
    }
}
