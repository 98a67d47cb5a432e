//! Removing a person: their messages, statuses of messages to them, and what deliveries say of them, so that they are gone
//! from the files too.

use crate::delivery;
use crate::store::MaintenanceError;
use crate::store::sqlite::erased;
use crate::store::sqlite::index;
use crate::store::sqlite::maintenance::{CLOCK_ROWS, Maintenance, PAUSE, Progress};
use crate::store::sqlite::owner;
use crate::store::sqlite::schema::LOCK_PATIENCE;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

/// Between two looks at whether the service has followed.
const FOLLOWING_PAUSE: Duration = Duration::from_millis(100);

/// Statuses looked at between two looks at the clock: some milliseconds.
const STATUSES: i64 = 10_000;

/// Deliveries read at once. One may have 4 MiB.
const DELIVERIES: i64 = 16;

impl Maintenance {
    /// What a person is called in the database, besides what they are called by here: the identifiers that a provider has
    /// for a number, and the numbers of an identifier. What is given comes first.
    pub(in crate::store) fn names_of(&self, person: &str) -> Result<Vec<String>, MaintenanceError> {
        let mut statement = self.connection.prepare(include_str!("../../../../sql/sqlite/names_of_person.sql"))?;
        let others = statement.query_map([person], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
        let others = others.into_iter().filter(|name| name != person);
        Ok(std::iter::once(person.to_owned()).chain(others).collect())
    }

    /// How many messages a person has, by all names.
    pub(in crate::store) fn count_of(&self, names: &[String]) -> Result<u64, MaintenanceError> {
        let sql = include_str!("../../../../sql/sqlite/count_of_person.sql");
        let count: i64 = self.connection.query_row(sql, [serde_json::json!(names).to_string()], |row| row.get(0))?;
        Ok(count as u64) // COUNT(*) is never negative
    }

    /// How many statuses there are of messages that were sent to a person, by all names.
    pub(in crate::store) fn count_statuses_to(&self, names: &[String]) -> Result<u64, MaintenanceError> {
        let sql = include_str!("../../../../sql/sqlite/count_statuses.sql");
        let count: i64 = self.connection.query_row(sql, [serde_json::json!(names).to_string()], |row| row.get(0))?;
        Ok(count as u64) // COUNT(*) is never negative
    }

    /// Removes a person's messages in short transactions, and calls `removed` with how many after each. On an error,
    /// those of some transactions are removed, and it can be called again.
    pub(in crate::store) fn erase(&mut self, name: &str, mut removed: impl FnMut(u64)) -> Result<(), MaintenanceError> {
        // Without it, a removed row's bytes stay in the file until something else needs the room. Copies of rows that were
        // moved before are for scrub.rs.
        self.connection.pragma_update_and_check(None, "secure_delete", 1, |_| Ok(()))?;
        loop {
            let mut count = 0;
            let progress = self.write_for_a_while(|transaction| {
                let mut some =
                    transaction.prepare_cached(include_str!("../../../../sql/sqlite/messages_of_person.sql"))?;
                let some =
                    some.query_map((name, CLOCK_ROWS as i64), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                let some = some.collect::<rusqlite::Result<Vec<(i64, String, bool)>>>()?;
                // The index first, a part at a time, since each takes some milliseconds.
                for (seq, ..) in &some {
                    if index::forget(transaction, *seq)? {
                        return Ok(Progress::More);
                    }
                }
                let mut delete =
                    transaction.prepare_cached(include_str!("../../../../sql/sqlite/delete_message.sql"))?;
                for (seq, message_id, is_provided) in &some {
                    if *is_provided {
                        erased::remember(transaction, message_id)?;
                    }
                    delete.execute([seq])?;
                }
                count += some.len() as u64;
                Ok(if some.is_empty() { Progress::Done } else { Progress::More })
            })?;
            removed(count);
            if progress == Progress::Done {
                return Ok(());
            }
        }
    }

    /// Removes the statuses of messages that were sent to a person, and says how many.
    pub(in crate::store) fn erase_statuses(&mut self, name: &str) -> Result<u64, MaintenanceError> {
        let sql = include_str!("../../../../sql/sqlite/last_status.sql");
        let last: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        let (mut first, mut erased) = (0, 0);
        while first < last {
            self.write_for_a_while(|transaction| {
                let mut erase =
                    transaction.prepare_cached(include_str!("../../../../sql/sqlite/erase_statuses.sql"))?;
                erased += erase.execute((first, first + STATUSES, name))? as u64;
                first += STATUSES;
                Ok(if first < last { Progress::More } else { Progress::Done })
            })?;
        }
        Ok(erased)
    }

    /// Blanks out a person in the deliveries that are kept as they came, where others are in them too. `mentions` says
    /// whether a text mentions the person.
    pub(in crate::store) fn erase_in_deliveries(
        &mut self,
        mentions: impl Fn(&str) -> bool,
    ) -> Result<(), MaintenanceError> {
        let mut last = 0;
        loop {
            // Looking takes no lock that the service's commits wait for.
            let some: Vec<(i64, Vec<u8>)> = {
                let mut some =
                    self.connection.prepare_cached(include_str!("../../../../sql/sqlite/deliveries_after.sql"))?;
                let some = some.query_map((last, DELIVERIES), |row| Ok((row.get(0)?, row.get(1)?)))?;
                some.collect::<rusqlite::Result<_>>()?
            };
            let Some((id, _)) = some.last() else { return Ok(()) };
            last = *id;
            let mut altered: Vec<_> =
                some.into_iter().filter_map(|(id, body)| Some((id, delivery::without(&body, &mentions)?))).collect();
            while !altered.is_empty() {
                self.write_for_a_while(|transaction| {
                    let mut alter =
                        transaction.prepare_cached(include_str!("../../../../sql/sqlite/alter_delivery.sql"))?;
                    let Some(altered) = altered.pop() else { return Ok(Progress::Done) };
                    alter.execute(altered)?;
                    Ok(Progress::More)
                })?;
            }
        }
    }

    /// Waits until the journal has no entry of a sender any more: a service that runs removes them within about a second.
    /// Without one, this empties the journal itself. False when there still is one after all of the time that a command
    /// waits.
    pub(in crate::store) fn forget(&self, from: &str) -> Result<bool, MaintenanceError> {
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
    /// when another program has been reading the old state for all of the time that a command waits.
    pub(in crate::store) fn empty_wal(&self) -> Result<bool, MaintenanceError> {
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
