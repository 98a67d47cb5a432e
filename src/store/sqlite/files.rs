//! The files of an open database as other programs see them: whether they still have their names, and may be written.
//!
//! The service keeps its files open, so it would continue with files that were moved, removed or replaced, and what it
//! stored in them would be gone after a restart. These checks need no lock and no connection: some calls of stat(2) and
//! access(2), about a microsecond each.

use rusqlite::ffi;
use rustix::fs::{Access, access};
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
    directory: PathBuf,
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
        let directory = canonical.parent().unwrap_or(Path::new("/")).to_owned();
        let mut log = canonical.into_os_string();
        log.push("-wal");
        Ok(Files { database: database.to_owned(), log: log.into(), directory })
    }

    /// Fails when the file has been moved, removed or replaced: this connection still has the old one, and no later reader would
    /// find again what it stored there.
    pub(super) fn check_database(&self, open: FileId) -> rusqlite::Result<()> {
        if FileId::of(&self.database) == Some(open) {
            return Ok(());
        }
        Err(moved(&self.database, "has been moved, removed or replaced; restart the service"))
    }

    /// Fails when this user may not write the files, or may not make one beside them, as SQLite does at the next start.
    /// What is open already can still be written after a chmod, but not on a file system that has become read-only.
    pub(super) fn check_writable(&self) -> Result<(), String> {
        for path in [&self.database, &self.log, &self.directory] {
            access(path, Access::WRITE_OK).map_err(|error| {
                let path = path.display();
                format!(
                    "{path} cannot be written: {}. Make it writable for the user of the service.",
                    io::Error::from(error)
                )
            })?;
        }
        Ok(())
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
