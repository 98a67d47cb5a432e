//! The keeper: a thread that follows what other programs change, also while no request comes, stamps the database after a
//! change, and removes from the journal what is followed. The journal has senders, so one that is erased must not stay in
//! it. It deletes what arrived longer ago than is to be kept, and builds the index of `q` (index.rs).

use crate::store::metrics::{EXPIRED, Expired, SEARCH_BEHIND};
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::index;
use crate::store::sqlite::turn::{Side, Turns};
use crate::store::{Options, ReadError, Report, Retention};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks. Each reads one number of the wal-index.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks for erased messages that need not be remembered any more.
const HOUR: Duration = Duration::from_secs(3600);

/// How long it deletes without a pause, in which the counts follow.
const EXPIRE_TIME: Duration = Duration::from_secs(1);

/// How long it builds the index without a pause.
const INDEX_TIME: Duration = Duration::from_secs(1);

/// Between two reports of an index that is being built.
const REPORT_PAUSE: Duration = Duration::from_secs(5);

/// Fails only when the thread cannot be started.
pub(super) fn start(turns: &Arc<Turns>, options: &Options, report: &Report) -> std::io::Result<()> {
    let (turns, report) = (Arc::clone(turns), Arc::clone(report));
    let (retention, has_index) = (options.retention, options.search_index);
    if has_index {
        show_behind(index::missing(&turns).unwrap_or_default().len()); // when it fails, a second later is soon enough
    }
    let thread = std::thread::Builder::new().name("keeper".to_owned());
    let run = move || {
        // Of one that is not wanted any more, the room is for messages.
        while !has_index && index::remove_below(&turns, i64::MAX).unwrap_or(false) {}
        let mut hour = Instant::now();
        let mut reported = Reported { at: Instant::now(), behind: 0 };
        loop {
            std::thread::sleep(PAUSE);
            if Instant::now() >= hour {
                hour += HOUR;
                let sql = include_str!("../../../sql/sqlite/forget_erased.sql");
                let now = format!("{:.3}", jiff::Timestamp::now());
                let _ = turns.take(Side::Read).expire(sql, &now); // some now, more in an hour
            }
            // When it fails, a second later is soon enough.
            let _ = keep(&turns).and_then(|()| expire(&turns, retention)).and_then(|()| {
                if has_index {
                    reported.report(follow(&turns)?, &report);
                }
                Ok(())
            });
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

/// Builds the index for at most [`INDEX_TIME`]. Returns how many messages it does not have then that it should have.
fn follow(turns: &Turns) -> Result<usize, ReadError> {
    let end = Instant::now() + INDEX_TIME;
    let oldest = index::oldest_group(turns)?;
    while Instant::now() < end && index::remove_below(turns, oldest)? {}
    let mut missing = index::missing(turns)?;
    missing.reverse();
    while let Some(group) = missing.pop_if(|_| Instant::now() < end) {
        index::build(turns, group)?;
    }
    Ok(show_behind(missing.len()))
}

/// So many groups are not in the index.
fn show_behind(groups: usize) -> usize {
    let messages = groups * index::GROUP as usize;
    SEARCH_BEHIND.set(messages);
    messages
}

/// What was last said of the index.
struct Reported {
    at: Instant,
    behind: usize,
}

impl Reported {
    /// Says how far it is, if that takes longer than [`REPORT_PAUSE`], and in the end that it is done.
    fn report(&mut self, behind: usize, report: &Report) {
        if behind == 0 && self.behind > 0 {
            report("the index of q is up to date");
        } else if behind > 0 && self.at.elapsed() >= REPORT_PAUSE {
            report(&format!("building the index of q: {behind} messages are left"));
        } else {
            if behind == 0 {
                self.at = Instant::now();
            }
            return;
        }
        *self = Reported { at: Instant::now(), behind };
    }
}
