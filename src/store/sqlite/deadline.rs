//! When a read ends, whether it is done or not.

use crate::store::ReadError;
use std::time::{Duration, Instant};

/// How long a read may take over all its slices. A search of 1,000,000 messages takes less than a second alone, and
/// several times as long beside full ingest, which has the connection most of the time; the gate waits for 60 s.
const READ_TIME: Duration = Duration::from_secs(30);

/// When a read has taken too long.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Option<Instant>);

impl Deadline {
    /// For a read that begins now.
    pub(super) fn of_read() -> Deadline {
        Deadline(Some(Instant::now() + READ_TIME))
    }

    /// For the start, when there is nothing else to do.
    pub(super) fn never() -> Deadline {
        Deadline(None)
    }

    pub(super) fn check(self) -> Result<(), ReadError> {
        if self.0.is_none_or(|end| Instant::now() < end) { Ok(()) } else { Err(ReadError::TimedOut) }
    }
}
