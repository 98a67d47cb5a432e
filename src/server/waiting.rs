//! How a read waits for messages: a worker that finds nothing answers the gate alone, and the gate asks again later.
//!
//! So a waiting client holds no worker and no connection to one.

use crate::api::Wait;
use rustix::event::{EventfdFlags, eventfd};
use std::io::Result;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Nothing that a client gets begins like this.
const PREFIX: &[u8] = b"HTTP/1.1 102 Wait ";

/// The response that only the gate understands.
pub(super) fn response(Wait { time, cursor }: Wait) -> Vec<u8> {
    let ms = time.as_millis();
    [PREFIX, format!("{ms} {cursor}\r\nContent-Length: 0\r\n\r\n").as_bytes()].concat()
}

/// What the worker wants the gate to do, if a response is not for the client.
pub fn wait_of(response: &[u8]) -> Option<Wait> {
    let line = response.strip_prefix(PREFIX)?.split(|&byte| byte == b'\r').next()?;
    let (ms, cursor) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some(Wait { time: Duration::from_millis(ms.parse().ok()?), cursor: cursor.parse().ok()? })
}

/// How many groups with new messages were committed, and a descriptor that reports the next one.
pub struct Commits {
    count: AtomicU64,
    watched: AtomicBool,
    descriptor: OwnedFd,
}

impl Commits {
    /// Fails when there is no descriptor left.
    pub fn new() -> Result<Commits> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Commits { count: AtomicU64::new(0), watched: AtomicBool::new(false), descriptor })
    }

    /// What was read later holds every group that is counted here.
    pub fn count(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Has the descriptor report one commit. One that is counted before this call need not be reported, so the caller
    /// compares the count after it.
    pub fn watch(&self) {
        self.watched.store(true, SeqCst);
    }

    /// An eventfd, to be watched for edges.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Counts a group that is on disk.
    pub(super) fn committed(&self) {
        self.count.fetch_add(1, SeqCst);
        if self.watched.swap(false, SeqCst) {
            // Fails only when the counter is full, and then it has been reported.
            let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_understands_what_the_worker_says() {
        for (seconds, cursor) in [(0, 0), (30, 9_007_199_254_740_991)] {
            let wait = Wait { time: Duration::from_secs(seconds), cursor };
            assert_eq!(wait_of(&response(wait)), Some(wait));
        }
        for other in ["", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 102 Wait 5\r\n\r\n", "HTTP/1.1 102 Wait a b\r\n\r\n"] {
            assert_eq!(wait_of(other.as_bytes()), None, "{other:?}");
        }
    }
}
