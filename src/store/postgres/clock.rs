//! The clock of the server, which decides what is old: an instance whose clock is wrong would delete the messages of others.

use crate::store::postgres::connection::{Connection, Fault};
use crate::store::postgres::fold::STATEMENT_TIME;

/// An instant so many seconds from now, as messages have it.
pub(super) fn instant(connection: &mut Connection, seconds: i64) -> Result<String, Fault> {
    let rows = connection.query(include_str!("../../../sql/postgres/instant.sql"), &[&seconds], STATEMENT_TIME)?;
    Ok(rows.first().map_or(String::new(), |row| row.get(0)))
}
