//! The keeper: a thread that folds once a second, and deletes what arrived longer ago than is to be kept. Every instance has
//! one; the lock of fold.rs lets one at a time delete.

use crate::store::Retention;
use crate::store::metrics::{EXPIRED, Expired};
use crate::store::postgres::connection::Fault;
use crate::store::postgres::fold::{Folder, STATEMENT_TIME};
use crate::store::postgres::{clock, delete};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two folds when no client reads in the order of arrival.
const PAUSE: Duration = Duration::from_secs(1);

/// Between two looks for erased messages that need not be remembered any more.
const HOUR: Duration = Duration::from_secs(3600);

/// How long it deletes without a pause.
const EXPIRE_TIME: Duration = Duration::from_secs(1);

/// Fails only when the thread cannot be started.
pub(super) fn start(folder: &Arc<Folder>, retention: Retention) -> std::io::Result<()> {
    let folder = Arc::clone(folder);
    let run = move || {
        let mut hour = Instant::now();
        loop {
            std::thread::sleep(PAUSE);
            // When something fails, a second later is soon enough.
            if folder.fold().is_err() {
                continue;
            }
            if Instant::now() >= hour {
                hour += HOUR;
                let sql = include_str!("../../../sql/postgres/forget_erased.sql");
                let _ = folder.query(|connection| {
                    let now = clock::instant(connection, 0)?;
                    connection.query(sql, &[&now], STATEMENT_TIME)
                });
            }
            let _ = expire(&folder, retention);
        }
    };
    std::thread::Builder::new().name("keeper".to_owned()).spawn(run).map(|_| ())
}

/// Deletes for at most [`EXPIRE_TIME`] what arrived longer ago than is to be kept, oldest first.
fn expire(folder: &Folder, Retention { messages, statuses }: Retention) -> Result<(), Fault> {
    let end = Instant::now() + EXPIRE_TIME;
    for (kind, age) in [(Expired::Message, messages), (Expired::Status, statuses), (Expired::Delivery, messages)] {
        let Some(age) = age else { continue };
        let before = folder.query(|connection| clock::instant(connection, -(age.as_secs() as i64)))?; // 100 years at most
        while Instant::now() < end {
            let deleted = expire_some(folder, kind, &before)?;
            (0..deleted).for_each(|_| EXPIRED.count(kind));
            if deleted == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Deletes some, and returns how many.
fn expire_some(folder: &Folder, kind: Expired, before: &str) -> Result<usize, Fault> {
    let (old, delete): (_, fn(&mut _, &[&[u8]]) -> _) = match kind {
        Expired::Message => (include_str!("../../../sql/postgres/old_messages.sql"), delete::messages),
        Expired::Status => (include_str!("../../../sql/postgres/old_statuses.sql"), delete::statuses),
        Expired::Delivery => {
            let sql = include_str!("../../../sql/postgres/expire_ignored.sql");
            let deleted =
                folder.query(|connection| connection.query(sql, &[&before, &delete::SLICE], STATEMENT_TIME))?;
            return Ok(deleted.first().map_or(0, |row| row.get::<_, i64>(0)) as usize);
        }
    };
    let some = || folder.query(|connection| connection.query(old, &[&before, &delete::SLICE], STATEMENT_TIME));
    if some()?.is_empty() {
        return Ok(0); // without the lock
    }
    folder.exclusively(|connection| {
        let rows = connection.query(old, &[&before, &delete::SLICE], STATEMENT_TIME)?;
        let keys: Vec<&[u8]> = rows.iter().map(|row| row.get(0)).collect();
        delete(connection, &keys)?;
        Ok(keys.len())
    })
}
