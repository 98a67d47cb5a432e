//! Deleting messages and statuses, within a transaction of fold.rs: with them go their numbers, their part of the counts,
//! and the deliveries of which nothing is left.

use crate::store::postgres::connection::{Connection, Fault};
use crate::store::postgres::fold::STATEMENT_TIME;

/// Most messages in one transaction: instances that fold wait for it.
pub(super) const SLICE: i64 = 500;

/// Deletes the messages with these keys.
pub(super) fn messages(connection: &mut Connection, keys: &[&[u8]]) -> Result<(), Fault> {
    let sql = include_str!("../../../sql/postgres/delete_messages.sql");
    let rows = connection.query(sql, &[&keys], STATEMENT_TIME)?;
    let deliveries: Vec<&[u8]> = rows.iter().map(|row| row.get(0)).collect();
    connection.query(include_str!("../../../sql/postgres/delete_empty_senders.sql"), &[], STATEMENT_TIME)?;
    empty_deliveries(connection, &deliveries)
}

/// Deletes the statuses with these keys.
pub(super) fn statuses(connection: &mut Connection, keys: &[&[u8]]) -> Result<(), Fault> {
    let sql = include_str!("../../../sql/postgres/delete_statuses.sql");
    let rows = connection.query(sql, &[&keys], STATEMENT_TIME)?;
    let deliveries: Vec<&[u8]> = rows.iter().map(|row| row.get(0)).collect();
    empty_deliveries(connection, &deliveries)
}

fn empty_deliveries(connection: &mut Connection, keys: &[&[u8]]) -> Result<(), Fault> {
    if keys.is_empty() {
        return Ok(());
    }
    let sql = include_str!("../../../sql/postgres/delete_empty_deliveries.sql");
    connection.query(sql, &[&keys], STATEMENT_TIME).map(|_| ())
}
