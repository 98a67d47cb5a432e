//! The store: the contract between the service and the database that keeps its messages.
//!
//! The store promises that what the [`Line`] has reported as stored is on disk whatever happens next, that the messages
//! of one request are stored all or none, and that a page and its total are one view. No read holds SQLite for more than
//! about 5 ms, and no commit for longer than its group and a checkpoint take, so reads and ingest do not hold
//! up each other. What a message is, and how an answer looks, is left to the callers.
//!
//! This file names no engine's types. What an engine does lies in the folder of its name.

mod line;

mod maintenance;

mod location;

#[cfg(feature = "postgres")]
mod postgres;

mod sqlite;

mod export;

mod statuses;

mod filter;

mod order;

mod metrics;

pub use export::{Exported, KeptDelivery, KeptMessage, KeptStatus, ProviderDetails, Record};
pub use line::Line;
pub use location::{Location, without_password};
pub use maintenance::{Export, Maintenance};
pub use metrics::METRICS;

use crate::delivery::{Delivery, Raw};
use crate::query::{self, Cursor, Needle, Selection, arrivals, history};
use crate::timestamp::Moment;
use serde::{Deserialize, Serialize};
use sqlite::Sqlite;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What the store needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The database.
    pub database: Location,
    /// What is deleted by itself.
    pub retention: Retention,
    /// Most searches at one time. Each keeps a worker busy, and ingest needs workers too.
    pub searches_max: usize,
    /// Whether there is an index of `q`.
    pub search_index: bool,
}

/// How long what has arrived is kept; None: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Messages, and deliveries in which there was nothing to store.
    pub messages: Option<Duration>,
    /// Statuses of outgoing messages.
    pub statuses: Option<Duration>,
}

/// Takes what is said while a database is opened that needs work first, and of work that continues after that: a sentence at
/// a time, for people.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// The database, shared by all workers.
pub enum Store {
    /// A file of this machine.
    Sqlite(Sqlite),
    /// A server, shared with other instances.
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Postgres>),
}

/// The same call to whichever engine it is.
macro_rules! each_engine {
    ($Enum:ident, $value:expr, $engine:ident => $call:expr) => {
        match $value {
            $Enum::Sqlite($engine) => $call,
            #[cfg(feature = "postgres")]
            $Enum::Postgres($engine) => $call,
        }
    };
}
use each_engine;

/// What became of one message, or of one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is new, and on disk.
    Created,
    /// Its message_id was stored before; nothing was changed.
    Duplicate,
}

/// What became of the messages of one delivery, in their order, and then of its statuses.
///
/// [`Stored`] means on disk: after a power cut they are still there. [`Unavailable`] (disk full, database locked by
/// another process, I/O error) means that it is not certain that any of them is, and that sending them again is safe.
pub type Outcome = Result<Vec<Stored>, Unavailable>;

/// It is not certain that anything was stored, or nothing could be read. The text is for the log: the client is asked to
/// retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The database did not answer.
    Unavailable(Unavailable),
    /// The read had to look at more than it can in the time that it has.
    TimedOut,
    /// Other programs have changed so much that it could not be counted in that time; the next read continues with it.
    Counting,
    /// As many searches as are allowed are under way.
    TooManySearches,
    /// The cursor was given by a database that had more messages than this one.
    CursorAhead,
}

/// Why the database could not be opened: which one, what happened, what to do.
#[derive(Debug)]
pub struct OpenError {
    database: String,
    what: String,
}

/// Why a command could not do its work on the database, as the database says it.
#[derive(Debug)]
pub struct MaintenanceError(String);

/// A page of messages.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order of the contract: moment, then message_id by bytes.
    pub items: Vec<Item>,
    /// How many messages match, on all pages together.
    pub total: u64,
    /// Leads to the page after this, when there is one.
    pub next: Option<Cursor>,
}

/// A message as /messages lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The sender's identifier of the message.
    pub message_id: String,
    /// Who wrote it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// When, exactly as it was sent.
    pub ts: String,
    /// What, if it has text.
    pub text: Option<String>,
}

/// A part of the messages, in the order of their arrival.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// By seq, ascending.
    pub items: Vec<Arrival>,
    /// The cursor to ask with next: whatever comes later, and matches, comes after it.
    pub next: i64,
    /// After `next` there is more to be had, or to be looked at, now.
    pub more: bool,
    /// In front of this seq there is more; None at the beginning of the order, and for a page that came after a cursor.
    pub before: Option<i64>,
    /// The lowest seq there is; without messages, the next to be given.
    pub oldest: i64,
    /// How often messages that were there have been changed or deleted.
    pub changes: i64,
}

/// A message as /arrivals lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Its place in the order of arrival.
    pub seq: i64,
    /// The sender's identifier of the message.
    pub message_id: String,
    /// Who wrote it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// When, exactly as it was sent.
    pub ts: String,
    /// What, if it has text.
    pub text: Option<String>,
    /// What it is: `text` or, without a text, `message`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which kind of sender delivered it.
    pub source: String,
    /// The identifier that its source has for who wrote it.
    pub from_id: Option<String>,
    /// What who wrote it is called.
    pub profile_name: Option<String>,
    /// When it was stored, by the clock of this machine or, with a server, of the server.
    pub received_at: String,
}

/// A part of the statuses of outgoing messages, in the order of their arrival.
#[derive(Clone, Debug)]
pub struct Statuses {
    /// By seq, ascending.
    pub items: Vec<Status>,
    /// The cursor to ask with next.
    pub next: i64,
    /// After `next` there is more to be had, or to be looked at, now.
    pub more: bool,
    /// Where the page in front of this one ends, if there is one.
    pub before: Option<i64>,
    /// Of one message, the status of the highest rank.
    pub current: Option<String>,
}

/// What became of a message that was sent through a provider, as /statuses lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its place in the order of arrival of statuses.
    pub seq: i64,
    /// The message that was sent.
    pub message_id: String,
    /// The provider's word.
    pub status: String,
    /// To whom it was sent.
    pub recipient: String,
    /// When, by the provider's clock.
    pub ts: String,
    /// The first error that the provider names.
    pub error_code: Option<i64>,
    /// When it was stored.
    pub received_at: String,
}

/// What a provider has said of a message, beyond an [`Arrival`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provided {
    /// The provider's identifier of the number that it was sent to.
    pub channel: Option<String>,
    /// The message_id of the message that it answers.
    pub reply_to: Option<String>,
    /// The delivery that brought it, as it came; None when that was deleted, or parts of it were erased.
    pub raw: Option<Raw>,
    /// Where its bytes are in the body.
    pub place: Range<usize>,
    /// The highest seq of the messages that the same delivery brought; theirs follow each other.
    pub last_seq: i64,
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

/// Which messages are exported; the filters of /messages.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of this sender.
    pub from: Option<String>,
    /// Those at this moment or later.
    pub since: Option<Moment>,
    /// Those with this in their text.
    pub needle: Option<Needle>,
}

impl Store {
    /// Opens the database, migrates it and counts what is in it. Fails when another process serves the same database.
    pub fn open(options: Options, report: &Report) -> Result<Store, OpenError> {
        match &options.database {
            Location::Sqlite(path) => Sqlite::open(path, &options, report).map(Store::Sqlite),
            #[cfg(feature = "postgres")]
            Location::Postgres(url) => {
                postgres::Postgres::open(url, &options, report).map(Box::new).map(Store::Postgres)
            }
        }
    }

    /// Commits deliveries as one group. `join` adds those that wait, each time that the database is this thread's. Returns,
    /// in the order in which they joined, what became of each. All fail together, unless the server refuses some: then those
    /// alone.
    fn commit(&self, join: impl FnMut(&mut Vec<Delivery>)) -> Result<Vec<Outcome>, Unavailable> {
        each_engine!(Store, self, engine => engine.commit(join))
    }

    /// A page of messages and how many match on all pages.
    pub fn page(&self, selection: &Selection) -> Result<Page, ReadError> {
        each_engine!(Store, self, engine => engine.page(selection))
    }

    /// Messages in the order of their arrival. It looks for them for a bounded time, so there may be none although some
    /// match; then [`Arrivals::more`] is true, and the cursor has moved on.
    pub fn arrivals(&self, selection: &arrivals::Selection) -> Result<Arrivals, ReadError> {
        each_engine!(Store, self, engine => engine.arrivals(selection))
    }

    /// For each of some followers, a cursor and a filter, whether a message after the cursor may match; for the others none
    /// does, up to the seq that is returned too. It costs little more than for one.
    pub fn followed(&self, followers: &[(i64, arrivals::Filter)]) -> Result<(i64, Vec<bool>), ReadError> {
        each_engine!(Store, self, engine => engine.followed(followers))
    }

    /// The message with this seq, if there is one.
    pub fn arrival(&self, seq: i64) -> Result<Option<Arrival>, ReadError> {
        each_engine!(Store, self, engine => engine.arrival(seq))
    }

    /// A page of statuses of outgoing messages.
    pub fn statuses(&self, selection: &query::statuses::Selection) -> Result<Statuses, ReadError> {
        each_engine!(Store, self, engine => engine.statuses(selection))
    }

    /// The highest seq that was ever given to a status.
    pub fn last_status(&self) -> Result<i64, ReadError> {
        each_engine!(Store, self, engine => engine.last_status())
    }

    /// What a provider has said of the message with this seq; None for a native one.
    pub fn provided(&self, seq: i64) -> Result<Option<Provided>, ReadError> {
        each_engine!(Store, self, engine => engine.provided(seq))
    }

    /// Totals, the most frequent senders, and the first and last timestamp.
    pub fn stats(&self) -> Result<Stats, ReadError> {
        each_engine!(Store, self, engine => engine.stats())
    }

    /// How many messages there are in each of some buckets, by their `ts`.
    pub fn history(&self, selection: history::Selection) -> Result<Vec<u64>, ReadError> {
        each_engine!(Store, self, engine => engine.history(selection))
    }

    /// Whether the database answers, and whether it takes writes.
    ///
    /// After a write that failed, this tries a small one itself: a service that is taken out of rotation gets no
    /// traffic that could show that the cause is gone. Without any write for some seconds, it makes one that leaves no
    /// trace, so that a disk that takes no writes is reported before a delivery fails.
    pub fn ready(&self) -> Result<(), Unavailable> {
        each_engine!(Store, self, engine => engine.ready())
    }

    /// Whether the last write failed, or writing is not permitted. Unlike [`Store::ready`], this never waits for the
    /// database.
    pub fn write_failed(&self) -> bool {
        each_engine!(Store, self, engine => engine.write_failed())
    }

    /// Where a server keeps what it acknowledges, for the log: that is up to its settings.
    pub fn durability(&self) -> Option<&str> {
        match self {
            Store::Sqlite(_) => None,
            #[cfg(feature = "postgres")]
            Store::Postgres(postgres) => Some(postgres.durability()),
        }
    }

    /// What only the instances on this database know; None where one instance has the database for itself.
    pub fn shared_secret(&self) -> Option<&[u8]> {
        match self {
            Store::Sqlite(_) => None,
            #[cfg(feature = "postgres")]
            Store::Postgres(postgres) => Some(postgres.secret()),
        }
    }

    /// Bytes that are left for this user on the file system of the database, if it says so.
    pub fn disk_free(&self) -> Option<u64> {
        each_engine!(Store, self, engine => engine.disk_free())
    }

    /// Whether the database answers a read at all; one that takes no writes for now does.
    pub fn answers(&self) -> Result<(), Unavailable> {
        each_engine!(Store, self, engine => engine.answers())
    }

    /// Bytes of the database file and of its write-ahead log, as far as they can be seen.
    pub fn sizes(&self) -> (Option<u64>, Option<u64>) {
        each_engine!(Store, self, engine => engine.sizes())
    }

    /// Copies the write-ahead log into the database, so that the file alone is whole. Nothing depends on it: the log
    /// is read at the next start.
    pub fn checkpoint(&self) -> Result<(), Unavailable> {
        each_engine!(Store, self, engine => engine.checkpoint())
    }
}

/// The version of the SQLite library.
pub fn sqlite_version() -> &'static str {
    sqlite::version()
}

impl OpenError {
    fn new(path: &Path, what: String) -> OpenError {
        OpenError { database: path.display().to_string(), what }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot open the database {}: {}", self.database, self.what)
    }
}

impl std::error::Error for OpenError {}

impl fmt::Display for MaintenanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for MaintenanceError {}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Unavailable(Unavailable(reason)) => f.write_str(reason),
            ReadError::TimedOut => f.write_str("the query looked at too many messages; narrow it with from or since"),
            ReadError::Counting => {
                f.write_str("another program has changed the messages, and they are being counted; try again")
            }
            ReadError::TooManySearches => f.write_str("too many searches with q are under way; try again"),
            ReadError::CursorAhead => f.write_str("this cursor is ahead of the database; begin without after"),
        }
    }
}
