//! One service for each database: a lock on the database file, held for as long as the process lives.
//!
//! Two services would each count only their own messages, and a restart of one would migrate the file under the other.
//! Commands, backups and Litestream do not take this lock, so they work beside the service.
//!
//! flock(2) locks the inode, so links and relative paths make no difference. The kernel releases the lock when the
//! process ends, by `kill -9` too. SQLite locks with fcntl(2), which is independent of flock on a local file system.

use crate::store::OpenError;
use std::fs::{File, Metadata, TryLockError};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a start waits for the service before it to end: an orchestrator may start the next one a little early.
/// systemd starts it only after the end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts to get the lock.
const PAUSE: Duration = Duration::from_millis(20);

/// Makes this process the one service of the database, or fails with the process that already is.
pub(super) fn own(path: &Path, file: File) -> Result<(), OpenError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            // Never closed: that would release SQLite's locks on the file (<https://sqlite.org/howtocorrupt.html>, 2.2).
            Ok(()) => {
                let _descriptor = file.into_raw_fd();
                return Ok(());
            }
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&file).map_or_else(
                    || "another process, which cannot be seen from here,".to_owned(),
                    |pid| format!("process {pid}"),
                );
                let what = "Stop that one first, or set DATABASE_URL to another file.";
                return Err(OpenError::new(path, format!("{holder} already serves it. {what}")));
            }
            Err(TryLockError::Error(error)) => {
                return Err(OpenError::new(path, format!("it cannot be locked: {error}. Use a local disk.")));
            }
        }
    }
}

/// Does something while no service has the database, and keeps one from starting meanwhile. None when one has it.
pub(super) fn without_service<T>(file: &File, work: impl FnOnce() -> T) -> std::io::Result<Option<T>> {
    match file.try_lock() {
        Ok(()) => {
            let done = work();
            file.unlock()?;
            Ok(Some(done))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The process that holds the lock, if this process may see it: not from within a container, nor with `ProcSubset=pid`.
fn holder(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| holder_in(line, &metadata))
}

/// A line of /proc/locks, `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`: number, kind, mode, access, process, and the
/// file as device and inode.
fn holder_in(line: &str, metadata: &Metadata) -> Option<u32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (kind, pid, file) = (words.next()?, words.nth(2)?, words.next()?);
    let (device, inode) = file.rsplit_once(':')?;
    let [major, minor] = [rustix::fs::major, rustix::fs::minor].map(|part| part(metadata.dev()));
    // On Btrfs and overlayfs stat(2) gives another device number than the lock has; both are anonymous, major number 0.
    let same_device = device == format!("{major:02x}:{minor:02x}") || (major == 0 && device.starts_with("00:"));
    (kind == "FLOCK" && same_device && inode == metadata.ino().to_string()).then(|| pid.parse().ok())?
}
