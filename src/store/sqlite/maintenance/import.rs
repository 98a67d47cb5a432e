//! Storing messages that were exported.

use crate::store::sqlite::count::seen;
use crate::store::sqlite::maintenance::export::moment_of;
use crate::store::sqlite::maintenance::{CLOCK_ROWS, Maintenance, Progress};
use crate::store::sqlite::schema;
use crate::store::{MaintenanceError, Record, Stored};
use rusqlite::ErrorCode;

impl Maintenance {
    /// Stores messages in as many short transactions as it takes, and says of each, in the same order, what became of
    /// it; the text is why one does not fit the table. On an error, those of some transactions may be stored.
    pub fn import(&mut self, records: &[Record]) -> Result<Vec<Result<Stored, String>>, MaintenanceError> {
        schema::append_silently(&self.connection)?;
        let mut outcomes = Vec::with_capacity(records.len());
        while outcomes.len() < records.len() {
            self.write_for_a_while(|transaction| {
                let mut insert = transaction.prepare_cached(include_str!("../../../../sql/sqlite/insert.sql"))?;
                let mut seq = seen(transaction)?.seq_given;
                for record in records.iter().skip(outcomes.len()).take(CLOCK_ROWS) {
                    let Record { message_id, from, to, ts, text, created_at } = record;
                    let moment = moment_of(ts);
                    let row = (seq + 1, message_id, from, to, ts, text, created_at, moment.us, moment.ns);
                    outcomes.push(match insert.execute(row) {
                        Ok(1) => {
                            seq += 1;
                            Ok(Stored::Created)
                        }
                        Ok(_) => Ok(Stored::Duplicate),
                        // Only the statement was rolled back; the transaction goes on.
                        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                            Err(error.to_string())
                        }
                        Err(error) => return Err(error),
                    });
                }
                Ok(if outcomes.len() < records.len() { Progress::More } else { Progress::Done })
            })?;
        }
        Ok(outcomes)
    }
}
