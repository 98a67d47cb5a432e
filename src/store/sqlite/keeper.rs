//! The keeper: a thread that follows what other programs change, also while nobody asks, stamps the database after a
//! change, and removes from the journal what is followed. The journal has senders, so one that is erased must not stay in
//! it.

use crate::store::ReadError;
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::turn::{Side, Turns};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks. Each reads one number of the wal-index.
const PAUSE: Duration = Duration::from_secs(1);

/// Fails only when the thread cannot be started.
pub(super) fn start(turns: &Arc<Turns>) -> std::io::Result<()> {
    let turns = Arc::clone(turns);
    let thread = std::thread::Builder::new().name("keeper".to_owned());
    let run = move || {
        loop {
            std::thread::sleep(PAUSE);
            let _ = keep(&turns); // when it fails, a second later is soon enough
        }
    };
    thread.spawn(run).map(|_| ())
}

pub(super) fn keep(turns: &Turns) -> Result<(), ReadError> {
    turns.view(Deadline::of_read(), |_| Ok(()))?;
    turns.take(Side::Read).stamp()?;
    while turns.take(Side::Read).empty_journal()? {}
    Ok(())
}
