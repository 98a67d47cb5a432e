//! One client connection from its first byte to its last: the function of its thread.

use super::body::Chunked;
use super::connections::Connection;
use super::head::{Framing, Head, Parser};
use super::refusal::refuse;
use super::{Limits, Shared};
use crate::metrics::Rejection;
use crate::server::{ARRIVAL_FIELD, CLIENT_FIELD, clock_us};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A connection's buffer at first: room for any usual request.
const BUFFER_BYTES: usize = 4 << 10;

/// What an idle connection keeps of each of its buffers at most: a longer one is given back when its request is over.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What is to be done with a connection that its thread is finished with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing the client could lose is on its way.
    Close,
    /// An answer is on its way, and the client may still be sending: see [`Lingerer`](super::linger::Lingerer).
    Linger,
}

/// Why a request came to no answer from the service.
enum Stop {
    /// The gate answers it.
    Refused(Rejection),
    /// The client is gone, or does not read.
    Gone,
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Stop {
        Stop::Refused(rejection)
    }
}

/// Answers the connection's requests one after the other, until either side ends it.
pub(super) fn serve(shared: &Shared, connection: &Connection) -> End {
    let metrics = &shared.metrics;
    let peer = connection.peer.to_string();
    let mut input = Input::new(&connection.stream);
    let mut buffers = Buffers::default();
    let write_time = shared.limits.write_time;
    let prepared = connection.stream.set_nodelay(true);
    if prepared.and_then(|()| connection.stream.set_write_timeout(Some(write_time))).is_err() {
        return End::Close;
    }
    loop {
        if input.bytes().is_empty() {
            connection.idle();
            if shared.draining() && !connection.input_waits() {
                return End::Linger; // a request that comes at this very moment is not answered, but not reset either
            }
            match input.fill(shared.limits.idle_time, Rejection::HeadTime) {
                Ok(()) => {}
                Err(Stop::Refused(Rejection::HeadTime)) => {
                    metrics.connections_idle_closed.fetch_add(1, Relaxed);
                    return End::Close;
                }
                Err(_) => return End::Close,
            }
            if !connection.busy() {
                return End::Close;
            }
        }
        let arrived_us = clock_us();
        let mut parser = Parser::default();
        let head = read_head(&shared.limits, &mut input, &mut parser, &mut buffers);
        let forwarded = shared.proxies.client(connection.peer, &parser.forwarded_for).map(|client| client.to_string());
        let client = forwarded.as_deref().unwrap_or(&peer);
        let answered = head.and_then(|head| answer(shared, &head, client, arrived_us, &mut input, &mut buffers));
        let (keep_alive, last) = match answered {
            Ok(keep_alive) => (keep_alive, End::Close),
            Err(Stop::Gone) => return End::Close,
            // Nothing but the end of line that some clients add to a body: no request has begun (RFC 9112 section 2.2).
            Err(Stop::Refused(Rejection::HeadTime | Rejection::Incomplete)) if input.bytes() == b"\r\n" => {
                return End::Close;
            }
            Err(Stop::Refused(rejection)) => {
                buffers.answer = refuse(shared, rejection, arrived_us, client, &buffers.request);
                (false, End::Linger)
            }
        };
        if !write_all(&connection.stream, &buffers.answer, write_time) {
            metrics.connections_cut.fetch_add(1, Relaxed);
            return End::Close;
        }
        if !keep_alive {
            // Closing with something unread would reset the connection, and the client might not get its answer.
            return if input.bytes().is_empty() && !connection.input_waits() { last } else { End::Linger };
        }
        buffers.shrink();
    }
}

/// Reads the body of a request, has it answered, and leaves the answer in `buffers`. `true`: the connection stays open.
fn answer(
    shared: &Shared,
    head: &Head,
    client: &str,
    arrived_us: u64,
    input: &mut Input<'_>,
    buffers: &mut Buffers,
) -> Result<bool, Stop> {
    let Buffers { request, body, answer } = buffers;
    let mut held = Held { total: &shared.metrics.held_bytes, max: shared.limits.held_bytes_max as u64, bytes: 0 };
    read_body(&shared.limits, head, input, &mut held, body)?;

    let _ = write!(request, "{CLIENT_FIELD}: {client}\r\n{ARRIVAL_FIELD}: {arrived_us}\r\n"); // a Vec takes every write
    if head.framing != Framing::Absent {
        let _ = write!(request, "Content-Length: {}\r\n", body.len()); // likewise
    }
    request.extend_from_slice(b"\r\n");
    let mut keep_alive = head.keep_alive;
    let connection = || {
        keep_alive = keep_alive.filter(|_| !shared.draining()); // asked when the answer is there: draining may have begun
        keep_alive.unwrap_or("Connection: close\r\n")
    };
    shared.upstream.exchange(request, body, connection, answer)?;
    Ok(keep_alive.is_some())
}

fn read_head(limits: &Limits, input: &mut Input<'_>, parser: &mut Parser, buffers: &mut Buffers) -> Result<Head, Stop> {
    buffers.request.clear();
    buffers.body.clear();
    let mut deadline = None;
    loop {
        if let Some(head) = parser.advance(input.bytes(), limits, &mut buffers.request)? {
            input.consume(head.bytes);
            return Ok(head);
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + limits.head_time);
        input.fill(left(deadline).ok_or(Rejection::HeadTime)?, Rejection::HeadTime)?;
    }
}

fn read_body(
    limits: &Limits,
    head: &Head,
    input: &mut Input<'_>,
    held: &mut Held<'_>,
    body: &mut Vec<u8>,
) -> Result<(), Stop> {
    if let Framing::Length(length) = head.framing {
        let here = length.min(input.bytes().len());
        held.can_hold(length)?;
        held.grow_to(here)?;
        body.extend_from_slice(&input.bytes()[..here]);
        input.consume(here);
    }
    let whole =
        matches!(head.framing, Framing::Absent) || matches!(head.framing, Framing::Length(n) if n == body.len());
    if whole {
        return Ok(());
    }
    let deadline = Instant::now() + limits.body_time;
    if head.expects_continue && body.is_empty() && input.bytes().is_empty() {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        if !write_all(input.stream, CONTINUE, limits.write_time) {
            return Err(Stop::Gone);
        }
    }
    if let Framing::Length(length) = head.framing {
        while body.len() < length {
            // What has come is counted, not what was promised: promises cost nothing, and would shut others out.
            let end = length.min(body.len() + BUFFER_BYTES_MAX);
            held.grow_to(end)?;
            input.read_into(body, end, left(deadline).ok_or(Rejection::BodyTime)?)?;
        }
        return Ok(());
    }
    let mut chunked = Chunked::new(limits.body_bytes_max);
    loop {
        let (done, whole) = chunked.advance(input.bytes(), body)?;
        input.consume(done);
        held.grow_to(body.len())?;
        if whole {
            return Ok(());
        }
        input.fill(left(deadline).ok_or(Rejection::BodyTime)?, Rejection::BodyTime)?;
    }
}

/// Writes within `time`. `false`: the client has gone, or has not read in time; then the connection is reset, so that
/// the kernel does not go on holding what it does not take.
fn write_all(mut stream: &TcpStream, mut bytes: &[u8], time: Duration) -> bool {
    let deadline = Instant::now() + time;
    // The socket's own time-out is `time` already, so only an answer that was taken in parts needs another.
    let mut written = stream.write(bytes);
    loop {
        match written {
            Ok(count) if count == bytes.len() => return true,
            Ok(count) if count > 0 => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => break,
        }
        let Some(left) = left(deadline) else { break };
        if stream.set_write_timeout(Some(left)).is_err() {
            break;
        }
        written = stream.write(bytes);
    }
    // An error here leaves the kernel's own time-out to end it.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    false
}

/// What is left until the deadline, and `None` after it: each byte that comes in time for one more read would otherwise
/// put off the end. At least a millisecond, since a socket takes zero for no time-out at all.
fn left(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).map(|left| left.max(Duration::from_millis(1)))
}

/// The buffers of a connection, kept from request to request.
#[derive(Default)]
struct Buffers {
    /// The head that is forwarded, and a small body after it.
    request: Vec<u8>,
    body: Vec<u8>,
    answer: Vec<u8>,
}

impl Buffers {
    fn shrink(&mut self) {
        for buffer in [&mut self.request, &mut self.body, &mut self.answer] {
            if buffer.capacity() > BUFFER_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
    }
}

/// What has come from the client and is not consumed yet.
struct Input<'a> {
    stream: &'a TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The socket's read time-out, so that it is set only when it changes.
    timeout: Duration,
}

impl<'a> Input<'a> {
    fn new(stream: &'a TcpStream) -> Input<'a> {
        Input { stream, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, timeout: Duration::MAX }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Reads once, for at most `time`. The buffer grows only when it is full, and who calls bounds what it holds: a
    /// head by `head_bytes_max`, a chunked body by one line.
    fn fill(&mut self, time: Duration, timeout: Rejection) -> Result<(), Stop> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        self.set_timeout(time)?;
        self.end += read(self.stream, &mut self.buffer[self.end..], timeout)?;
        Ok(())
    }

    /// Reads once, at most to the byte `end` of the body, past the buffer.
    fn read_into(&mut self, body: &mut Vec<u8>, end: usize, time: Duration) -> Result<(), Stop> {
        self.set_timeout(time)?;
        let filled = body.len();
        body.resize(end, 0);
        let count = read(self.stream, &mut body[filled..], Rejection::BodyTime)?;
        body.truncate(filled + count);
        Ok(())
    }

    fn set_timeout(&mut self, time: Duration) -> Result<(), Stop> {
        if time != self.timeout {
            self.stream.set_read_timeout(Some(time)).map_err(|_| Stop::Gone)?;
            self.timeout = time;
        }
        Ok(())
    }
}

fn read(mut stream: &TcpStream, buffer: &mut [u8], timeout: Rejection) -> Result<usize, Stop> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return Err(Stop::Refused(Rejection::Incomplete)),
            Ok(count) => return Ok(count),
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return Err(Stop::Refused(timeout)),
                _ => return Err(Stop::Gone),
            },
        }
    }
}

/// The bytes that one request holds of `held_bytes_max`, given back when it is over, however it ends.
struct Held<'a> {
    /// Of all requests together.
    total: &'a AtomicU64,
    max: u64,
    bytes: u64,
}

impl Held<'_> {
    /// Refuses what could never be held, however little there is of others.
    fn can_hold(&self, bytes: usize) -> Result<(), Rejection> {
        if bytes as u64 <= self.max { Ok(()) } else { Err(Rejection::HeldBytesMax) }
    }

    fn grow_to(&mut self, bytes: usize) -> Result<(), Rejection> {
        let more = bytes as u64 - self.bytes;
        let fits = |total: u64| total.checked_add(more).filter(|&total| total <= self.max);
        self.total.fetch_update(Relaxed, Relaxed, fits).map_err(|_| Rejection::HeldBytesMax)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Relaxed);
    }
}
