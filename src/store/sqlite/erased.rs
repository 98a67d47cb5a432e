//! The messages that were erased, for as long as their provider may send them again: Meta does for seven days.
//!
//! Their identifiers hold telephone numbers. So only a hash of each is kept, under a key that is random in each database.

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::Connection;
use sha2::Sha256;
use std::time::Duration;

/// How long an erased message does not come back.
const REMEMBERED: Duration = Duration::from_secs(8 * 86_400);

/// Remembers that a message was erased.
pub(super) fn remember(connection: &Connection, message_id: &str) -> rusqlite::Result<()> {
    let until = format!("{:.3}", jiff::Timestamp::now() + REMEMBERED);
    let mut insert = connection.prepare_cached(include_str!("../../../sql/sqlite/remember_erased.sql"))?;
    insert.execute((hash(connection, message_id)?, until)).map(|_| ())
}

/// Whether a message was erased not long ago.
pub(super) fn is_erased(connection: &Connection, message_id: &str, now: &str) -> rusqlite::Result<bool> {
    let mut any = connection.prepare_cached(include_str!("../../../sql/sqlite/any_erased.sql"))?;
    if !any.query_row([], |row| row.get(0))? {
        return Ok(false);
    }
    let mut erased = connection.prepare_cached(include_str!("../../../sql/sqlite/is_erased.sql"))?;
    erased.query_row((hash(connection, message_id)?, now), |row| row.get(0))
}

fn hash(connection: &Connection, message_id: &str) -> rusqlite::Result<[u8; 32]> {
    let mut key = connection.prepare_cached(include_str!("../../../sql/sqlite/erasure_key.sql"))?;
    let key: Vec<u8> = key.query_row([], |row| row.get(0))?;
    let mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    Ok(mac.chain_update(message_id).finalize().into_bytes().into())
}
