//! How a read waits for messages: a worker that finds nothing answers the gate alone, and the gate asks again later.
//!
//! So a waiting client holds no worker and no connection to one. Before the gate asks again it has one worker look, once for
//! all that wait, which of them may have a message by now.

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

/// The target of a request in which the gate lists all that wait. No client can ask for it, since HTTP has no such form
/// of target.
pub const WOKEN_TARGET: &str = "woken";

/// The body of such a request: of each that waits its cursor and the target that it asked for.
pub fn waiting_list<'a>(waiting: impl Iterator<Item = (i64, &'a str)>) -> String {
    waiting.map(|(cursor, target)| format!("{cursor} {target}\n")).collect()
}

/// What was listed. None for what no gate has written.
pub(super) fn listed(body: &[u8]) -> Option<Vec<(i64, &str)>> {
    let lines = std::str::from_utf8(body).ok()?.lines();
    lines.map(|line| line.split_once(' ').and_then(|(cursor, target)| Some((cursor.parse().ok()?, target)))).collect()
}

/// The answer, a line for each that was listed: the cursor from which it waits on, or nothing if it is to be asked again.
pub(super) fn woken(cursors: &[Option<i64>]) -> Vec<u8> {
    let body: String = cursors.iter().map(|cursor| cursor.map_or_else(String::new, |n| n.to_string()) + "\n").collect();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What such an answer says; None when the worker could not look.
pub fn woken_of(response: &[u8]) -> Option<Vec<Option<i64>>> {
    let (head, body) = std::str::from_utf8(response).ok()?.split_once("\r\n\r\n")?;
    let lines = Some(body).filter(|_| head.starts_with("HTTP/1.1 200 "))?.lines();
    lines.map(|line| if line.is_empty() { Some(None) } else { line.parse().ok().map(Some) }).collect()
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
        let waiting = vec![(0, "/arrivals"), (7, "/arrivals?after=7&wait=25&q=a%20b"), (9_007_199_254_740_991, "*")];
        assert_eq!(listed(waiting_list(waiting.iter().copied()).as_bytes()), Some(waiting));
        for said in [vec![], vec![None], vec![Some(0), None, Some(9_007_199_254_740_991), None]] {
            assert_eq!(woken_of(&woken(&said)), Some(said));
        }
        assert_eq!(woken_of(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1\r\n\r\n7"), None);
        for other in ["", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 102 Wait 5\r\n\r\n", "HTTP/1.1 102 Wait a b\r\n\r\n"] {
            assert_eq!(wait_of(other.as_bytes()), None, "{other:?}");
        }
    }
}
