//! The write-ahead log, which the service syncs itself: after each COMMIT, before any outcome is reported.
//!
//! With `synchronous=FULL` SQLite does so within the COMMIT: it writes the frames, syncs them, and only then says in the
//! wal-index that they count. A service that is killed while it syncs, where most of the time goes, leaves whole frames
//! that do not count, and as long as another program keeps the database open, SQLite writes over them. That loses nothing,
//! since no sender got a 200. But Litestream reads the log itself: it has copied those frames and continues behind them, and its
//! replica is malformed from then on, which shows when it is restored. Killed under load and started again, 10 of 12
//! replicas were (tests/deploy/litestream.py).
//!
//! With `synchronous=NORMAL` the frames count within microseconds of being written, and the sync follows here, under the
//! same turn: unless a sync fails, no read of this service sees what is not on disk, and it costs what it cost before.
//! After the turn, beside the next COMMIT, it brought 2 to 4 % at 64 and 256 connections: not worth reads of what a power
//! cut may take back. Of checkpoints, and of the log's header, SQLite takes care in both modes
//! (<https://sqlite.org/pragma.html#pragma_synchronous>).
//!
//! After a sync that failed, the frames count although the disk may not have them, which FULL would not allow. It then
//! rests on the kernel that it reports the error to each descriptor of the file (Linux 4.13), since SQLite syncs before a
//! checkpoint and may see it first, and that it still has in memory what it could not write, to be written again (ext4
//! and XFS do, Btrfs does not). Other programs that checkpoint or append meanwhile know nothing of it.

use crate::store::sqlite::files::{FileId, moved};
use rusqlite::{Connection, TransactionBehavior, ffi};
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// The write-ahead log of an open database. SQLite keeps the same file for as long as a connection is open, but another
/// program may remove the file's name.
pub(super) struct Wal {
    file: File,
    /// When a sync last succeeded, so when it was last seen that writing works.
    synced_at: Instant,
    /// A sync has failed, here or, for all we know, in the process before this one. The kernel then takes what it could
    /// not write for written, and the next sync would succeed without it
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    unproven: bool,
}

/// What has the name of the log.
pub(super) enum Found {
    /// The log that SQLite has open.
    Same,
    /// Nothing, or a log without content.
    Nothing,
    /// A log that another program has written.
    Another,
}

impl Wal {
    /// The log of a database that SQLite has open, and has read from.
    pub(super) fn open(path: &Path) -> io::Result<Wal> {
        // SQLite locks the database and the wal-index, not this file, so closing it releases nothing of its.
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Wal { file, synced_at: Instant::now(), unproven: true })
    }

    pub(super) fn synced_at(&self) -> Instant {
        self.synced_at
    }

    /// What has the log's name.
    pub(super) fn look_at(&self, path: &Path) -> rusqlite::Result<Found> {
        let fail = |error| failure("be found", error);
        let found = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            found => found.map_err(fail)?,
        };
        if FileId::from(&found) == FileId::from(&self.file.metadata().map_err(fail)?) {
            return Ok(Found::Same);
        }
        // A program that opens the database to read makes an empty log where there is none.
        Ok(if found.len() == 0 { Found::Nothing } else { Found::Another })
    }

    /// Makes a new log when the name of this one has been removed. SQLite still has the file, so all of it is copied into
    /// the database first, and nothing is lost from then on, whatever the rest does. A program that has the database open
    /// would continue with the old log; then SQLite does not change the mode, and this fails until that program has ended.
    pub(super) fn renew(&mut self, connection: &mut Connection, path: &Path) -> rusqlite::Result<()> {
        let renewed = self.prove(connection).and_then(|()| {
            let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            if busy {
                return Err(failure("be copied", "another program is reading the database"));
            }
            // Leaving the mode takes an exclusive lock, closes the log and removes what has its name.
            connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
            connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
            connection.pragma_query_value(None, "schema_version", |_| Ok(()))?; // the first look makes the file
            *self = Wal::open(path).map_err(|error| failure("be opened", error))?;
            self.prove(connection)
        });
        renewed.map_err(|error| {
            let what = "has been removed, and it cannot be made again. Stop other programs that have the database open";
            moved(path, &format!("{what} ({error})"))
        })
    }

    /// Writes the header of the log again, as it is, and syncs: a write that leaves no trace, needs no room, and gives
    /// Litestream nothing to copy. False when there is no header yet.
    pub(super) fn write_header_again(&mut self, connection: &mut Connection) -> rusqlite::Result<bool> {
        let mut header = [0; 32];
        {
            let _locked = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let header_length = self.file.read_at(&mut header, 0).map_err(|error| failure("be read", error))?;
            if header_length < header.len() {
                return Ok(false);
            }
            self.file.write_all_at(&header, 0).map_err(|error| failure("be written", error))?;
        }
        self.sync()?;
        Ok(true)
    }

    /// Before anything writes behind what is in the log, or copies it into the database: after a sync that failed, every
    /// byte of the log is written once more, under the lock for writing, and then synced. Usually there is nothing to do.
    pub(super) fn prove(&mut self, connection: &mut Connection) -> rusqlite::Result<()> {
        if !self.unproven {
            return Ok(());
        }
        let _locked = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        write_again(&self.file).map_err(|error| failure("be written", error))?;
        self.sync()
    }

    /// After the COMMIT: what was written so far is on disk, by whomever; so for a group of duplicates too, which a
    /// service that was killed may have left in the log without a sync. When this fails the messages are in the database
    /// nevertheless, and perhaps lost with a power cut, so no sender may get a 200 for them; once they are sent
    /// again they are duplicates, and by then on disk.
    pub(super) fn sync(&mut self) -> rusqlite::Result<()> {
        let synced = self.file.sync_data();
        self.unproven = synced.is_err();
        synced.map_err(|error| failure("be synced", error))?;
        self.synced_at = Instant::now();
        Ok(())
    }
}

/// Writes what is in the file into it, in the same place.
fn write_again(file: &File) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut offset = 0;
    loop {
        let length = file.read_at(&mut buffer, offset)?;
        if length == 0 {
            return Ok(());
        }
        file.write_all_at(&buffer[..length], offset)?;
        offset += length as u64;
    }
}

/// As SQLite would report it.
fn failure(step: &str, error: impl Display) -> rusqlite::Error {
    let what = format!("the write-ahead log could not {step}: {error}");
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), Some(what))
}
