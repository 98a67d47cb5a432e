//! The gate: the only part that faces the network, in front of tiny_http.
//!
//! One thread and one epoll loop. It reads whole requests within [`Limits`], and only then passes them on, rewritten
//! and with one unambiguous length, to tiny_http over a private Unix socket. It promises that nothing slow, endless,
//! malformed or ambiguous gets past it, that a client that sends such a thing gets an answer that can be read, and that
//! no client keeps others from being served. What a request means it leaves to what stands behind.
//!
//! It is there because tiny_http 0.12 by itself has no bounds: an endless header line grows the memory, a declared
//! length of 10^15 aborts the process, a slow client keeps a thread for ever, and of connections that are opened in one
//! burst some are never answered.
//!
//! In the order in which a request meets them: [`event_loop`] is the thread, [`client`] a connection, [`deadlines`] what
//! each is waited for, [`request`] reads by [`head`] and [`body`], [`proxies`] says who the client is, [`upstream`] passes
//! on, [`waiters`] are the clients that wait for messages, [`refusal`] answers what is not passed on, and [`metrics`] has
//! the counts.

#[cfg(fuzzing)]
pub mod fuzz;

mod event_loop;

mod client;

mod deadlines;

mod request;

mod head;

mod body;

mod proxies;

mod upstream;

mod metrics;

mod waiters;

mod refusal;

pub use metrics::METRICS;
pub use proxies::TrustedProxies;
pub use upstream::{Private, bind};

use crate::log::Log;
use crate::server::Commits;
use event_loop::EventLoop;
use rustix::event::{EventfdFlags, eventfd};
use std::io::{Error, ErrorKind, Result};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use upstream::Upstream;

/// How long a probe of the workers may take.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// Which client it is; never given twice.
type ClientId = u64;

/// The bounds of what clients may use. Times are totals: one byte a second does not extend them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at once, each one a descriptor and a buffer while it sends.
    pub connections_max: usize,
    /// Bytes of a request's line and fields, the empty line included.
    pub head_bytes_max: usize,
    /// Header fields of a request.
    pub fields_max: usize,
    /// Bytes of a request's body, after its transfer coding is undone.
    pub body_bytes_max: usize,
    /// Bytes of requests and answers held over all connections, counted as they come. At the bound, what has been under
    /// way longest is cut; small requests may hold an eighth more.
    pub held_bytes_max: usize,
    /// From a request's first byte to the end of its head.
    pub head_time: Duration,
    /// From the end of the head to the end of the body.
    pub body_time: Duration,
    /// From the accept, or the last answer, to the next request's first byte.
    pub idle_time: Duration,
    /// For the client to take its answer.
    pub write_time: Duration,
    /// Requests that wait for messages at once; with fewer than twice as many connections, half of the connections.
    pub waiters_max: usize,
}

impl Limits {
    /// The defaults of the settings.
    pub const DEFAULT: Limits = Limits {
        connections_max: 4096,
        head_bytes_max: 16 << 10, // twice what most servers take
        fields_max: 64,           // senders of webhooks, with proxies before us, have up to 30
        body_bytes_max: 4 << 20,
        held_bytes_max: 64 << 20, // 16 of the largest bodies
        head_time: Duration::from_secs(5),
        body_time: Duration::from_secs(10), // 4 MiB at 3.4 Mbit/s
        idle_time: Duration::from_secs(30),
        write_time: Duration::from_secs(10),
        waiters_max: 64,
    };

    /// Most descriptors that the gate takes, with `lone` lone connections to tiny_http, which takes two for each of its own.
    pub fn descriptors_max(&self, lone: usize) -> usize {
        self.connections_max + event_loop::CLOSING_MAX + 3 * (upstream::PIPELINES + lone)
    }
}

/// The running gate.
pub struct Gate {
    commands: Commands,
    thread: JoinHandle<usize>,
}

/// What other threads ask of the gate's.
enum Command {
    /// Stop accepting, answer what has come whole until then, and end.
    Drain(Instant),
    /// Have a worker answer a request, and say when it has.
    Probe(Sender<()>),
}

/// The way to the gate's thread.
#[derive(Clone)]
struct Commands {
    sender: Sender<Command>,
    wake: Arc<OwnedFd>,
}

impl Gate {
    /// Opens the connections to tiny_http, of which `lone` are lone ones, and begins to accept. `commits` are those that
    /// waiting clients are asked again after.
    ///
    /// Fails when one of them cannot be opened and proven, or the thread cannot be started.
    pub fn start(
        listener: TcpListener,
        (private, lone): (Private, usize),
        limits: Limits,
        proxies: TrustedProxies,
        commits: Arc<Commits>,
        log: Log,
    ) -> Result<Gate> {
        metrics::CONNECTIONS_MAX.set(limits.connections_max);
        let (sender, receiver) = channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let upstream = Upstream::new(private, lone);
        let event_loop = EventLoop::new(limits, proxies, log, upstream, listener, commits, (receiver, &wake))?;
        let (started, start) = channel();
        let thread = std::thread::Builder::new().name("gate".to_owned());
        let thread = thread.spawn(move || event_loop.run(&started))?;
        start.recv().map_err(|_| Error::other("the gate's thread has ended"))??;
        Ok(Gate { commands: Commands { sender, wake }, thread })
    }

    /// What sees whether the gate and the workers answer, from then on and in any thread.
    pub fn prober(&self) -> impl Fn() -> Result<()> + Send + use<> {
        let commands = self.commands.clone();
        move || {
            let (prober, answer) = channel();
            commands.send(Command::Probe(prober));
            answer.recv_timeout(PROBE_TIME).map_err(|_| Error::from(ErrorKind::TimedOut))
        }
    }

    /// Stops accepting, closes what is idle or half sent, lets the requests that have come whole be answered with
    /// `Connection: close`, and waits until every connection is gone, or the deadline has passed. Returns how many were
    /// left then.
    pub fn drain(self, deadline: Instant) -> usize {
        self.commands.send(Command::Drain(deadline));
        self.thread.join().expect("a panic aborts the process")
    }
}

impl Commands {
    fn send(&self, command: Command) {
        // The thread is gone only after it has drained, and then nothing is to be done any more.
        let _ = self.sender.send(command);
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes()); // fails only when it is awake already
    }
}

#[cfg(test)]
mod parsing_tests;
#[cfg(test)]
mod tests;
