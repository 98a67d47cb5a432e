//! The checkpointer: a thread that copies the write-ahead log into the database beside the writer.
//!
//! Within a COMMIT, as SQLite does it by default, the copying holds up every delivery for as long as it takes, 7 ms every
//! 350 messages. Here a second connection copies while the writer continues to append. Only the rest that has come
//! meanwhile is copied with the writer held, since SQLite begins the log again only when all of it is copied.
//!
//! The connection is opened for each time: as long as it is open, a log that was removed cannot be made again (wal.rs).

use crate::mutex::UNPOISONED;
use crate::store::sqlite::schema;
use crate::store::sqlite::turn::{Side, Turns};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Pages of 4 KiB in the log from which on it is copied: 6 MiB. More make a copy rarer and longer, and meanwhile it takes
/// the disk from the writer's syncs.
const LOG_PAGES: i32 = 1500;

/// With so many the COMMIT copies them itself: the checkpointer cannot follow. 128 MiB.
const LOG_PAGES_MAX: i32 = 32_000;

/// So many pages may be left for when the writer is held: copying them takes less than 1 ms, and a sync.
const REST_PAGES: i64 = 50;

/// Most passes beside the writer. Each copies what came during the one before.
const PASSES_MAX: usize = 2;

/// Before the next try when another program that reads has kept the log from being copied whole.
const PAUSE: Duration = Duration::from_millis(200);

/// Has the log of the connection copied from now on. `copying` is held meanwhile.
///
/// Fails only when the thread cannot be started.
pub(super) fn start(turns: &Arc<Turns>, path: &Path, copying: &Arc<Mutex<()>>) -> std::io::Result<()> {
    let (wake, woken) = sync_channel(1);
    let hook = move |wal: &mut rusqlite::hooks::Wal, pages: i32| {
        if pages >= LOG_PAGES {
            let _ = wake.try_send(()); // full: it has been woken already
        }
        if pages >= LOG_PAGES_MAX {
            let _ = wal.checkpoint(); // an error here would make SQLite report a COMMIT that was made as failed
        }
        Ok(())
    };
    turns.take(Side::Read).connection.wal_hook(Some(hook)).map_err(std::io::Error::other)?;
    let (turns, path, copying) = (Arc::clone(turns), path.to_owned(), Arc::clone(copying));
    let thread = std::thread::Builder::new().name("checkpointer".to_owned());
    thread.spawn(move || copy_when_woken(&turns, path, &copying, &woken)).map(|_| ())
}

fn copy_when_woken(turns: &Turns, path: PathBuf, copying: &Mutex<()>, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        let copying = copying.lock().expect(UNPOISONED);
        // When it fails, the log only grows: the next COMMIT wakes this thread again, or copies itself.
        let whole = copy(turns, &path).unwrap_or(false);
        drop(copying);
        if !whole {
            std::thread::sleep(PAUSE);
        }
    }
}

/// Copies the log, and says whether all of it is copied.
fn copy(turns: &Turns, path: &Path) -> rusqlite::Result<bool> {
    let connection = schema::open_beside(path)?;
    // It has the log open before the log is known to be on disk, so it sees every later error of a sync itself.
    left(&connection)?;
    {
        let database = &mut *turns.take(Side::Read);
        database.files.check_database(database.file)?; // this connection was opened by name
        database.wal.prove(&mut database.connection)?;
    }
    for _ in 0..PASSES_MAX {
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        if left(&connection)? <= REST_PAGES {
            break;
        }
    }
    let database = &mut *turns.take(Side::Ingest);
    database.wal.prove(&mut database.connection)?;
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(left(&connection)? == 0)
}

/// Pages of the log that are not copied yet.
fn left(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}
