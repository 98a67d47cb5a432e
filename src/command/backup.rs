//! `backup`: a consistent, checked copy of the database, which has its name only when it is whole.

use crate::command::progress::Progress;
use crate::command::{Failure, beside, database, sync_directory, tell};
use crate::store::Maintenance;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Error;
use std::path::{Path, PathBuf};

pub(super) fn backup(file: &Path, replace: bool) -> Result<(), Failure> {
    let location = database()?;
    let Some(path) = location.file() else {
        return Err(Failure::failed(format!(
            "{location} is a database of PostgreSQL, which its own programs copy. Run pg_dump --format=custom."
        )));
    };
    // SQLite would take a name like `file:copy.db` for a URI, and write to another file than the one that is checked.
    let absolute =
        std::path::absolute(file).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))?;
    let file = &*absolute;
    let mut database = Maintenance::open(&location)?;
    may_write(path, file, replace)?;
    let partial = Partial::create(file, path)?;
    let mut progress = Progress::new("pages");
    let faults = database.backup(&partial.path, |done, all| progress.show(done, Some(done as f64 / all.max(1) as f64)));
    drop(progress);
    let faults = faults.map_err(|error| {
        Failure::failed(format!("the copy could not be written: {error}. Is there room for it, on {}?", file.display()))
    })?;
    if !faults.is_empty() {
        let faults = faults.join("\n");
        return Err(Failure::failed(format!(
            "the copy does not pass PRAGMA integrity_check, and was not kept. See `webhook-inbox check`.\n{faults}"
        )));
    }
    may_write(path, file, replace)?; // it took a while
    let replaced = file.exists();
    let bytes = partial.finish(file)?;
    let replaced = if replaced { ", replacing the one that was there" } else { "" };
    tell(&format!("{} written{replaced}: {bytes} bytes, integrity ok", file.display()));
    Ok(())
}

/// Whether a file of that name may be made.
fn may_write(database: &Path, file: &Path, replace: bool) -> Result<(), Failure> {
    let name = file.display();
    let same = |other: &Path| matches!((file.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(database) || same(&beside(database, "-wal")) || same(&beside(database, "-shm")) {
        return Err(Failure::failed(format!("{name} is the database itself, or belongs to it. Give another name.")));
    }
    if file.is_dir() {
        return Err(Failure::failed(format!("{name} is a directory. Name a file in it, such as {name}/backup.db.")));
    }
    // SQLite would take it for that of the copy, and play it back into it.
    for left in ["-wal", "-journal"].map(|suffix| beside(file, suffix)) {
        if left.exists() {
            let left = left.display();
            return Err(Failure::failed(format!(
                "{left} is there: a program has {name} open, or has not ended in order. Give another name."
            )));
        }
    }
    if !replace && file.symlink_metadata().is_ok() {
        return Err(Failure::failed(format!("{name} is there already. Give another name, or --replace.")));
    }
    Ok(())
}

/// The file until it is whole. Always of the same name, so that one that was cut off is written over by the next.
struct Partial {
    path: PathBuf,
    /// Locked for as long as it is written. It also must not be closed earlier: that would take away the locks that
    /// SQLite has on the file (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
    lock: File,
    finished: bool,
}

impl Partial {
    fn create(file: &Path, database: &Path) -> Result<Partial, Failure> {
        let path = beside(file, ".partial");
        let fail = |error: Error| {
            Failure::failed(format!("cannot write {}: {error}. Is its directory there, and yours?", path.display()))
        };
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(fail)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Failure::failed(format!("another backup is writing {}", path.display())),
            TryLockError::Error(error) => fail(error),
        })?;
        let partial = Partial { path, lock, finished: false };
        let fail = |error: Error| Failure::failed(format!("cannot write {}: {error}", partial.path.display()));
        // Who may not read the database may not read the copy.
        let permissions = database.metadata().map_err(fail)?.permissions();
        partial.lock.set_permissions(permissions).and_then(|()| partial.lock.set_len(0)).map_err(fail)?;
        partial.remove_companions();
        Ok(partial)
    }

    /// Brings it to the disk and gives it its name. Returns its size.
    fn finish(mut self, file: &Path) -> Result<u64, Failure> {
        let finish = || {
            self.lock.sync_all()?;
            std::fs::rename(&self.path, file)?;
            sync_directory(file)?;
            Ok(self.lock.metadata()?.len())
        };
        let bytes = finish()
            .map_err(|error: Error| Failure::failed(format!("cannot bring {} to the disk: {error}", file.display())))?;
        self.finished = true;
        Ok(bytes)
    }

    /// What SQLite puts beside the file while it is open.
    fn remove_companions(&self) {
        for suffix in ["-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(beside(&self.path, suffix)); // it is rarely there
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.path); // the next backup to this name writes over it
            self.remove_companions();
        }
    }
}
