//! The gate: the only part that faces the network, in front of tiny_http.
//!
//! It accepts connections, gives each a thread, reads one whole request at a time within [`Limits`], and only then
//! forwards it, written anew and with one unambiguous length, to tiny_http over a private Unix socket. It promises that
//! nothing slow, endless, malformed or ambiguous gets past it, that whoever sends such a thing gets an answer that can
//! be read, and that no client keeps others from being served. What a request means it leaves to what stands behind.
//!
//! In the order in which a request meets them: this file accepts, [`connections`] keeps the table of open connections,
//! [`serve`] is the loop of a connection's thread, [`head`] and [`body`] parse, [`proxies`] says who the client is,
//! [`upstream`] forwards, [`refusal`] answers what is not forwarded, and [`linger`] closes so that the answer can be
//! read.
//!
//! A thread for each connection, since an event loop gains too little for what it costs to read: a prototype on epoll,
//! with nothing but the usual request, took 0.6 of the gate's CPU, but 0.97 to 1.05 of the rate at 64 connections and
//! 1.07 at 256 (`cargo bench --bench builds`). What it saves in the gate, the threads behind it spend on being woken.

mod body;
mod connections;
mod head;
mod linger;
mod proxies;
mod refusal;
mod serve;
mod upstream;

pub use proxies::TrustedProxies;
pub use upstream::{Upstream, bind};

use crate::log::{Level, Log};
use crate::metrics::{Metrics, Rejection};
use crate::server::clock_us;
use connections::{Connection, Connections};
use linger::Lingerer;
use rustix::event::{PollFd, PollFlags, poll};
use serve::End;
use std::io::{ErrorKind, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The stack of a connection's thread. Its buffers are on the heap; the deepest path, a refusal's log line, needs less
/// than 16 KiB in a release build.
const STACK_BYTES: usize = 128 << 10;

/// How long accepting waits after an error. Out of descriptors, each try would fail at once and burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Errors of accepting within this time of one that was logged are the same burst.
const ACCEPT_BURST: Duration = Duration::from_secs(10);

/// The bounds of what clients may use. Times are totals: one byte a second does not extend them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once, each one a thread and a descriptor. Default 512: eight times the workers, so that it is
    /// the disk that bounds what is taken in.
    pub connections_max: usize,
    /// Bytes of a request's line and fields, the empty line included. Default 16 KiB, twice what most servers take.
    pub head_bytes_max: usize,
    /// Header fields of a request. Default 64; senders of webhooks, with proxies before us, have up to 30.
    pub fields_max: usize,
    /// Bytes of a request's body, after its transfer coding is undone. Default 4 MiB.
    pub body_bytes_max: usize,
    /// Bytes of request bodies held over all connections, counted as they come, in steps of at most 64 KiB. Default 64
    /// MiB: 16 of the largest, or one of 128 KiB for every connection.
    pub held_bytes_max: usize,
    /// From a request's first byte to the end of its head. Default 5 s.
    pub head_time: Duration,
    /// From the end of the head to the end of the body. Default 10 s: 4 MiB at 3.4 Mbit/s.
    pub body_time: Duration,
    /// From the accept, or the last answer, to the next request's first byte. Default 30 s.
    pub idle_time: Duration,
    /// For the client to take its answer. Default 10 s.
    pub write_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 512,
            head_bytes_max: 16 << 10,
            fields_max: 64,
            body_bytes_max: 4 << 20,
            held_bytes_max: 64 << 20,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(30),
            write_time: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// Most descriptors that the clients' connections take, those that are closing included.
    pub fn descriptors_max(&self) -> usize {
        self.connections_max + linger::DESCRIPTORS_MAX
    }
}

/// The running gate.
pub struct Gate {
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    /// Wakes the accepting thread when it is closed.
    awake: UnixStream,
}

/// What the threads of the gate share.
struct Shared {
    limits: Limits,
    proxies: TrustedProxies,
    metrics: Arc<Metrics>,
    log: Log,
    upstream: Upstream,
    connections: Connections,
    lingerer: Lingerer,
    draining: AtomicBool,
}

impl Gate {
    /// Opens the connections to tiny_http, which must be running on the other end, and begins to accept.
    ///
    /// Fails when one of them cannot be opened and proven, or a thread cannot be started.
    pub fn start(
        listener: TcpListener,
        upstream: Upstream,
        limits: Limits,
        proxies: TrustedProxies,
        metrics: Arc<Metrics>,
        log: Log,
    ) -> Result<Gate> {
        upstream.open_all()?;
        metrics.connections_max.store(limits.connections_max as u64, Relaxed);
        listener.set_nonblocking(true)?;
        let (awake, asleep) = UnixStream::pair()?;
        let shared = Arc::new(Shared {
            limits,
            proxies,
            metrics,
            log,
            upstream,
            connections: Connections::default(),
            lingerer: Lingerer::start()?,
            draining: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("accept".to_owned());
        let accepting = thread.spawn(move || accept_all(&accepting, &listener, &asleep))?;
        Ok(Gate { shared, accepting, awake })
    }

    /// What sees whether the workers answer, from then on and in any thread.
    pub fn prober(&self) -> impl Fn() -> Result<()> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.upstream.probe()
    }

    /// Stops accepting, closes what is idle, lets the requests in flight be answered with `Connection: close`, and waits
    /// until every connection is gone, or the deadline has passed. Returns how many were left then.
    pub fn drain(self, deadline: Instant) -> usize {
        self.shared.draining.store(true, SeqCst);
        drop(self.awake);
        // It has one connection to admit at most, and a panic in it would have aborted the process.
        let _ = self.accepting.join();
        let left = self.shared.connections.drain(deadline);
        self.shared.lingerer.drain(deadline);
        left
    }
}

impl Shared {
    fn draining(&self) -> bool {
        self.draining.load(SeqCst)
    }
}

/// The accepting thread: nothing but draining ends it. The listener is closed when it returns, but
/// not shut down: if a service manager holds the same socket, what it queues from then on is for the successor.
fn accept_all(shared: &Arc<Shared>, listener: &TcpListener, asleep: &UnixStream) {
    let mut logged: Option<Instant> = None;
    while !shared.draining() {
        match listener.accept() {
            Ok((stream, peer)) => admit(shared, stream, peer),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut events = [PollFd::new(listener, PollFlags::IN), PollFd::new(asleep, PollFlags::IN)];
                // Whatever poll failed with, the next accept tells what there is.
                let _ = poll(&mut events, None);
            }
            Err(error) => {
                if logged.is_none_or(|logged| logged.elapsed() > ACCEPT_BURST) {
                    let details = serde_json::json!({ "error": error.to_string() });
                    shared.log.event(Level::Error, "connections cannot be accepted; trying again", details);
                    logged = Some(Instant::now());
                }
                shared.connections.make_room(&shared.metrics);
                std::thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

/// Gives the connection a thread, or refuses it.
fn admit(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    let metrics = &shared.metrics;
    metrics.connections_accepted.fetch_add(1, Relaxed);
    let connection = Arc::new(Connection::new(stream, peer));
    if !shared.connections.admit(&connection, shared.limits.connections_max, metrics) {
        return turn_away(shared, connection, Rejection::ConnectionsMax);
    }
    let (shared_too, connection_too) = (Arc::clone(shared), Arc::clone(&connection));
    let thread = std::thread::Builder::new().name("connection".to_owned()).stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        let end = serve::serve(&shared_too, &connection_too);
        shared_too.connections.remove(&connection_too, &shared_too.metrics);
        if end == End::Linger {
            shared_too.lingerer.take(connection_too);
        }
    });
    if started.is_err() {
        shared.connections.remove(&connection, metrics);
        turn_away(shared, connection, Rejection::NoThread);
    }
}

/// Answers 503 without waiting: the send buffer of a new socket has room for it.
fn turn_away(shared: &Shared, connection: Arc<Connection>, rejection: Rejection) {
    shared.metrics.connections_refused.fetch_add(1, Relaxed);
    let answer = refusal::refuse(shared, rejection, clock_us(), &connection.peer.to_string(), b"");
    let mut stream = &connection.stream;
    if stream.set_nonblocking(true).and_then(|()| stream.write_all(&answer)).is_ok() {
        shared.lingerer.take(connection);
    }
}

#[cfg(test)]
mod parsing_tests;
#[cfg(test)]
mod tests;
