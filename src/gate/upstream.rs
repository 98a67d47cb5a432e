//! The way to tiny_http: a private Unix socket, and the fixed set of connections over it.
//!
//! The socket is bound in a directory that only this user can enter, and both are removed at once: nobody else can
//! reach it, and a killed process leaves nothing behind. What remains is a descriptor of the socket's inode (O_PATH),
//! and `/proc/self/fd/N` leads to it.
//!
//! 1. The number of connections is fixed. Who wants one when all are in use waits, at most [`BORROW_TIME`].
//! 2. They are opened one at a time, each proven by a round trip before the next: tiny_http queues connections that
//!    come at once behind others that never end (DESIGN.md, "Why a gate stands in front of tiny_http").
//! 3. A connection carries one request at a time, and its response is read whole before it is given back.
//! 4. One that failed is not used again: the next that gets its place opens a new one first.

use crate::metrics::Rejection;
use crate::mutex::UNPOISONED;
use crate::server::PROBE_TARGET;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// How long a request waits for a connection to become free before it is answered 503.
const BORROW_TIME: Duration = Duration::from_secs(10);

/// Longest silence of tiny_http in the middle of an exchange. The slowest answer is a search that uses up its 30 s.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// Longest wait for the answer to a probe, which waits only for a worker.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// Longest head of a response. A Link is at most three times as long as the query that it repeats.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A body up to this size is sent in one write with its head.
const ONE_WRITE_BYTES_MAX: usize = 16 << 10;

/// The fixed set of connections.
pub struct Upstream {
    socket: OwnedFd,
    /// Held for a push or a pop.
    free: Mutex<Free>,
    freed: Condvar,
    /// Held while a connection is opened and proven (invariant 2), [`PROBE_TIME`] at the longest.
    opening: Mutex<()>,
}

struct Free {
    /// One place per connection that is not in use; `None` where it has to be opened first.
    places: Vec<Option<UnixStream>>,
    /// Requests that wait for a place: std's Condvar makes a system call even to wake nobody.
    waiting: usize,
}

/// Binds the private socket, for `connections` connections that [`Gate::start`](super::Gate::start) opens.
///
/// `fallback` is a directory to bind in where the one for temporary files cannot be used: a container made from
/// nothing has no /tmp. Fails when neither can be written, or when their paths are too long for a socket (108 bytes).
pub fn bind(fallback: &Path, connections: usize) -> Result<(UnixListener, Upstream)> {
    let temporary = std::env::temp_dir();
    let (listener, socket) = bind_in(&temporary).or_else(|first| {
        let both = |error| format!("{}: {first}; {}: {error}", temporary.display(), fallback.display());
        bind_in(fallback).map_err(|error| Error::new(error.kind(), both(error)))
    })?;
    let places = (0..connections).map(|_| None).collect();
    Ok((
        listener,
        Upstream {
            socket,
            free: Mutex::new(Free { places, waiting: 0 }),
            freed: Condvar::new(),
            opening: Mutex::new(()),
        },
    ))
}

pub(super) fn bind_in(directory: &Path) -> Result<(UnixListener, OwnedFd)> {
    let private = directory.join(format!("webhook-inbox-{:016x}", fastrand::u64(..)));
    std::fs::DirBuilder::new().mode(0o700).create(&private)?; // fails if it exists, so it is ours alone
    let path = private.join("s");
    let bound = UnixListener::bind(&path).and_then(|listener| {
        let socket = rustix::fs::open(&path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        std::fs::remove_file(&path)?;
        Ok((listener, socket))
    });
    std::fs::remove_dir(&private).and(bound)
}

impl Upstream {
    /// Opens every connection, one after the other.
    pub(super) fn open_all(&self) -> Result<()> {
        let mut free = self.free.lock().expect(UNPOISONED);
        for place in free.places.iter_mut() {
            *place = Some(self.open()?);
        }
        Ok(())
    }

    /// Has a worker answer a request on one of the connections. Not on a new one: for that tiny_http may start a thread,
    /// and panics when it cannot.
    pub(super) fn probe(&self) -> Result<()> {
        self.exchange(&mut probe_head(), &[], || "", &mut Vec::new())
            .map_err(|rejection| Error::other(rejection.label()))
    }

    /// Sends one request, and writes the response into `answer`, with what `connection` says by then in place of
    /// tiny_http's own `Connection` and `Server` fields.
    pub(super) fn exchange(
        &self,
        head: &mut Vec<u8>,
        body: &[u8],
        connection: impl FnMut() -> &'static str,
        answer: &mut Vec<u8>,
    ) -> std::result::Result<(), Rejection> {
        let place = self.borrow().ok_or(Rejection::UpstreamBusy)?;
        let exchanged = place.map_or_else(|| self.open(), Ok).and_then(|mut stream| {
            if body.len() <= ONE_WRITE_BYTES_MAX {
                head.extend_from_slice(body);
                stream.write_all(head)?;
            } else {
                stream.write_all(head)?;
                stream.write_all(body)?;
            }
            wait_for_response(&stream)?;
            read_response(&mut stream, head.starts_with(b"HEAD "), connection, answer)?;
            Ok(stream)
        });
        let (place, outcome) = match exchanged {
            Ok(stream) => (Some(stream), Ok(())),
            Err(_) => (None, Err(Rejection::UpstreamFailed)),
        };
        let mut free = self.free.lock().expect(UNPOISONED);
        free.places.push(place);
        if free.waiting > 0 {
            self.freed.notify_one();
        }
        outcome
    }

    /// A place out of the set, or `None` if none has become free in time.
    fn borrow(&self) -> Option<Option<UnixStream>> {
        let mut free = self.free.lock().expect(UNPOISONED);
        if free.places.is_empty() {
            free.waiting += 1;
            free = self.freed.wait_timeout_while(free, BORROW_TIME, |free| free.places.is_empty()).expect(UNPOISONED).0;
            free.waiting -= 1;
        }
        free.places.pop()
    }

    fn open(&self) -> Result<UnixStream> {
        let _one_at_a_time = self.opening.lock().expect(UNPOISONED);
        let mut stream = UnixStream::connect(format!("/proc/self/fd/{}", self.socket.as_raw_fd()))?;
        stream.set_read_timeout(Some(PROBE_TIME))?;
        stream.set_write_timeout(Some(PROBE_TIME))?;
        stream.write_all(&probe_head())?;
        read_response(&mut stream, false, || "", &mut Vec::new())?;
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        Ok(stream)
    }
}

/// A request that a worker answers without asking the database.
fn probe_head() -> Vec<u8> {
    format!("GET {PROBE_TARGET} HTTP/1.1\r\n\r\n").into_bytes()
}

/// Waits until the response begins. A read would wait as well, but whoever reads from a Unix socket is also woken when
/// the other side takes what was sent, only to find nothing and to sleep again: 2.8 switches of context for each message
/// in the gate, in place of 2.0 (voluntary_ctxt_switches in /proc), and 1 to 5 percent of the rate. `poll` is woken
/// only by what it waits for.
fn wait_for_response(stream: &UnixStream) -> Result<()> {
    let time = Timespec { tv_sec: ANSWER_TIME.as_secs() as i64, tv_nsec: 0 };
    match rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&time)))? {
        0 => Err(Error::from(ErrorKind::TimedOut)),
        _ => Ok(()),
    }
}

/// Reads one response to its end into `answer`, its fields changed as [`Upstream::exchange`] says.
///
/// tiny_http is trusted to send what server.rs makes it send: always a `Content-Length`, and lines that end in CR LF.
/// Anything else is an error, after which the connection is not used again.
fn read_response(
    stream: &mut UnixStream,
    no_body: bool,
    mut connection: impl FnMut() -> &'static str,
    answer: &mut Vec<u8>,
) -> Result<()> {
    let wrong = || Error::from(ErrorKind::InvalidData);
    let mut buffer = vec![0; 4096]; // the head of a response has about 200 bytes, so one read brings most of them whole
    let mut filled = 0;
    let head = loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(Error::from(ErrorKind::UnexpectedEof)),
            bytes => filled += bytes,
        }
        if let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
            break end + 2;
        }
        if filled == buffer.len() {
            // A Link repeats the query, percent-encoded.
            let longer = Some(filled * 2).filter(|&longer| longer <= HEAD_BYTES_MAX).ok_or_else(wrong)?;
            buffer.resize(longer, 0);
        }
    };
    let (lines, body) = (&buffer[..head], &buffer[head + 2..filled]);
    let mut length = None;
    answer.clear();
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        let named =
            |name: &str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
        if named("Content-Length:") {
            length =
                std::str::from_utf8(&line["Content-Length:".len()..]).ok().and_then(|text| text.trim().parse().ok());
        }
        if !named("Server:") && !named("Connection:") {
            answer.extend_from_slice(line);
        }
    }
    answer.extend_from_slice(connection().as_bytes());
    answer.extend_from_slice(b"\r\n");
    let length: usize = if no_body { 0 } else { length.ok_or_else(wrong)? };
    let rest = length.checked_sub(body.len()).ok_or_else(wrong)?;
    answer.extend_from_slice(body);
    answer.reserve_exact(rest);
    match stream.take(rest as u64).read_to_end(answer)? {
        read if read == rest => Ok(()),
        _ => Err(Error::from(ErrorKind::UnexpectedEof)),
    }
}
