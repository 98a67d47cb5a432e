//! A copy of the database, made while others write (<https://www.sqlite.org/backup.html>).

use crate::store::MaintenanceError;
use crate::store::sqlite::maintenance::Maintenance;
use crate::store::sqlite::maintenance::check::integrity_faults;
use rusqlite::Connection;
use rusqlite::backup::{self, StepResult};
use std::path::Path;

/// Pages of 4 KiB between two reports of how far it is.
const STEP_PAGES: i32 = 1024;

impl Maintenance {
    /// Copies the database as it is now into an empty file, calling `copied` with the pages that are done and with all.
    /// Then checks the copy, and returns what `PRAGMA integrity_check` has found.
    pub(in crate::store) fn backup(
        &mut self,
        into: &Path,
        mut copied: impl FnMut(u64, u64),
    ) -> Result<Vec<String>, MaintenanceError> {
        let mut copy = Connection::open(into)?;
        // The file is not trusted before it has its name, and before that it is synced as a whole.
        copy.pragma_update(None, "synchronous", 0)?;
        // A write by another process would make the copying begin again, and under load it would never end. Within a
        // read transaction the source does not change.
        let snapshot = self.connection.transaction()?;
        snapshot.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0))?; // now it has begun
        {
            let copying = backup::Backup::new(&snapshot, &mut copy)?;
            while copying.step(STEP_PAGES)? != StepResult::Done {
                let progress = copying.progress();
                let (all, left) = (progress.pagecount.unsigned_abs(), progress.remaining.unsigned_abs());
                copied(u64::from(all - left.min(all)), u64::from(all));
            }
        }
        drop(snapshot);
        let faults = integrity_faults(&copy)?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(faults)
    }
}
