//! The store on SQLite: one connection, many threads.
//!
//! The files of this folder are declared in the order of use: each uses only those declared below it.

pub(super) mod maintenance;

mod keeper;

mod checkpoint;

mod commit;

mod keep;

mod erased;

mod statuses;

mod arrivals;

mod search;

mod index;

mod pieces;

mod history;

mod walk;

mod turn;

mod deadline;

mod database;

mod count;

mod tally;

mod top;

mod senders;

mod buckets;

mod row;

mod wal;

mod files;

mod owner;

mod schema;

mod value;

mod error;

use crate::delivery::Delivery;
use crate::mutex::UNPOISONED;
use crate::query::{self, Selection};
use crate::store::metrics;
use crate::store::order::LOOK_TIME;
use crate::store::{
    Arrival, Arrivals, OpenError, Options, Outcome, Page, Provided, ReadError, Report, SenderCount, Stats, Statuses,
    Unavailable,
};
use crate::timestamp::Moment;
use count::Count;
use database::Database;
use deadline::Deadline;
use error::is_busy;
use files::{FileId, Files};
use rusqlite::OptionalExtension;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use turn::{Side, Turns};
use wal::Wal;

/// How long [`Sqlite::ready`] takes the last write for proof that writing works. However often it is asked, it writes a
/// block of the log at most every 4 s: 90 MB a day, and nothing while deliveries come in.
const PROBE_INTERVAL: Duration = Duration::from_secs(4);

/// The database file, shared by all workers.
pub struct Sqlite {
    path: PathBuf,
    /// Most searches at one time.
    searches_max: usize,
    files: Files,
    turns: Arc<Turns>,
    /// Held while the checkpointer copies.
    copying: Arc<Mutex<()>>,
    /// The last group could not be committed. Cleared when it has been seen that writing works again.
    write_failed: AtomicBool,
    searches: AtomicUsize,
}

impl Sqlite {
    pub(super) fn open(path: &Path, options: &Options, report: &Report) -> Result<Sqlite, OpenError> {
        owner::own(path, schema::create(path)?)?;
        let connection = schema::open(path, report)?;
        let fail = |what: String| OpenError::new(path, what);
        let files = Files::of(path).map_err(|error| fail(error.to_string()))?;
        let file = FileId::of(path).ok_or_else(|| fail("it is gone again.".to_owned()))?;
        let wal = Wal::open(&files.log).map_err(|error| {
            let what = "Check that the files beside it belong to the user that this runs as.";
            fail(format!("its write-ahead log: {error}. {what}"))
        })?;
        let mut database =
            Database { connection, files: files.clone(), file, wal, count: Count::default(), journal_emptied: -1 };
        let _ = database.wal.prove(&mut database.connection); // a disk that cannot sync yet is found again by the first that writes
        let turns = Arc::new(Turns::new(database));
        let counted = turns.view(Deadline::never(), |_| Ok(()));
        counted.map_err(|error| fail(error.to_string()))?;
        let copying = Arc::default();
        checkpoint::start(&turns, path, &copying)
            .and_then(|()| keeper::start(&turns, options, report))
            .map_err(|error| fail(format!("cannot start a thread: {error}")))?;
        let write_failed = AtomicBool::new(false);
        let (path, searches_max) = (path.to_owned(), options.searches_max);
        Ok(Sqlite { path, searches_max, files, turns, copying, write_failed, searches: AtomicUsize::new(0) })
    }

    pub(super) fn commit(&self, join: impl FnMut(&mut Vec<Delivery>)) -> Result<Vec<Outcome>, Unavailable> {
        match commit::commit(&self.turns, join, &self.write_failed) {
            Ok(stored) => Ok(stored.into_iter().map(Ok).collect()),
            Err(error) => {
                metrics::COMMIT_FAILURES.count();
                Err(Unavailable::from(&error))
            }
        }
    }

    pub(super) fn page(&self, selection: &Selection) -> Result<Page, ReadError> {
        let deadline = Deadline::of_read();
        let Some(needle) = &selection.needle else { return walk::page(&self.turns, selection, deadline) };
        let under_way = self.searches.fetch_add(1, Ordering::Relaxed);
        let page = if under_way < self.searches_max {
            search::page(&self.turns, selection, needle, deadline)
        } else {
            Err(ReadError::TooManySearches)
        };
        self.searches.fetch_sub(1, Ordering::Relaxed);
        page
    }

    pub(super) fn arrivals(&self, selection: &query::arrivals::Selection) -> Result<Arrivals, ReadError> {
        arrivals::page(&self.turns, selection, LOOK_TIME)
    }

    pub(super) fn followed(&self, followers: &[(i64, query::arrivals::Filter)]) -> Result<(i64, Vec<bool>), ReadError> {
        arrivals::followed(&self.turns, followers)
    }

    pub(super) fn arrival(&self, seq: i64) -> Result<Option<Arrival>, ReadError> {
        arrivals::one(&self.turns, seq)
    }

    pub(super) fn statuses(&self, selection: &query::statuses::Selection) -> Result<Statuses, ReadError> {
        statuses::page(&self.turns, selection)
    }

    pub(super) fn last_status(&self) -> Result<i64, ReadError> {
        statuses::last(&self.turns)
    }

    pub(super) fn provided(&self, seq: i64) -> Result<Option<Provided>, ReadError> {
        self.turns.take(Side::Read).slice(|connection| Ok(keep::provided(connection, seq)?))
    }

    pub(super) fn stats(&self) -> Result<Stats, ReadError> {
        self.turns.view(Deadline::of_read(), |view| {
            let ts = |sql| -> rusqlite::Result<Option<String>> {
                let mut statement = view.connection.prepare_cached(sql)?;
                statement
                    .query_row([Moment::UNKNOWN.us], |row| Ok(value::text(row.get_ref(0)?).map(String::from)))
                    .optional()
                    .map(Option::flatten)
            };
            let top = view.tally.top().map(|(from, count)| SenderCount { from: from.to_owned(), count });
            Ok(Stats {
                total_messages: view.tally.total(),
                senders_count: view.tally.senders(),
                messages_per_sender: top.collect(),
                first_message_ts: ts(include_str!("../../sql/sqlite/first_ts.sql"))?,
                last_message_ts: ts(include_str!("../../sql/sqlite/last_ts.sql"))?,
            })
        })
    }

    pub(super) fn history(&self, selection: query::history::Selection) -> Result<Vec<u64>, ReadError> {
        history::history(&self.turns, selection, Deadline::of_read())
    }

    pub(super) fn ready(&self) -> Result<(), Unavailable> {
        let write_failed = &self.write_failed;
        let mut turn = self.turns.take(Side::Ingest); // it may write, and then syncs
        turn.check_files().map_err(|error| Unavailable::from(&error))?; // a write to a file that was moved would succeed
        self.files.check_writable().map_err(Unavailable)?;
        if write_failed.load(Ordering::Relaxed) {
            turn.try_write()
                .map_err(|error| Unavailable(format!("the last write failed, and so does a new one: {error}")))?;
            write_failed.store(false, Ordering::Relaxed);
        } else if turn.wal.synced_at().elapsed() >= PROBE_INTERVAL {
            match turn.probe() {
                Err(error) if !is_busy(&error) => {
                    write_failed.store(true, Ordering::Relaxed);
                    return Err(Unavailable::from(&error));
                }
                _ => {} // another program that writes at the moment shows that writing works
            }
        }
        turn.answers()
    }

    pub(super) fn write_failed(&self) -> bool {
        self.write_failed.load(Ordering::Relaxed) || self.files.check_writable().is_err()
    }

    pub(super) fn disk_free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }

    pub(super) fn answers(&self) -> Result<(), Unavailable> {
        self.turns.take(Side::Read).answers()
    }

    pub(super) fn sizes(&self) -> (Option<u64>, Option<u64>) {
        let size = |path: &std::path::Path| path.metadata().ok().map(|metadata| metadata.len());
        (size(&self.files.database), size(&self.files.log))
    }

    pub(super) fn checkpoint(&self) -> Result<(), Unavailable> {
        let _copying = self.copying.lock().expect(UNPOISONED);
        let turn = &mut *self.turns.take(Side::Ingest);
        let whole = turn.check_files().and_then(|()| turn.wal.prove(&mut turn.connection));
        whole.map_err(|error| Unavailable::from(&error))?;
        let busy = turn.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        match busy {
            Ok(0) => Ok(()),
            Ok(_) => Err(Unavailable("another process is reading the database".to_owned())),
            Err(error) => Err(Unavailable::from(&error)),
        }
    }
}

/// The version of the library.
pub(super) fn version() -> &'static str {
    rusqlite::version()
}

#[cfg(test)]
mod tests;
