//! Whether the database is whole: its pages, its schema, and what the service takes for granted.

use crate::store::filter::moment_of;
use crate::store::sqlite::maintenance::Maintenance;
use crate::store::sqlite::row::moment;
use crate::store::sqlite::schema;
use crate::store::sqlite::tally::Tally;
use crate::store::{MaintenanceError, Record};
use rusqlite::Connection;

/// Most faults that are listed of one kind; SQLite's own default for integrity_check.
const FAULTS_MAX: usize = 100;

impl Maintenance {
    /// What `PRAGMA integrity_check` finds: damaged pages, rows that an index does not have, values that break a
    /// constraint. Nothing, when all is well.
    pub(in crate::store) fn integrity_faults(&self) -> Result<Vec<String>, MaintenanceError> {
        Ok(integrity_faults(&self.connection)?)
    }

    /// How the schema differs from this version's.
    pub(in crate::store) fn schema_faults(&self) -> Result<Vec<String>, MaintenanceError> {
        Ok(schema::differences(&self.connection)?)
    }

    /// Goes through all rows and compares: each one's moment with its ts, and their number with that which the service
    /// counts along an index at its start. Returns the number and the faults.
    pub(in crate::store) fn tally_faults(&mut self) -> Result<(u64, Vec<String>), MaintenanceError> {
        let transaction = self.connection.transaction()?; // one view, so that the numbers can be compared
        let mut faults = Vec::new();
        let mut count = 0;
        {
            let mut statement = transaction.prepare(include_str!("../../../../sql/sqlite/export.sql"))?;
            let mut rows = statement.query([i64::MIN, i64::MAX])?;
            while let Some(row) = rows.next()? {
                count += 1;
                let record = Record::read(row)?;
                if moment(row, 7)? != moment_of(&record.ts) && faults.len() < FAULTS_MAX {
                    let Record { message_id: id, ts, .. } = record;
                    faults.push(format!("the message {id:?} has not the instant of its ts {ts:?}"));
                }
            }
        }
        let tallied = Tally::build(&transaction)?.total();
        if tallied != count {
            faults.push(format!("there are {count} messages, but {tallied} in the index messages_by_sender"));
        }
        Ok((count, faults))
    }
}

pub(super) fn integrity_faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}
