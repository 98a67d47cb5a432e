//! The way to tiny_http: a private Unix socket, and a fixed set of connections over it.
//!
//! The socket is bound in a directory that only this user can enter, and both are removed at once: no other process can
//! reach it, and a killed process leaves nothing behind. What remains is a descriptor of the socket's inode (O_PATH),
//! and `/proc/self/fd/N` leads to it.
//!
//! 1. The first [`PIPELINES`] connections are pipelined: they carry small deliveries, and all that become whole in one
//!    turn of the loop go in one write. The others are lone: one request at a time, so that a search of 30 s, or a body
//!    of 4 MiB, holds up no delivery.
//! 2. They are opened one at a time, each proven by a round trip before the next: tiny_http queues connections that
//!    come at once behind others that never end (docs of gate.rs).
//! 3. The answers of a connection come in the order of its requests.
//! 4. A connection that fails, or is silent for too long, fails every request under way on it; it is opened again.

use super::ClientId;
use crate::api::Wait;
use crate::server::{PROBE_TARGET, WOKEN_TARGET, wait_of, woken_of};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fs::{Mode, OFlags};
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Pipelined connections. One does as well; with two, one that fails takes half of the deliveries under way with it.
pub(super) const PIPELINES: usize = 2;

/// Longest silence on a connection with requests under way. The slowest answer is a search that uses up its 30 s.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Longest wait for the answer to the request that proves a connection; it waits only for a worker.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// Between two tries to open a connection.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Most bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// The private socket's inode, by which it can be connected to.
pub struct Private(OwnedFd);

/// All connections.
pub(super) struct Upstream {
    private: Private,
    connections: Vec<Connection>,
    /// How many connections were opened so far: the number of the next.
    opened: u64,
    /// How many connections failed before they were proven.
    unproven: u64,
    buffer: Vec<u8>,
}

struct Connection {
    /// `Err`: it has to be opened, at this instant or later.
    stream: std::result::Result<UnixStream, Instant>,
    /// Never given twice: what is answered by number must not reach the successor of a connection that has failed.
    number: u64,
    /// It has been proven.
    open: bool,
    /// Requests that are written or are to be written, whose answers have not come.
    under_way: VecDeque<Exchange>,
    /// Requests that are not written yet.
    output: Vec<u8>,
    /// Waits for room in the socket's buffer.
    blocked: bool,
    /// What came of answers that are not whole.
    input: Vec<u8>,
    /// Since then nothing has come.
    silent_since: Instant,
}

/// A request under way.
pub(super) struct Exchange {
    pub(super) asker: Asker,
    /// It is a HEAD, whose answer has a length and no body.
    pub(super) is_head: bool,
}

/// Who gets an answer.
pub(super) enum Asker {
    Client(ClientId),
    /// The clients that wait and are listed in the request, each with the number of its wait.
    Waiters(Vec<(ClientId, u64)>),
    /// A thread that wants to know whether the workers answer; dropped when they do not.
    Prober(Sender<()>),
    /// The connection itself, which is being proven.
    Opening,
}

/// What became of a request: a response, or nothing.
pub(super) type Answered = (Asker, Option<Response>);

/// A response without its `Connection` field.
pub(super) struct Response {
    bytes: Vec<u8>,
    /// Where the empty line stands that ends the head.
    head_end: usize,
}

impl Response {
    /// Whether it is a worker's word to the gate that there is nothing yet.
    pub(super) fn wait(&self) -> Option<Wait> {
        wait_of(&self.bytes)
    }

    /// What a worker says of those that wait.
    pub(super) fn woken(&self) -> Option<Vec<Option<i64>>> {
        woken_of(&self.bytes)
    }

    pub(super) fn is_ok(&self) -> bool {
        self.bytes.starts_with(b"HTTP/1.1 200 ")
    }

    /// The bytes, with that field at the end of the head.
    pub(super) fn with_field(mut self, field: &str) -> Vec<u8> {
        self.bytes.splice(self.head_end..self.head_end, field.bytes());
        self.bytes
    }
}

/// Binds the private socket.
///
/// `fallback` is a directory to bind in where the one for temporary files cannot be used: a container made from
/// nothing has no /tmp. Fails when neither can be written, or when their paths are too long for a socket (108 bytes).
pub fn bind(fallback: &Path) -> Result<(UnixListener, Private)> {
    let temporary = std::env::temp_dir();
    bind_in(&temporary).or_else(|first| {
        let both = |error| format!("{}: {first}; {}: {error}", temporary.display(), fallback.display());
        bind_in(fallback).map_err(|error| Error::new(error.kind(), both(error)))
    })
}

fn bind_in(directory: &Path) -> Result<(UnixListener, Private)> {
    let private = directory.join(format!("webhook-inbox-{:016x}", fastrand::u64(..)));
    std::fs::DirBuilder::new().mode(0o700).create(&private)?; // fails if it exists, so it is ours alone
    let path = private.join("s");
    let bound = UnixListener::bind(&path).and_then(|listener| {
        let socket = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        std::fs::remove_file(&path)?;
        Ok((listener, Private(socket)))
    });
    std::fs::remove_dir(&private).and(bound)
}

impl Upstream {
    /// [`PIPELINES`] pipelined connections, and so many lone ones; none of them is open yet.
    pub(super) fn new(private: Private, lone: usize) -> Upstream {
        let now = Instant::now();
        let connection = |_| Connection {
            stream: Err(now),
            number: 0,
            open: false,
            under_way: VecDeque::new(),
            output: Vec::new(),
            blocked: false,
            input: Vec::new(),
            silent_since: now,
        };
        let connections = (0..PIPELINES + lone).map(connection).collect();
        Upstream { private, connections, opened: 0, unproven: 0, buffer: vec![0; READ_BYTES] }
    }

    /// Opens the next connection that is not open, unless one is being proven or it is too early. Its events carry its
    /// number.
    pub(super) fn open_next(&mut self, epoll: &OwnedFd, now: Instant) -> Result<()> {
        if self.is_proving() {
            return Ok(());
        }
        let due = |connection: &Connection| connection.stream.as_ref().is_err_and(|due| *due <= now);
        let Some(index) = self.connections.iter().position(due) else { return Ok(()) };
        let connection = &mut self.connections[index];
        let opened = self.private.connect().and_then(|stream| {
            epoll::add(epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                connection.stream = Ok(stream);
                connection.number = self.opened;
                self.opened += 1;
            }
            Err(error) => {
                connection.stream = Err(now + RETRY_PAUSE);
                return Err(error);
            }
        }
        self.probe(index, Asker::Opening, now);
        Ok(())
    }

    /// Sends a request that a worker answers without asking the database.
    pub(super) fn probe(&mut self, index: usize, asker: Asker, now: Instant) {
        let head = format!("GET {PROBE_TARGET} HTTP/1.1\r\n\r\n");
        self.send(index, head.as_bytes(), Exchange { asker, is_head: false }, now);
    }

    /// Sends the list of those that wait.
    pub(super) fn list_waiters(&mut self, index: usize, list: &str, waiters: Vec<(ClientId, u64)>, now: Instant) {
        let length = list.len();
        let request = format!("POST {WOKEN_TARGET} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{list}");
        self.send(index, request.as_bytes(), Exchange { asker: Asker::Waiters(waiters), is_head: false }, now);
    }

    /// Whether all connections are open.
    pub(super) fn is_open(&self) -> bool {
        self.connections.iter().all(|connection| connection.open)
    }

    /// Whether a connection could not be proven.
    pub(super) fn has_failed_proof(&self) -> bool {
        self.unproven > 0
    }

    fn is_proving(&self) -> bool {
        self.connections.iter().any(|connection| connection.stream.is_ok() && !connection.open)
    }

    /// The pipelined connection with the fewest requests under way, and its number. None while none is open, and while
    /// each has `under_way_max` requests: those of clients that have gone are among them.
    pub(super) fn pipeline(&self, under_way_max: usize) -> Option<(usize, u64)> {
        let free = |index: &usize| {
            let connection = &self.connections[*index];
            connection.open && connection.under_way.len() < under_way_max
        };
        let index = (0..PIPELINES).filter(free).min_by_key(|&index| self.connections[index].under_way.len())?;
        Some((index, self.connections[index].number))
    }

    /// A lone connection without a request.
    pub(super) fn lone(&self) -> Option<usize> {
        let free = |&index: &usize| self.connections[index].open && self.connections[index].under_way.is_empty();
        (PIPELINES..self.connections.len()).find(free)
    }

    /// Puts a request behind those that are to be written.
    pub(super) fn send(&mut self, index: usize, request: &[u8], exchange: Exchange, now: Instant) {
        let connection = &mut self.connections[index];
        if connection.under_way.is_empty() {
            connection.silent_since = now;
        }
        connection.output.extend_from_slice(request);
        connection.under_way.push_back(exchange);
    }

    /// Writes what is to be written, as far as the sockets take it: to each connection at once.
    pub(super) fn flush(&mut self, epoll: &OwnedFd, now: Instant, answered: &mut Vec<Answered>) {
        for index in 0..self.connections.len() {
            let connection = &mut self.connections[index];
            if !connection.output.is_empty() && !connection.blocked && connection.write(epoll, index).is_err() {
                self.fail(index, now, answered);
            }
        }
    }

    /// Reads and writes what a connection's event says that it can.
    pub(super) fn on_event(
        &mut self,
        index: usize,
        flags: EventFlags,
        epoll: &OwnedFd,
        now: Instant,
        answered: &mut Vec<Answered>,
    ) {
        let connection = &mut self.connections[index];
        let writable = flags.contains(EventFlags::OUT);
        let written = if writable { connection.write(epoll, index) } else { Ok(()) };
        if written.and_then(|()| connection.read(&mut self.buffer, now, answered)).is_err() {
            self.fail(index, now, answered);
        }
    }

    /// When something is due by [`Upstream::fail_silent`] or [`Upstream::open_next`].
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        // What is to be opened waits while another is being proven.
        let counts = |connection: &&Connection| connection.stream.is_ok() || !self.is_proving();
        self.connections.iter().filter(counts).filter_map(Connection::deadline).min()
    }

    /// Fails the connections that have been silent for too long.
    pub(super) fn fail_silent(&mut self, now: Instant, answered: &mut Vec<Answered>) {
        for index in 0..self.connections.len() {
            let connection = &self.connections[index];
            if connection.stream.is_ok() && connection.deadline().is_some_and(|deadline| deadline <= now) {
                self.fail(index, now, answered);
            }
        }
    }

    fn fail(&mut self, index: usize, now: Instant, answered: &mut Vec<Answered>) {
        let connection = &mut self.connections[index];
        let again = if connection.open { now } else { now + RETRY_PAUSE };
        self.unproven += u64::from(!connection.open);
        connection.stream = Err(again); // closing it takes it out of epoll
        connection.open = false;
        connection.blocked = false;
        (connection.output, connection.input) = (Vec::new(), Vec::new());
        for exchange in connection.under_way.drain(..) {
            match exchange.asker {
                asker @ (Asker::Client(_) | Asker::Waiters(_)) => answered.push((asker, None)),
                Asker::Prober(_) | Asker::Opening => {}
            }
        }
    }
}

impl Private {
    fn connect(&self) -> Result<UnixStream> {
        // The kernel's queue of the socket is longer than there are connections, so this does not wait.
        let stream = UnixStream::connect(format!("/proc/self/fd/{}", self.0.as_raw_fd()))?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

impl Connection {
    fn deadline(&self) -> Option<Instant> {
        match &self.stream {
            Err(due) => Some(*due),
            Ok(_) if self.under_way.is_empty() => None,
            Ok(_) => Some(self.silent_since + if self.open { ANSWER_TIME } else { PROBE_TIME }),
        }
    }

    fn write(&mut self, epoll: &OwnedFd, index: usize) -> Result<()> {
        let Ok(stream) = &mut self.stream else { return Ok(()) };
        let mut written = 0;
        let blocked = loop {
            if written == self.output.len() {
                break false;
            }
            match stream.write(&self.output[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        self.output.drain(..written);
        shrink(&mut self.output);
        if blocked != self.blocked {
            self.blocked = blocked;
            let flags = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(epoll, stream.as_fd(), EventData::new_u64(index as u64), flags)?;
        }
        Ok(())
    }

    /// Reads once, and takes the responses that are whole.
    fn read(&mut self, buffer: &mut [u8], now: Instant, answered: &mut Vec<Answered>) -> Result<()> {
        let Ok(stream) = &mut self.stream else { return Ok(()) };
        match stream.read(buffer) {
            Ok(0) => return Err(Error::from(ErrorKind::UnexpectedEof)),
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.silent_since = now;
        let mut taken = 0;
        while let Some(exchange) = self.under_way.front() {
            let Some((head_end, end)) = response_end(&self.input[taken..], exchange.is_head)? else { break };
            let Some(Exchange { asker, .. }) = self.under_way.pop_front() else { break };
            match asker {
                asker @ (Asker::Client(_) | Asker::Waiters(_)) => {
                    let bytes = self.input[taken..taken + end].to_vec();
                    answered.push((asker, Some(Response { bytes, head_end })));
                }
                // It may have stopped waiting.
                Asker::Prober(prober) => drop(prober.send(())),
                Asker::Opening => self.open = true,
            }
            taken += end;
        }
        self.input.drain(..taken);
        shrink(&mut self.input);
        if self.under_way.is_empty() && !self.input.is_empty() {
            return Err(Error::from(ErrorKind::InvalidData)); // an answer to nothing
        }
        Ok(())
    }
}

/// Gives back what a large body or answer has taken.
fn shrink(buffer: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > READ_BYTES {
        *buffer = Vec::new();
    }
}

/// Where the first response in the input has its empty line, and where it ends, once it is whole.
///
/// tiny_http is trusted to send what the workers make it send: always a `Content-Length`, and lines that end in CR LF.
/// Anything else is an error, after which the connection is not used again.
fn response_end(input: &[u8], no_body: bool) -> Result<Option<(usize, usize)>> {
    let Some(head_end) = memchr::memmem::find(input, b"\r\n\r\n").map(|at| at + 2) else { return Ok(None) };
    const FIELD: &[u8] = b"Content-Length: ";
    let field = memchr::memmem::find(&input[..head_end], FIELD).map(|at| &input[at + FIELD.len()..head_end]);
    let digits = field.and_then(|field| field.split(|&byte| byte == b'\r').next());
    let length = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
    let length = if no_body { Some(0) } else { length };
    let end = head_end + 2 + length.ok_or_else(|| Error::from(ErrorKind::InvalidData))?;
    Ok((end <= input.len()).then_some((head_end, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_socket_leaves_no_name_behind() {
        let directory = std::env::temp_dir().join(format!("fallback-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&directory).unwrap();
        let (_listener, private) = bind_in(&directory).unwrap();
        std::fs::remove_dir(&directory).unwrap(); // fails unless it is empty
        private.connect().unwrap();
        assert!(bind_in(&directory.join("x".repeat(100))).is_err(), "no such directory");
    }

    #[test]
    fn a_response_ends_where_its_length_says() {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1";
        assert_eq!(response_end(response, false).unwrap(), Some((36, 43)));
        assert_eq!(response_end(response, true).unwrap(), Some((36, 38)));
        for cut in 0..43 {
            assert_eq!(response_end(&response[..cut], false).unwrap(), None, "{cut}");
        }
        assert!(response_end(b"HTTP/1.1 200 OK\r\n\r\n", false).is_err(), "no length");
        assert!(response_end(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", false).is_err());
    }
}
