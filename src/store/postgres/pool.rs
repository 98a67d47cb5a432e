//! Connections for reads: each is used by one thread at a time, so there are as many as threads that read at once.

use crate::mutex::UNPOISONED;
use crate::store::postgres::connection::{Connection, Fault, Row, ToSql, Url};
use crate::store::{ReadError, Unavailable};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// For a read that looks at few rows.
pub(super) const READ_TIME: Duration = Duration::from_secs(10);

/// For a read that may look at all rows: the server ends it after 30 s, and says so. The gate waits for 60 s.
pub(super) const SEARCH_TIME: Duration = Duration::from_secs(32);

/// The server ends a read itself, so that none is left behind: after its time, and, where it can (PostgreSQL 14), 1 s after
/// its connection was closed. Plans are made for what is asked: a parameter that is NULL takes its filter away.
const SETTINGS: &str = "SET statement_timeout = '30s'; SET default_transaction_read_only = on; \
                        SET plan_cache_mode = force_custom_plan; \
                        SELECT set_config(name, '1s', false) FROM pg_settings \
                        WHERE name = 'client_connection_check_interval'";

/// Connections that are not in use.
pub(super) struct Pool {
    url: Url,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(url: Url) -> Pool {
        Pool { url, idle: Mutex::default() }
    }

    /// One statement, which is one view of the database. When the connection breaks, or another transaction is in the way,
    /// it is asked again, until the time is over.
    pub(super) fn query(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
        time: Duration,
    ) -> Result<Vec<Row>, ReadError> {
        let begun = Instant::now();
        let mut fresh = false; // whether the connection is a new one: then it says what is
        loop {
            let (mut connection, is_new) = self.connection(fresh)?;
            let left = time.saturating_sub(begun.elapsed());
            match connection.query(sql, parameters, left) {
                Ok(rows) => {
                    self.idle.lock().expect(UNPOISONED).push(connection);
                    return Ok(rows);
                }
                Err(fault) if fault.is_lost() && !is_new => fresh = true,
                Err(fault) if fault.is_conflict() && begun.elapsed() < time => {
                    self.idle.lock().expect(UNPOISONED).push(connection);
                }
                Err(fault @ Fault::Refused { .. }) if !fault.is_lost() => {
                    self.idle.lock().expect(UNPOISONED).push(connection);
                    return Err(ReadError::from(&fault));
                }
                Err(fault) => return Err(ReadError::from(&fault)), // the connection goes with it
            }
        }
    }

    /// A connection to the primary, and whether it is a new one.
    fn connection(&self, fresh: bool) -> Result<(Connection, bool), Fault> {
        if fresh {
            self.idle.lock().expect(UNPOISONED).clear(); // what broke one has probably broken all
        }
        let primary = self.url.primary();
        let mut idle = self.idle.lock().expect(UNPOISONED);
        idle.retain(|connection| connection.host == primary);
        match idle.pop() {
            Some(connection) => Ok((connection, false)),
            None => {
                drop(idle);
                Ok((Connection::open(&self.url, SETTINGS)?, true))
            }
        }
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> ReadError {
        ReadError::from(&fault)
    }
}

impl From<&Fault> for ReadError {
    fn from(fault: &Fault) -> ReadError {
        if fault.is_cancelled() { ReadError::TimedOut } else { ReadError::Unavailable(Unavailable(fault.to_string())) }
    }
}
