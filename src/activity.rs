//! What each kind of sender has done last, since the start, for an operator who sets one up.
//!
//! In memory, and bounded: a few instants and texts for each. How often what happened is counted by
//! [`answer`](crate::answer).

use crate::closed_set::ClosedSet;
use crate::delivery::Source;
use crate::mutex::UNPOISONED;
use jiff::Timestamp;
use std::sync::{Mutex, MutexGuard};

/// What a source has done last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// When a delivery was accepted.
    pub accepted: Option<Timestamp>,
    /// When a delivery was refused, and why, in a few words.
    pub refused: Option<(Timestamp, String)>,
    /// When a handshake was answered, and why it was refused; None: it was not.
    pub handshake: Option<(Timestamp, Option<&'static str>)>,
}

/// Each is held for as long as it takes to copy a few words.
static ACTIVITY: [Mutex<Activity>; Source::ALL.len()] =
    [const { Mutex::new(Activity { accepted: None, refused: None, handshake: None }) }; Source::ALL.len()];

fn lock(source: Source) -> MutexGuard<'static, Activity> {
    ACTIVITY[source.index()].lock().expect(UNPOISONED)
}

/// A delivery has been accepted.
pub fn accepted(source: Source) {
    lock(source).accepted = Some(Timestamp::now());
}

/// A delivery has been refused.
pub fn refused(source: Source, why: String) {
    lock(source).refused = Some((Timestamp::now(), why));
}

/// A handshake has been answered, or refused for that reason.
pub fn handshake(source: Source, refused: Option<&'static str>) {
    lock(source).handshake = Some((Timestamp::now(), refused));
}

/// What a source has done last.
pub fn of(source: Source) -> Activity {
    lock(source).clone()
}
