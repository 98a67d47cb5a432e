//! The store on PostgreSQL: a server that several instances of this program share.
//!
//! Nothing is kept in memory here, so an instance knows at once what another has stored. Every commit is one statement on the
//! one writing connection, every read one statement on a connection of its own. README.md says which other engines speak the
//! protocol; `sql/postgres` keeps to what they have.
//!
//! The files of this folder are declared in the order of use: each uses only those declared below it.

pub(super) mod maintenance;

mod keeper;

mod delete;

mod statuses;

mod arrivals;

mod page;

mod commit;

mod schema;

mod erased;

mod clock;

mod fold;

mod pool;

mod value;

mod connection;

mod tls;

pub(super) use connection::Url;

use crate::delivery::Delivery;
use crate::mutex::UNPOISONED;
use crate::query::{self, Selection};
use crate::store::{
    Arrival, Arrivals, OpenError, Options, Outcome, Page, Provided, ReadError, Report, Stats, Statuses, Unavailable,
    metrics,
};
use commit::{Group, Writer};
use connection::Fault;
use fold::Folder;
use pool::Pool;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

/// For readiness, which a load balancer asks for every few seconds.
const READY_TIME: Duration = Duration::from_secs(2);

/// How long [`Postgres::ready`] takes the last write for proof that writing works.
const PROBE_INTERVAL: Duration = Duration::from_secs(4);

/// The database, shared by all workers.
pub struct Postgres {
    pool: Pool,
    writer: Mutex<Writer>,
    folder: Arc<Folder>,
    /// Where the server keeps what it acknowledges.
    durability: String,
    /// Random in each database: only who may read all of it knows it.
    secret: Vec<u8>,
    /// The last group could not be committed. Cleared when one could.
    write_failed: AtomicBool,
    /// When the last group was committed.
    written: Mutex<Instant>,
    searches: AtomicUsize,
    searches_max: usize,
}

impl Postgres {
    pub(super) fn open(url: &Url, options: &Options, report: &Report) -> Result<Postgres, OpenError> {
        let (durability, secret) = schema::open(url, report)?;
        let folder = Arc::new(Folder::new(url.clone()));
        keeper::start(&folder, options.retention).map_err(|error| OpenError {
            database: url.to_string(),
            what: format!("cannot start a thread: {error}"),
        })?;
        Ok(Postgres {
            pool: Pool::new(url.clone()),
            writer: Mutex::new(Writer::new(url.clone())),
            folder,
            durability,
            secret,
            write_failed: AtomicBool::new(false),
            written: Mutex::new(Instant::now()),
            searches: AtomicUsize::new(0),
            searches_max: options.searches_max,
        })
    }

    pub(super) fn commit(&self, mut join: impl FnMut(&mut Vec<Delivery>)) -> Result<Vec<Outcome>, Unavailable> {
        let mut writer = self.writer.lock().expect(UNPOISONED);
        let mut deliveries = Vec::new();
        join(&mut deliveries);
        Ok(self.commit_all(&mut writer, &deliveries))
    }

    /// Commits deliveries as one group. When the server refuses a row of it, the group is split until those deliveries are
    /// alone that have such a row: the others are stored.
    fn commit_all(&self, writer: &mut Writer, deliveries: &[Delivery]) -> Vec<Outcome> {
        if deliveries.iter().all(Delivery::is_empty) {
            return vec![Ok(Vec::new()); deliveries.len()];
        }
        let stored = commit::commit(writer, deliveries);
        let refuses_a_row = stored.as_ref().is_err_and(Fault::is_of_a_row);
        if !refuses_a_row {
            self.note(&stored); // a row that is refused says nothing of the next write
        }
        match stored {
            Ok(stored) => stored.into_iter().map(Ok).collect(),
            Err(_) if refuses_a_row && deliveries.len() > 1 => {
                let (some, others) = deliveries.split_at(deliveries.len() / 2);
                [self.commit_all(writer, some), self.commit_all(writer, others)].concat()
            }
            Err(fault) => {
                metrics::COMMIT_FAILURES.count();
                vec![Err(Unavailable(fault.to_string())); deliveries.len()]
            }
        }
    }

    /// Notes whether writing works.
    fn note<T>(&self, written: &Result<T, Fault>) {
        self.write_failed.store(written.is_err(), Ordering::Relaxed);
        if written.is_ok() {
            *self.written.lock().expect(UNPOISONED) = Instant::now();
        }
    }

    pub(super) fn page(&self, selection: &Selection) -> Result<Page, ReadError> {
        if selection.needle.is_none() {
            return page::page(&self.pool, selection);
        }
        let under_way = self.searches.fetch_add(1, Ordering::Relaxed);
        let page = if under_way < self.searches_max {
            page::page(&self.pool, selection)
        } else {
            Err(ReadError::TooManySearches)
        };
        self.searches.fetch_sub(1, Ordering::Relaxed);
        page
    }

    pub(super) fn arrivals(&self, selection: &query::arrivals::Selection) -> Result<Arrivals, ReadError> {
        arrivals::page(&self.pool, &self.folder, selection)
    }

    pub(super) fn followed(&self, followers: &[(i64, query::arrivals::Filter)]) -> Result<(i64, Vec<bool>), ReadError> {
        arrivals::followed(&self.pool, &self.folder, followers)
    }

    pub(super) fn arrival(&self, seq: i64) -> Result<Option<Arrival>, ReadError> {
        arrivals::one(&self.pool, &self.folder, seq)
    }

    pub(super) fn statuses(&self, selection: &query::statuses::Selection) -> Result<Statuses, ReadError> {
        statuses::page(&self.pool, &self.folder, selection)
    }

    pub(super) fn last_status(&self) -> Result<i64, ReadError> {
        statuses::last(&self.pool, &self.folder)
    }

    pub(super) fn provided(&self, seq: i64) -> Result<Option<Provided>, ReadError> {
        arrivals::provided(&self.pool, &self.folder, seq)
    }

    pub(super) fn stats(&self) -> Result<Stats, ReadError> {
        page::stats(&self.pool)
    }

    pub(super) fn history(&self, selection: query::history::Selection) -> Result<Vec<u64>, ReadError> {
        page::history(&self.pool, selection)
    }

    /// A server that takes no writes is reported before a delivery fails: without a write for some seconds, an empty group
    /// is committed.
    pub(super) fn ready(&self) -> Result<(), Unavailable> {
        let unavailable = |error: ReadError| Unavailable(error.to_string());
        self.pool
            .query(include_str!("../../sql/postgres/is_primary.sql"), &[], READY_TIME)
            .map_err(unavailable)?
            .first()
            .filter(|row| row.get(0))
            .ok_or_else(|| Unavailable("the server is a standby, which takes no writes".to_owned()))?;
        let failed = self.write_failed.load(Ordering::Relaxed);
        if !failed && self.written.lock().expect(UNPOISONED).elapsed() < PROBE_INTERVAL {
            return Ok(());
        }
        match self.writer.try_lock() {
            Ok(mut writer) => {
                let written = writer.write(&mut Group::default());
                self.note(&written);
                written.map(|_| ()).map_err(|fault| Unavailable(format!("a write fails: {fault}")))
            }
            Err(TryLockError::WouldBlock) if failed => {
                Err(Unavailable("the last write failed, and one is under way".to_owned()))
            }
            Err(TryLockError::WouldBlock) => Ok(()), // it will show whether writing works
            Err(TryLockError::Poisoned(_)) => unreachable!("{UNPOISONED}"),
        }
    }

    pub(super) fn write_failed(&self) -> bool {
        self.write_failed.load(Ordering::Relaxed)
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }

    pub(super) fn durability(&self) -> &str {
        &self.durability
    }

    /// The disks are the server's.
    pub(super) fn disk_free(&self) -> Option<u64> {
        None
    }

    /// A service manager that starts this again does not heal the server.
    pub(super) fn answers(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    pub(super) fn sizes(&self) -> (Option<u64>, Option<u64>) {
        let rows = self.pool.query(include_str!("../../sql/postgres/size.sql"), &[], READY_TIME);
        let size = rows.ok().and_then(|rows| rows.first().map(|row| row.get::<_, i64>(0).unsigned_abs()));
        (size, None)
    }

    /// The log is the server's.
    pub(super) fn checkpoint(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}
