//! Storing what was exported.

use crate::store::filter::moment_of;
use crate::store::sqlite::count::seen;
use crate::store::sqlite::keep::{insert_statuses, next_delivery};
use crate::store::sqlite::maintenance::{CLOCK_ROWS, Maintenance, Progress};
use crate::store::sqlite::schema;
use crate::store::{Exported, KeptDelivery, KeptMessage, MaintenanceError, ProviderDetails, Record, Stored};
use rusqlite::{Connection, ErrorCode};

/// In details: no delivery is kept. The first has the id 1.
const NO_DELIVERY: i64 = 0;

impl Maintenance {
    /// Stores lines in as many short transactions as it takes, and says of each, in the same order, whether anything in it
    /// was new; the text is why it does not fit the tables. On an error, those of some transactions may be stored.
    pub(in crate::store) fn import(
        &mut self,
        lines: &[Exported],
    ) -> Result<Vec<Result<Stored, String>>, MaintenanceError> {
        schema::append_silently(&self.connection)?;
        let mut outcomes = Vec::with_capacity(lines.len());
        while outcomes.len() < lines.len() {
            self.write_for_a_while(|transaction| {
                let mut seq = seen(transaction)?.seq_given;
                for line in lines.iter().skip(outcomes.len()).take(CLOCK_ROWS) {
                    // Without it, a line that does not fit would leave a part of itself.
                    transaction.execute_batch("SAVEPOINT line")?;
                    let last_seq = seq;
                    outcomes.push(match store(transaction, line, &mut seq) {
                        Ok(stored) => Ok(stored),
                        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                            transaction.execute_batch("ROLLBACK TO line")?;
                            seq = last_seq;
                            Err(error.to_string())
                        }
                        Err(error) => return Err(error),
                    });
                    transaction.execute_batch("RELEASE line")?;
                }
                Ok(if outcomes.len() < lines.len() { Progress::More } else { Progress::Done })
            })?;
        }
        Ok(outcomes)
    }
}

/// Stores a line. `seq` is the last that was given to a message.
fn store(connection: &Connection, line: &Exported, seq: &mut i64) -> rusqlite::Result<Stored> {
    match line {
        Exported::Message(record) => insert(connection, record, (NO_DELIVERY, 0, 0), seq),
        Exported::Delivery(delivery) => store_delivery(connection, delivery, seq),
    }
}

fn store_delivery(connection: &Connection, delivery: &KeptDelivery, seq: &mut i64) -> rusqlite::Result<Stored> {
    let KeptDelivery { source, received_at, fields, body, altered, messages, statuses } = delivery;
    let (id, body, ignored) = (next_delivery(connection)?, body.as_bytes(), messages.is_empty() && statuses.is_empty());
    let messages =
        messages.iter().map(|KeptMessage { record, at, bytes }| insert(connection, record, (id, *at, *bytes), seq));
    let mut stored = messages.collect::<rusqlite::Result<Vec<Stored>>>()?;
    let statuses = statuses.iter().map(|status| {
        (
            status.message_id.as_str(),
            status.status.as_str(),
            status.recipient.as_str(),
            status.ts.as_str(),
            status.error_code,
        )
    });
    stored.extend(insert_statuses(connection, statuses, id, received_at)?);
    let is_there = match ignored {
        true => {
            let sql = include_str!("../../../../sql/sqlite/has_ignored.sql");
            connection.prepare_cached(sql)?.query_row((received_at, body), |row| row.get(0))?
        }
        false => !stored.contains(&Stored::Created),
    };
    if is_there {
        return Ok(Stored::Duplicate);
    }
    let mut insert = connection.prepare_cached(include_str!("../../../../sql/sqlite/insert_delivery.sql"))?;
    insert.execute((id, source, received_at, fields, body, ignored, altered))?;
    Ok(Stored::Created)
}

/// Stores a message that lies at a place in a delivery.
fn insert(
    connection: &Connection,
    record: &Record,
    (delivery, at, bytes): (i64, i64, i64),
    seq: &mut i64,
) -> rusqlite::Result<Stored> {
    let Record { message_id, from, to, ts, text, created_at, details } = record;
    let moment = moment_of(ts);
    let row = (*seq + 1, message_id, from, to, ts, text, created_at, moment.us, moment.ns);
    let mut insert = connection.prepare_cached(include_str!("../../../../sql/sqlite/insert.sql"))?;
    if insert.execute(row)? == 0 {
        return Ok(Stored::Duplicate);
    }
    *seq += 1; // a duplicate takes no number
    if let Some(details) = details {
        let ProviderDetails { source, kind, from_id, profile_name, channel, reply_to } = details;
        let mut insert = connection.prepare_cached(include_str!("../../../../sql/sqlite/insert_details.sql"))?;
        insert.execute((*seq, source, kind, from_id, profile_name, channel, reply_to, delivery, at, bytes))?;
    }
    Ok(Stored::Created)
}
