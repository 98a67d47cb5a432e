//! The client connections that are open, and which of them can be closed without harm.
//!
//! 1. A connection is in the table from before its thread starts until its thread has nothing more to do with it.
//! 2. It is idle while its thread waits for the first byte of a request, and only then may others shut it down.
//! 3. Whether it is idle changes by compare-and-swap: either its thread gets the request, or it is closed as idle.

use crate::metrics::Metrics;
use crate::mutex::UNPOISONED;
use crate::server::clock_us;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long the thread of a connection closed to make room may take to end. It has only to wake up, which took longer
/// than 100 ms on two cores busy with compilers.
const ROOM_TIME: Duration = Duration::from_secs(1);

/// One client connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// When it became idle, by [`clock_us`]; or one of the two below.
    idle_since_us: AtomicU64,
}

/// It has a request.
const BUSY: u64 = u64::MAX;
/// It was idle and has been shut down.
const CLOSED: u64 = u64::MAX - 1;

impl Connection {
    /// A new connection is idle: it has not sent anything yet.
    pub(super) fn new(stream: TcpStream, peer: SocketAddr) -> Connection {
        Connection { stream, peer, idle_since_us: AtomicU64::new(clock_us()) }
    }

    /// The thread begins to wait for a request.
    pub(super) fn idle(&self) {
        self.idle_since_us.store(clock_us(), SeqCst);
    }

    /// The thread has the first bytes of a request. `false`: the connection has been closed as idle just before.
    pub(super) fn busy(&self) -> bool {
        let since = self.idle_since_us.load(SeqCst);
        since != CLOSED && self.idle_since_us.compare_exchange(since, BUSY, SeqCst, SeqCst).is_ok()
    }

    /// The client has sent something that the thread has not read yet.
    pub(super) fn input_waits(&self) -> bool {
        rustix::io::ioctl_fionread(&self.stream).is_ok_and(|bytes| bytes > 0)
    }

    /// Closes it if it is idle, and no request has come that its thread has not seen yet.
    fn close_if_idle(&self) -> bool {
        let since = self.idle_since_us.load(SeqCst);
        let idle = since < CLOSED
            && !self.input_waits()
            && self.idle_since_us.compare_exchange(since, CLOSED, SeqCst, SeqCst).is_ok();
        if idle {
            let _ = self.stream.shutdown(Shutdown::Both); // fails only if the client has closed it already
        }
        idle
    }
}

/// The table of open connections.
#[derive(Default)]
pub(super) struct Connections {
    /// Held for a pass over at most `connections_max` entries.
    table: Mutex<Vec<Arc<Connection>>>,
    ended: Condvar,
}

impl Connections {
    /// Takes a connection in if fewer than `max` are open. At `max` the longest idle one is closed to make room.
    pub(super) fn admit(&self, connection: &Arc<Connection>, max: usize, metrics: &Metrics) -> bool {
        let mut table = self.table.lock().expect(UNPOISONED);
        if table.len() >= max && close_longest_idle(&table) {
            metrics.connections_evicted.fetch_add(1, Relaxed);
            table = self.ended.wait_timeout_while(table, ROOM_TIME, |table| table.len() >= max).expect(UNPOISONED).0;
        }
        if table.len() >= max {
            return false;
        }
        table.push(Arc::clone(connection));
        metrics.connections_open.fetch_add(1, Relaxed);
        true
    }

    /// The connection's thread is done with it.
    pub(super) fn remove(&self, connection: &Arc<Connection>, metrics: &Metrics) {
        let mut table = self.table.lock().expect(UNPOISONED);
        if let Some(at) = table.iter().position(|open| Arc::ptr_eq(open, connection)) {
            table.swap_remove(at);
            metrics.connections_open.fetch_sub(1, Relaxed);
        }
        self.ended.notify_all();
    }

    /// Closes the longest idle connection, if there is one, so that its descriptor becomes free.
    pub(super) fn make_room(&self, metrics: &Metrics) {
        if close_longest_idle(&self.table.lock().expect(UNPOISONED)) {
            metrics.connections_evicted.fetch_add(1, Relaxed);
        }
    }

    /// Closes all that are idle, and waits until none is open or the deadline has passed. Returns how many are left.
    pub(super) fn drain(&self, deadline: Instant) -> usize {
        let mut table = self.table.lock().expect(UNPOISONED);
        for connection in table.iter() {
            connection.close_if_idle();
        }
        while !table.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            table = self.ended.wait_timeout(table, left).expect(UNPOISONED).0;
        }
        table.len()
    }
}

/// Tries the idle ones from the longest idle on, since any of them may get a request at this moment.
fn close_longest_idle(table: &[Arc<Connection>]) -> bool {
    let since = |connection: &&Arc<Connection>| connection.idle_since_us.load(SeqCst);
    let mut idle: Vec<_> = table.iter().map(|connection| (since(&connection), connection)).collect();
    idle.retain(|&(since, _)| since < CLOSED);
    idle.sort_unstable_by_key(|&(since, _)| since);
    idle.into_iter().any(|(_, connection)| connection.close_if_idle())
}
