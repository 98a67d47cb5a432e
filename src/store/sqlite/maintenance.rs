//! What the commands do with the database, each in a process of its own beside a service that may be running.
//!
//! Nothing here waits for the service to stop, and nothing holds it up for long: reads block no other connection in WAL mode, and
//! writes go in transactions of at most about [`TRANSACTION_TIME`], with a pause after as much. The running service
//! notices by `PRAGMA data_version`, and counts what was appended, or everything again.

mod backup;

mod check;

mod erase;

mod import;

mod export;

mod scrub;

pub(in crate::store) use export::Export;

use crate::store::sqlite::schema;
use crate::store::{OpenError, Report};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a transaction may hold the lock that the service's commits wait for.
const TRANSACTION_TIME: Duration = Duration::from_millis(40);

/// After so much time in transactions, however many. The service tries every 10 ms to get the lock (commit.rs), so it
/// gets it in between.
const PAUSE: Duration = Duration::from_millis(15);

/// Rows between two looks at the clock.
const CLOCK_ROWS: usize = 32;

/// The database, as a command has it.
pub struct Maintenance {
    connection: Connection,
    path: PathBuf,
    /// Time spent in transactions since the last pause.
    busy: Duration,
}

impl Maintenance {
    /// Opens a database that is there, whatever the version of its schema.
    pub(in crate::store) fn open(path: &Path) -> Result<Maintenance, OpenError> {
        let connection = schema::open_existing(path)?;
        Ok(Maintenance { connection, path: path.to_owned(), busy: Duration::ZERO })
    }

    /// Opens a database, and makes a new one where there is none.
    pub(in crate::store) fn open_or_create(path: &Path) -> Result<Maintenance, OpenError> {
        if !path.exists() {
            drop(schema::create(path)?); // before SQLite opens it: closing it later would release SQLite's locks
            schema::open(path, &(Arc::new(|_: &str| {}) as Report))?; // an empty file: there is nothing to say
        }
        Maintenance::open(path)
    }

    /// Refuses any schema but this version's.
    pub(in crate::store) fn with_current_schema(self) -> Result<Maintenance, OpenError> {
        match schema::check_current(&self.connection) {
            Ok(()) => Ok(self),
            Err(fault) => Err(OpenError::new(&self.path, fault)),
        }
    }

    /// A transaction that writes, for about [`TRANSACTION_TIME`]: `write` is called until that has passed, or until it
    /// says that there is no more to do.
    fn write_for_a_while(
        &mut self,
        mut write: impl FnMut(&Transaction<'_>) -> rusqlite::Result<Progress>,
    ) -> rusqlite::Result<Progress> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let begun = Instant::now();
        let mut progress = Progress::More;
        while progress == Progress::More && begun.elapsed() < TRANSACTION_TIME {
            progress = write(&transaction)?;
        }
        transaction.commit()?;
        self.busy += begun.elapsed();
        if self.busy >= TRANSACTION_TIME {
            std::thread::sleep(PAUSE);
            self.busy = Duration::ZERO;
        }
        Ok(progress)
    }
}

/// Whether a piece of work was the last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}
