//! The keeper: a thread that follows what other programs change, also while nobody asks, stamps the database after a
//! change, and removes from the journal what is followed. The journal has senders, so one that is erased must not stay in
//! it. And it deletes what arrived longer ago than is to be kept.

use crate::store::metrics::{EXPIRED, Expired};
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::{ReadError, Retention};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks. Each reads one number of the wal-index.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks for erased messages that need not be remembered any more.
const HOUR: Duration = Duration::from_secs(3600);

/// How long it deletes without a pause, in which the counts follow.
const EXPIRE_TIME: Duration = Duration::from_secs(1);

/// Fails only when the thread cannot be started.
pub(super) fn start(turns: &Arc<Turns>, retention: Retention) -> std::io::Result<()> {
    let turns = Arc::clone(turns);
    let thread = std::thread::Builder::new().name("keeper".to_owned());
    let run = move || {
        let mut hour = Instant::now();
        loop {
            std::thread::sleep(PAUSE);
            if Instant::now() >= hour {
                hour += HOUR;
                let sql = include_str!("../../../sql/sqlite/forget_erased.sql");
                let now = format!("{:.3}", jiff::Timestamp::now());
                let _ = turns.take(Side::Read).expire(sql, &now); // some now, more in an hour
            }
            let _ = keep(&turns).and_then(|()| expire(&turns, retention)); // when it fails, a second later is soon enough
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

/// Deletes for at most [`EXPIRE_TIME`] what arrived longer ago than is to be kept, oldest first.
fn expire(turns: &Turns, Retention { messages, statuses }: Retention) -> Result<(), ReadError> {
    let end = Instant::now() + EXPIRE_TIME;
    for (kind, age, sql) in [
        (Expired::Message, messages, include_str!("../../../sql/sqlite/expire_messages.sql")),
        (Expired::Status, statuses, include_str!("../../../sql/sqlite/expire_statuses.sql")),
        (Expired::Delivery, messages, include_str!("../../../sql/sqlite/expire_ignored.sql")),
    ] {
        let Some(before) = age.and_then(|age| jiff::Timestamp::now().checked_sub(age).ok()) else { continue };
        let before = format!("{before:.3}"); // as messages have it
        while Instant::now() < end {
            let deleted = turns.take(Side::Read).expire(sql, &before)?;
            (0..deleted).for_each(|_| EXPIRED.count(kind));
            if deleted == 0 {
                break;
            }
        }
    }
    Ok(())
}
