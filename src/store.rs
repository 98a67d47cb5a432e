//! The messages on disk: one SQLite connection, many threads.
//!
//! It promises that what the [`Line`] has said to be stored is on disk whatever happens next, that the messages of one
//! request are stored all or none, that a page and its total are one view, and that no read holds the connection for
//! more than about 5 ms, nor a commit for longer than its group and a checkpoint take, so that reads and ingest do not
//! hold up each other. It leaves to its callers what a message is and how an answer looks.

mod buckets;
mod checkpoint;
mod commit;
mod count;
mod files;
mod line;
mod maintenance;
mod metrics;
mod needle;
mod owner;
mod page;
mod row;
mod schema;
mod search;
mod tally;
mod turn;
mod wal;
mod walk;

pub use commit::{Outcome, Stored};
pub use line::Line;
pub use maintenance::{Export, Filter, Maintenance};
pub use metrics::METRICS;
pub use needle::Needle;
pub use page::{Cursor, Page, Selection, Start};
pub use row::{Item, Record};
pub use schema::OpenError;

use crate::mutex::UNPOISONED;
use crate::timestamp::Moment;
use count::{Count, seen};
use files::{FileId, Files};
use line::GROUP_MESSAGES_MAX;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tally::Tally;
use turn::{Side, Turns};
use wal::{Found, Wal};

/// How long a read may take over all its slices. A search of 1,000,000 messages takes less than a second alone, and
/// several times as long beside full ingest, which has the connection most of the time; the gate waits for 60 s.
const READ_TIME: Duration = Duration::from_secs(30);

/// How long [`Store::ready`] takes the last write for proof that writing works. However often it is asked, it writes a
/// block of the log at most every 4 s: 90 MB a day, and nothing while deliveries come in.
const PROBE_INTERVAL: Duration = Duration::from_secs(4);

/// What the store needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database file.
    pub path: PathBuf,
    /// Most searches at one time. Each keeps a worker busy, and ingest needs workers too.
    pub searches_max: usize,
}

/// The database, shared by all workers.
pub struct Store {
    options: Options,
    files: Files,
    turns: Arc<Turns>,
    /// Held while the checkpointer copies.
    copying: Arc<Mutex<()>>,
    /// The last group could not be committed. Cleared when it has been seen that writing works again.
    write_failed: AtomicBool,
    searches: AtomicUsize,
}

/// It is not certain that anything was stored, or nothing could be read. The text is for the log: the client is told to
/// come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The database did not answer.
    Unavailable(Unavailable),
    /// There was too much to look at in [`READ_TIME`].
    TimedOut,
    /// Other programs have changed so much that it could not be counted in [`READ_TIME`]; the next read goes on with it.
    Counting,
    /// As many searches as are allowed are under way.
    TooManySearches,
    /// The message that the cursor stands for is not there any more.
    CursorGone,
}

/// What /stats says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    total_messages: u64,
    senders_count: usize,
    messages_per_sender: Vec<SenderCount>,
    first_message_ts: Option<String>,
    last_message_ts: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct SenderCount {
    from: String,
    count: u64,
}

impl Store {
    /// Opens the database, migrates it and counts what is in it. Fails when another process serves the same database.
    pub fn open(options: Options) -> Result<Store, OpenError> {
        owner::own(&options.path, schema::create(&options.path)?)?;
        let connection = schema::open(&options.path)?;
        let fail = |what: String| OpenError::new(&options.path, what);
        let files = Files::of(&options.path).map_err(|error| fail(error.to_string()))?;
        let file = FileId::of(&options.path).ok_or_else(|| fail("it is gone again.".to_owned()))?;
        let wal = Wal::open(&files.log).map_err(|error| {
            let what = "Check that the files beside it belong to the user that this runs as.";
            fail(format!("its write-ahead log: {error}. {what}"))
        })?;
        let mut database = Database { connection, files: files.clone(), file, wal, count: Count::default() };
        let _ = database.wal.prove(&mut database.connection); // a disk that cannot sync yet is found again by the first that writes
        let turns = Arc::new(Turns::new(database));
        let counted = turns.view(Deadline::never(), |_| Ok(()));
        counted.map_err(|error| fail(error.to_string()))?;
        let copying = Arc::default();
        checkpoint::start(&turns, &options.path, &copying)
            .map_err(|error| fail(format!("cannot start a thread: {error}")))?;
        let write_failed = AtomicBool::new(false);
        Ok(Store { options, files, turns, copying, write_failed, searches: AtomicUsize::new(0) })
    }

    /// A page of messages and how many match on all pages.
    pub fn page(&self, selection: &Selection) -> Result<Page, ReadError> {
        let deadline = Deadline::of_read();
        let Some(needle) = &selection.needle else { return walk::page(&self.turns, selection, deadline) };
        let under_way = self.searches.fetch_add(1, Ordering::Relaxed);
        let page = if under_way < self.options.searches_max {
            search::page(&self.turns, selection, needle, deadline)
        } else {
            Err(ReadError::TooManySearches)
        };
        self.searches.fetch_sub(1, Ordering::Relaxed);
        page
    }

    /// Totals, the most frequent senders, and the first and last timestamp.
    pub fn stats(&self) -> Result<Stats, ReadError> {
        self.turns.view(Deadline::of_read(), |view| {
            let ts = |sql| -> rusqlite::Result<Option<String>> {
                let mut statement = view.connection.prepare_cached(sql)?;
                statement
                    .query_row([Moment::UNKNOWN.us], |row| Ok(row::text(row.get_ref(0)?).map(String::from)))
                    .optional()
                    .map(Option::flatten)
            };
            let top = view.tally.top().map(|(from, count)| SenderCount { from: from.to_owned(), count });
            Ok(Stats {
                total_messages: view.tally.total(),
                senders_count: view.tally.senders(),
                messages_per_sender: top.collect(),
                first_message_ts: ts(include_str!("../sql/first_ts.sql"))?,
                last_message_ts: ts(include_str!("../sql/last_ts.sql"))?,
            })
        })
    }

    /// Whether the database answers, and whether it takes writes.
    ///
    /// After a write that failed, this tries a small one itself: a service that is taken out of rotation gets no
    /// traffic that could show that the cause is gone. When nothing was written for [`PROBE_INTERVAL`], this writes a few
    /// bytes of the log again, so that a disk that takes no writes is reported before a delivery fails.
    pub fn ready(&self) -> Result<(), Unavailable> {
        let write_failed = &self.write_failed;
        let mut turn = self.turns.take(Side::Read);
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

    /// Whether the last write failed, or this user may not write the files. Unlike [`Store::ready`], this never waits for
    /// the database.
    pub fn write_failed(&self) -> bool {
        self.write_failed.load(Ordering::Relaxed) || self.files.check_writable().is_err()
    }

    /// Bytes that are left for this user on the file system of the database, if it says so.
    pub fn disk_free(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.options.path).ok()?;
        disk.f_bavail.checked_mul(disk.f_frsize)
    }

    /// Whether the database answers a read at all; one that takes no writes for now does.
    pub fn answers(&self) -> Result<(), Unavailable> {
        self.turns.take(Side::Read).answers()
    }

    /// Bytes of the database file and of its write-ahead log, as far as they can be seen.
    pub fn sizes(&self) -> (Option<u64>, Option<u64>) {
        let size = |path: &std::path::Path| path.metadata().ok().map(|metadata| metadata.len());
        (size(&self.files.database), size(&self.files.log))
    }

    /// Copies the write-ahead log into the database, so that the file alone is whole. Nothing depends on it: the log
    /// is read at the next start.
    pub fn checkpoint(&self) -> Result<(), Unavailable> {
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

/// The version of the SQLite library.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// What the turn is about: the connection, and the counts that belong to what is in it.
struct Database {
    connection: Connection,
    files: Files,
    /// The file that the connection has open.
    file: FileId,
    wal: Wal,
    count: Count,
}

/// One state of the database, and the counts that belong to it.
struct View<'a> {
    connection: &'a Connection,
    tally: &'a Tally,
}

impl Database {
    /// Reads within one transaction in which the tally is exact. None: it is not yet, and this was a step towards it.
    fn view<T>(&mut self, read: impl Fn(&View<'_>) -> Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        if !self.count.is_exact(data_version(&self.connection)?) && !self.fill_moments()? {
            return Ok(None);
        }
        let transaction = self.connection.transaction()?;
        let data_version = data_version(&transaction)?;
        if !self.count.is_exact(data_version) {
            if any_unfilled(&transaction)? {
                return Ok(None); // written since the look at it above
            }
            self.count.step(&transaction, data_version)?;
            if !self.count.is_exact(data_version) {
                return Ok(None);
            }
        }
        read(&View { connection: &transaction, tally: &self.count.tally }).map(Some)
    }

    /// Reads within one transaction what needs no counts: a slice of a read whose first hold has counted.
    fn slice<T>(&mut self, read: impl FnOnce(&Connection) -> Result<T, ReadError>) -> Result<T, ReadError> {
        read(&*self.connection.transaction()?)
    }

    /// Fails when the database does not answer a read.
    fn answers(&mut self) -> Result<(), Unavailable> {
        self.slice(|connection| Ok(seen(connection)?)).map(|_| ()).map_err(|error| Unavailable(error.to_string()))
    }

    /// Gives rows that another program has written their moment: at most as many as one of our COMMITs has messages.
    /// Whether all rows have theirs. Fails when nothing can be written: without a moment a row is on no page.
    fn fill_moments(&mut self) -> rusqlite::Result<bool> {
        if !any_unfilled(&self.connection)? {
            return Ok(true);
        }
        self.wal.prove(&mut self.connection)?;
        let rows = self.connection.execute(include_str!("../sql/fill_moments.sql"), [GROUP_MESSAGES_MAX as i64])?;
        Ok(rows < GROUP_MESSAGES_MAX)
    }

    /// Before every write: the database and its log still have their names. Where the log has been removed, this makes
    /// a new one; nothing is lost, since SQLite still has the old one open.
    fn check_files(&mut self) -> rusqlite::Result<()> {
        self.files.check_database(self.file)?;
        match self.wal.look_at(&self.files.log)? {
            Found::Same => Ok(()),
            Found::Nothing => self.wal.renew(&mut self.connection, &self.files.log),
            Found::Another => Err(files::moved(
                &self.files.log,
                "has been replaced; stop every program that has the database open, and restart the service",
            )),
        }
    }

    /// Writes what is there already without a trace, to see whether the disk takes it.
    fn probe(&mut self) -> rusqlite::Result<()> {
        match self.wal.write_header_again(&mut self.connection)? {
            true => Ok(()),
            false => self.try_write(), // an empty log has no header yet
        }
    }

    /// Writes what is there already, to see whether writing works.
    fn try_write(&mut self) -> rusqlite::Result<()> {
        self.wal.prove(&mut self.connection)?;
        let transaction = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        self.wal.sync()
    }
}

/// Another process has the database locked.
fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    error.sqlite_error_code().is_some_and(|code| matches!(code, DatabaseBusy | DatabaseLocked))
}

/// Whether another program has written rows that have no moment yet.
fn any_unfilled(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached(include_str!("../sql/any_unfilled.sql"))?.query_row([], |row| row.get(0))
}

fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

impl View<'_> {
    /// The highest rowid: rows that are stored later have a higher one.
    fn row_max(&self) -> Result<i64, ReadError> {
        let mut statement = self.connection.prepare_cached(include_str!("../sql/rowid_max.sql"))?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }
}

/// When a read has taken too long.
#[derive(Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    /// For a read that begins now.
    fn of_read() -> Deadline {
        Deadline(Some(Instant::now() + READ_TIME))
    }

    /// For the start, when there is nothing else to do.
    fn never() -> Deadline {
        Deadline(None)
    }

    fn check(self) -> Result<(), ReadError> {
        if self.0.is_none_or(|end| Instant::now() < end) { Ok(()) } else { Err(ReadError::TimedOut) }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Unavailable(Unavailable(reason)) => f.write_str(reason),
            ReadError::TimedOut => f.write_str("the query looked at too many messages; narrow it with from or since"),
            ReadError::Counting => {
                f.write_str("another program has changed the messages, and they are being counted; try again")
            }
            ReadError::TooManySearches => f.write_str("too many searches with q are under way; try again"),
            ReadError::CursorGone => f.write_str("the message that this cursor stands for has been deleted"),
        }
    }
}

impl From<&rusqlite::Error> for Unavailable {
    fn from(error: &rusqlite::Error) -> Unavailable {
        Unavailable(error.to_string())
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> ReadError {
        ReadError::Unavailable(Unavailable::from(&error))
    }
}

#[cfg(test)]
mod tests;
