//! The cursor file: the seq up to which all is forwarded, as a decimal number on a line.
//!
//! A new cursor is written to a file beside it, synced and renamed, so at any time the file holds one whole cursor.
//! A second `forward` with the same file is refused. The lock is on a third file, since each rename makes another inode
//! the cursor file.

use crate::command::{Failure, beside, sync_directory};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The file, which is this process's.
pub(super) struct Cursor {
    path: PathBuf,
    /// flock(2) holds for as long as it is open; the kernel releases it when the process ends, by `kill -9` too.
    _lock: File,
}

impl Cursor {
    /// Takes the file, which need not be there.
    pub(super) fn lock(path: &Path) -> Result<Cursor, Failure> {
        let named = |error: Error| Failure::failed(format!("{}: {error}", path.display()));
        let path = std::path::absolute(path).map_err(named)?;
        let lock_path = beside(&path, ".lock");
        let fail = |error: Error| {
            Failure::failed(format!(
                "cannot write {}: {error}. Is its directory there, and yours?",
                lock_path.display()
            ))
        };
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path).map_err(fail)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Failure::failed(format!(
                "another forward is using {}. Stop that one, or give this one its own --cursor.",
                path.display()
            )),
            TryLockError::Error(error) => fail(error),
        })?;
        Ok(Cursor { path, _lock: lock })
    }

    /// None: there is no file.
    pub(super) fn read(&self) -> Result<Option<i64>, Failure> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::failed(format!("cannot read {}: {error}", self.name()))),
        };
        match text.trim().parse() {
            Ok(seq) if seq >= 0 => Ok(Some(seq)),
            _ => Err(Failure::failed(format!(
                "{name} holds no cursor. Write into it after which seq to continue, or remove it to begin with what \
                 arrives from now on.",
                name = self.name()
            ))),
        }
    }

    /// Brings it to the disk.
    pub(super) fn write(&self, seq: i64) -> Result<(), Failure> {
        let new = beside(&self.path, ".new");
        let write = || {
            let mut file = File::create(&new)?;
            writeln!(file, "{seq}")?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            sync_directory(&self.path)
        };
        write().map_err(|error| {
            Failure::failed(format!(
                "cannot write {}: {error}. What was posted last will be posted again.",
                self.name()
            ))
        })
    }

    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        beside(&self.path, suffix)
    }

    pub(super) fn name(&self) -> std::path::Display<'_> {
        self.path.display()
    }
}
