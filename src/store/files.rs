//! The files of an open database as other programs see them: whether they still have their names.
//!
//! The service keeps its files open, so it would go on with files that were moved, removed or replaced, and what it
//! stored in them would be gone after a restart. These checks need no lock and no connection: some calls of stat(2),
//! about a microsecond each.

use rusqlite::ffi;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the files of a database are.
#[derive(Clone)]
pub(super) struct Files {
    /// As the settings name it.
    pub(super) database: PathBuf,
    pub(super) log: PathBuf,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl Files {
    /// Of a database that is there.
    pub(super) fn of(database: &Path) -> io::Result<Files> {
        let canonical = database.canonicalize()?; // SQLite follows links as well
        let mut log = canonical.into_os_string();
        log.push("-wal");
        Ok(Files { database: database.to_owned(), log: log.into() })
    }

    /// Fails when the file has been moved, removed or replaced: this connection still has the old one, and nobody would
    /// find again what it stored there.
    pub(super) fn check_database(&self, open: FileId) -> rusqlite::Result<()> {
        if FileId::of(&self.database) == Some(open) {
            return Ok(());
        }
        Err(moved(&self.database, "has been moved, removed or replaced; restart the service"))
    }
}

impl FileId {
    pub(super) fn of(path: &Path) -> Option<FileId> {
        path.metadata().ok().map(|metadata| FileId::from(&metadata))
    }
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// As SQLite would report it.
pub(super) fn moved(path: &Path, what: &str) -> rusqlite::Error {
    let moved = ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED);
    rusqlite::Error::SqliteFailure(moved, Some(format!("{} {what}", path.display())))
}
