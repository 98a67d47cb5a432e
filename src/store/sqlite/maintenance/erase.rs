//! Removing the messages of one sender, so that they are gone from the files too.

use crate::store::MaintenanceError;
use crate::store::sqlite::maintenance::{CLOCK_ROWS, Maintenance, PAUSE, Progress};
use crate::store::sqlite::owner;
use crate::store::sqlite::schema::LOCK_PATIENCE;
use rusqlite::named_params;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

/// Between two looks at whether the service has followed.
const FOLLOWING_PAUSE: Duration = Duration::from_millis(100);

impl Maintenance {
    /// How many messages a sender has.
    pub fn count_of_sender(&self, from: &str) -> Result<u64, MaintenanceError> {
        let count: i64 =
            self.connection
                .query_row(include_str!("../../../../sql/sqlite/count_of_sender.sql"), [from], |row| row.get(0))?;
        Ok(count as u64) // COUNT(*) is never negative
    }

    /// Removes a sender's messages in short transactions, and calls `removed` with how many after each. On an error,
    /// those of some transactions are removed, and it can be called again.
    pub fn erase(&mut self, from: &str, mut removed: impl FnMut(u64)) -> Result<(), MaintenanceError> {
        // Without it, a removed row's bytes stay in the file until something else needs the room. Copies of rows that were
        // moved before are for scrub.rs.
        self.connection.pragma_update_and_check(None, "secure_delete", 1, |_| Ok(()))?;
        loop {
            let mut count = 0;
            let progress = self.write_for_a_while(|transaction| {
                let mut erase = transaction.prepare_cached(include_str!("../../../../sql/sqlite/erase.sql"))?;
                let erased = erase.execute(named_params! { ":from": from, ":limit": CLOCK_ROWS as i64 })?;
                count += erased as u64;
                Ok(if erased < CLOCK_ROWS { Progress::Done } else { Progress::More })
            })?;
            removed(count);
            if progress == Progress::Done {
                return Ok(());
            }
        }
    }

    /// Waits until the journal has no entry of a sender any more: a service that runs removes them within about a second.
    /// Without one, this empties the journal itself. False when there still is one after all of the time that a command
    /// waits.
    pub fn forget(&self, from: &str) -> Result<bool, MaintenanceError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        let unlockable = |error: std::io::Error| MaintenanceError(error.to_string());
        // Never closed, as in owner.rs.
        let file = ManuallyDrop::new(File::open(&self.path).map_err(unlockable)?);
        loop {
            let sql = include_str!("../../../../sql/sqlite/journal_has.sql");
            if !self.connection.query_row(sql, [from], |row| row.get(0))? {
                return Ok(true);
            }
            let empty = || self.connection.execute(include_str!("../../../../sql/sqlite/empty_journal.sql"), []);
            if let Some(emptied) = owner::without_service(&file, empty).map_err(unlockable)? {
                emptied?;
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(FOLLOWING_PAUSE);
        }
    }

    /// Copies the write-ahead log, in which removed messages may still stand, into the database and empties it. False
    /// when somebody has been reading the old state for all of the time that a command waits.
    pub fn empty_wal(&self) -> Result<bool, MaintenanceError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
            let busy: bool = self.connection.query_row(checkpoint, [], |row| row.get(0))?;
            if !busy || Instant::now() >= deadline {
                return Ok(!busy);
            }
            // While another connection copies the log, SQLite gives up without asking the busy handler
            // (<https://www.sqlite.org/c3ref/wal_checkpoint_v2.html>).
            std::thread::sleep(PAUSE);
        }
    }
}
