//! The fold: commits become numbered arrivals and counted messages.
//!
//! 1. A commit adds a row to `commits` and touches no row that another commit touches, so that instances do not wait for
//!    each other. What is in `commits` is added to every count that is read, so counts are exact before the fold too.
//! 2. A transaction that folds or deletes has locked the row of `inbox_state`. So there is one at a time over
//!    all instances, and its numbers become visible before the next one gives higher ones: no client that has seen a number
//!    finds a new one below it later.
//! 3. Each instance folds once a second, and before it reads in the order of arrival: what was acknowledged is in the answer.
//!
//! The transaction is replicated like any other. Otherwise the numbers could be given again after a failover.

use crate::mutex::UNPOISONED;
use crate::store::postgres::connection::{Connection, Fault, Url};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// For one statement. The server ends what waits for a lock before that.
pub(super) const STATEMENT_TIME: Duration = Duration::from_secs(10);

const SETTINGS: &str = "SET lock_timeout = '2s'; SET statement_timeout = '9s'; \
                        SET idle_in_transaction_session_timeout = '30s'";

/// For COMMIT, which waits for the standby.
const COMMIT_TIME: Duration = Duration::from_secs(3);

/// After a fold that failed, reads do not try again for so long: they have what was folded before.
const PAUSE: Duration = Duration::from_secs(5);

/// Most attempts when other transactions are in the way, or the connection breaks.
const ATTEMPTS: usize = 5;

/// The connection that folds and deletes.
pub(super) struct Folder {
    url: Url,
    state: Mutex<State>,
}

struct State {
    connection: Option<Connection>,
    failed: Option<Instant>,
}

impl Folder {
    pub(super) fn new(url: Url) -> Folder {
        Folder { url, state: Mutex::new(State { connection: None, failed: None }) }
    }

    /// Folds all that is committed.
    pub(super) fn fold(&self) -> Result<(), Fault> {
        let mut state = self.state.lock().expect(UNPOISONED);
        self.fold_with(&mut state)
    }

    /// The same for a read, which continues without it: what is not folded gets its number later.
    pub(super) fn fold_for_read(&self) {
        let mut state = self.state.lock().expect(UNPOISONED);
        if state.failed.is_none_or(|failed| failed.elapsed() >= PAUSE) {
            let _ = self.fold_with(&mut state); // said above
        }
    }

    fn fold_with(&self, state: &mut State) -> Result<(), Fault> {
        let any = self.attempt(state, |connection| {
            let rows = connection.query(include_str!("../../../sql/postgres/any_commit.sql"), &[], STATEMENT_TIME)?;
            Ok(rows.first().is_some_and(|row| row.get(0)))
        });
        let folded = match any {
            Ok(true) => self.attempt(state, |connection| in_transaction(connection, |_| Ok(()))),
            other => other.map(|_| ()),
        };
        // Without a connection it fails at once, and reads fail too.
        state.failed = folded.as_ref().err().filter(|fault| !fault.is_lost()).map(|_| Instant::now());
        folded
    }

    /// A transaction that has locked the row of `inbox_state` and folded everything. It may be run several times, until it
    /// was committed.
    pub(super) fn exclusively<T>(&self, mut work: impl FnMut(&mut Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut state = self.state.lock().expect(UNPOISONED);
        self.attempt(&mut state, |connection| in_transaction(connection, &mut work))
    }

    /// Statements without that.
    pub(super) fn query<T>(&self, work: impl FnMut(&mut Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut state = self.state.lock().expect(UNPOISONED);
        self.attempt(&mut state, work)
    }

    fn attempt<T>(
        &self,
        state: &mut State,
        mut work: impl FnMut(&mut Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let done = match &mut state.connection {
                Some(connection) if connection.host == self.url.primary() => work(connection),
                stale => Connection::open(&self.url, SETTINGS).and_then(|new| work(stale.insert(new))),
            };
            let fault = match done {
                Ok(done) => return Ok(done),
                Err(fault) => fault,
            };
            // It may have an open transaction, or an answer that is late.
            state.connection = None;
            if attempts == ATTEMPTS || !(fault.is_lost() || fault.is_conflict()) {
                return Err(fault);
            }
        }
    }
}

/// BEGIN, the lock, the fold, the work, COMMIT. After a fault the transaction is rolled back with the connection.
fn in_transaction<T>(
    connection: &mut Connection,
    mut work: impl FnMut(&mut Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    connection.batch("BEGIN", STATEMENT_TIME)?;
    connection.query(include_str!("../../../sql/postgres/lock_state.sql"), &[], STATEMENT_TIME)?;
    loop {
        let rows = connection.query(include_str!("../../../sql/postgres/fold.sql"), &[], STATEMENT_TIME)?;
        if rows.first().is_none_or(|row| row.get::<_, i64>(0) == 0) {
            break;
        }
    }
    let done = work(connection)?;
    connection.batch("COMMIT", COMMIT_TIME)?;
    connection.warned()?; // not replicated: it is visible all the same, and the next COMMIT waits for it too
    Ok(done)
}
