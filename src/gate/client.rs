//! One client connection: its socket, its buffers, and what it is doing.

use super::ClientId;
use super::deadlines::Deadline;
use super::request::Request;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// A client connection.
pub(super) struct Client {
    pub(super) peer: SocketAddr,
    pub(super) state: State,
    /// None while it waits for its answer.
    pub(super) deadline: Option<Deadline>,
    /// What has come and no request has taken yet.
    pub(super) input: Vec<u8>,
    /// The client has closed its sending side.
    pub(super) ended: bool,
    /// Bytes that are counted as held for it.
    pub(super) held_bytes: usize,
    stream: TcpStream,
    interest: EventFlags,
}

/// What it is doing.
pub(super) enum State {
    /// It sends a request, or none yet.
    Sending(Option<Box<Request>>),
    /// Its request waits for a lone connection to tiny_http.
    Queued(Box<Request>),
    /// Its request is with tiny_http. The body is not here any more.
    Waiting(Box<Request>),
    /// Its request waits for messages. Nothing of it is behind the gate.
    Parked(Box<Request>),
    /// It takes an answer.
    Reading { answer: Vec<u8>, written: usize, then: Then },
    /// It has its answer. What it still sends is thrown away, so many bytes until now: a socket that is closed with
    /// unread input is reset, and the reset eats the answer on its way (RFC 9112 section 9.6).
    Closing { thrown_away: usize },
}

/// What comes after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next request.
    KeepAlive,
    /// The end, at once if nothing is unread.
    Close,
    /// The end, once the client has closed its side: it may still be sending.
    Linger,
}

impl Client {
    /// Takes a connection in, and has epoll report when something comes.
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, id: ClientId, epoll: &OwnedFd) -> Result<Client> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let interest = EventFlags::IN;
        epoll::add(epoll, &stream, EventData::new_u64(id), interest)?;
        let (state, input) = (State::Sending(None), Vec::new());
        Ok(Client { peer, state, deadline: None, input, ended: false, held_bytes: 0, stream, interest })
    }

    /// Has epoll report this, and nothing else but that the connection is broken.
    pub(super) fn watch(&mut self, interest: EventFlags, id: ClientId, epoll: &OwnedFd) -> Result<()> {
        if interest != self.interest {
            epoll::modify(epoll, &self.stream, EventData::new_u64(id), interest)?;
            self.interest = interest;
        }
        Ok(())
    }

    /// Reads once. `Err`: the connection is broken.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        match self.stream.read(buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(error) if is_for_later(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Writes what is left of its answer; whether that was all. `Err`: the connection is broken.
    pub(super) fn write(&mut self) -> Result<bool> {
        let State::Reading { answer, written, .. } = &mut self.state else { return Ok(true) };
        while *written < answer.len() {
            match self.stream.write(&answer[*written..]) {
                Ok(count) => *written += count,
                Err(error) if is_for_later(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes an interim answer. Fails when the client has left no room for it by not reading its earlier answers.
    pub(super) fn write_interim(&mut self, answer: &[u8]) -> Result<()> {
        self.stream.write_all(answer)
    }

    /// Reads what is there and throws it away. False: that was the end, or it is enough.
    pub(super) fn throw_away(&mut self, buffer: &mut [u8], bytes_max: usize) -> bool {
        let State::Closing { thrown_away } = &mut self.state else { return true };
        match self.stream.read(buffer) {
            Ok(0) => false,
            Ok(count) => {
                *thrown_away += count;
                *thrown_away < bytes_max
            }
            Err(error) => is_for_later(&error),
        }
    }

    /// Something has come that was not read.
    pub(super) fn input_waits(&self) -> bool {
        rustix::io::ioctl_fionread(&self.stream).is_ok_and(|bytes| bytes > 0)
    }

    /// Says that nothing more will be written.
    pub(super) fn finish(&self) -> Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Has the kernel reset the connection when it is closed, and not hold what the client does not read.
    pub(super) fn reset_on_close(&self) {
        // An error here leaves the kernel's own time-out to end it.
        let _ = rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }

    /// Bytes that it holds in memory. A request that is with tiny_http is still counted, since a worker has it.
    pub(super) fn holds(&self) -> usize {
        match &self.state {
            State::Sending(request) => self.input.len() + request.as_ref().map_or(0, |request| request.held_bytes()),
            State::Queued(_) | State::Waiting(_) | State::Parked(_) => self.held_bytes,
            State::Reading { answer, .. } => self.input.len() + answer.len(),
            State::Closing { .. } => 0,
        }
    }

    /// The request that it sends, or that is being answered.
    pub(super) fn request(&self) -> Option<&Request> {
        match &self.state {
            State::Sending(request) => request.as_deref(),
            State::Queued(request) | State::Waiting(request) | State::Parked(request) => Some(request),
            State::Reading { .. } | State::Closing { .. } => None,
        }
    }
}

fn is_for_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
