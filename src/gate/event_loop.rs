//! The thread of the gate: waits until some connection can make progress, and takes it as far as it can. Nothing in it blocks.
//!
//! A turn of the loop takes answers to their clients and reads what clients have sent. At its end, all deliveries that
//! became whole in it go to tiny_http in one write: so what stands behind is woken once for a batch. There is no timer:
//! a lone delivery goes at once.

use super::client::{Client, State, Then};
use super::deadlines::{Deadlines, Wait};
use super::refusal::{self, Rejection};
use super::request::{Progress, Request, Waiting};
use super::upstream::{Answered, Asker, Exchange, PIPELINES, Upstream};
use super::waiters::{WaitResult, Waiters};
use super::{ClientId, Command, Limits, TrustedProxies, metrics};
use crate::answer::{Asked, clock_us};
use crate::api;
use crate::log::{Level, Log};
use crate::refusals::Sent;
use crate::server::{Commits, PASSED_FIELD, Passed, waiting_list};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

/// The tokens of epoll: connections to tiny_http have their number, clients their id, and then there are these.
const LISTENER: u64 = u64::MAX;
const WAKE: u64 = u64::MAX - 1;
const COMMITTED: u64 = u64::MAX - 2;

/// The first client's id; below it are the numbers of connections to tiny_http.
const FIRST_CLIENT: ClientId = 1 << 32;

/// Most bytes of a body that may go over a pipelined connection: the worker that receives reads and checks it before the
/// next delivery can enter the line, some 50 µs for so many.
const PIPELINED_BODY_BYTES_MAX: usize = 16 << 10;

/// Most requests that wait for a lone connection.
const QUEUE_MAX: usize = 1024;

/// How long a request waits for a lone connection before it is answered 503.
const TURN_TIME: Duration = Duration::from_secs(10);

/// Longest wait for messages; a longer one is shortened. Proxies wait 60 s for an answer by default.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a closing connection waits for its client: time enough to finish sending 4 MiB and to read the answer.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// The same while the service stops.
const DRAINING_CLOSE_TIME: Duration = Duration::from_millis(500);

/// Most bytes thrown away of one connection. A client that sends more than this after a 413 is not going to stop.
const THROWN_AWAY_BYTES_MAX: usize = 16 << 20;

/// Most connections that are closing at once; with one more, the oldest is closed. They are beside `connections_max`.
pub(super) const CLOSING_MAX: usize = 128;

/// Most bytes read of a client at once: of a body, and otherwise.
const BODY_READ_BYTES: usize = 64 << 10;
const READ_BYTES: usize = 16 << 10;

/// Most connections accepted in one turn, so that those that are there already get theirs.
const ACCEPTS_MAX: usize = 128;

/// How long accepting pauses after an error. Out of descriptors, each try would fail at once and burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Errors of accepting within this time of one that was logged are the same burst.
const ACCEPT_BURST: Duration = Duration::from_secs(10);

/// Small requests may hold this part more than `held_bytes_max`, so that large ones never keep them out.
const SMALL_SHARE: usize = 8;

/// The gate's state; only its thread has it.
pub(super) struct EventLoop {
    limits: Limits,
    proxies: TrustedProxies,
    log: Log,
    upstream: Upstream,
    /// None once it drains.
    listener: Option<TcpListener>,
    commands: Receiver<Command>,
    epoll: OwnedFd,
    clients: HashMap<ClientId, Client>,
    next_id: ClientId,
    deadlines: Deadlines,
    /// Clients whose requests wait for a lone connection.
    queue: VecDeque<ClientId>,
    waiters: Waiters,
    /// Those who want to know whether the workers answer.
    probers: Vec<Sender<()>>,
    closing: usize,
    held_bytes: usize,
    /// When the present turn began.
    now: Instant,
    /// Accepting pauses until then.
    paused_until: Option<Instant>,
    error_logged: Option<Instant>,
    draining_until: Option<Instant>,
    buffer: Vec<u8>,
}

impl EventLoop {
    /// Fails when there is no descriptor left.
    pub(super) fn new(
        limits: Limits,
        proxies: TrustedProxies,
        log: Log,
        upstream: Upstream,
        listener: TcpListener,
        commits: Arc<Commits>,
        (commands, wake): (Receiver<Command>, &OwnedFd),
    ) -> Result<EventLoop> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, wake, EventData::new_u64(WAKE), EventFlags::IN | EventFlags::ET)?;
        let edges = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, commits.descriptor(), EventData::new_u64(COMMITTED), edges)?;
        let waiters = Waiters::new(commits, limits.waiters_max.min(limits.connections_max / 2));
        Ok(EventLoop {
            limits,
            proxies,
            log,
            upstream,
            listener: Some(listener),
            commands,
            epoll,
            clients: HashMap::new(),
            next_id: FIRST_CLIENT,
            deadlines: Deadlines::new(),
            queue: VecDeque::new(),
            waiters,
            probers: Vec::new(),
            closing: 0,
            held_bytes: 0,
            now: Instant::now(),
            paused_until: None,
            error_logged: None,
            draining_until: None,
            buffer: vec![0; BODY_READ_BYTES],
        })
    }

    /// Opens the connections to tiny_http, says in `started` whether that worked, and serves until it has drained.
    /// Returns how many clients were left then.
    pub(super) fn run(mut self, started: &Sender<Result<()>>) -> usize {
        let (mut events, mut answered) = (Vec::with_capacity(256), Vec::new());
        let mut serving = false;
        loop {
            if !serving && self.upstream.is_open() {
                serving = true;
                let listened = self.watch_listener(EventFlags::IN, true);
                let _ = started.send(listened); // Gate::start waits for this
            }
            let timeout = self.next_deadline().map(|end| end.saturating_duration_since(Instant::now()));
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("epoll_wait fails only for a wrong argument: {error}"),
            }
            self.now = Instant::now();
            let mut accepts = false;
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => accepts = true,
                    WAKE => self.obey_commands(),
                    COMMITTED => self.waiters.on_commit(self.now),
                    id if id >= FIRST_CLIENT => self.on_client(id, event.flags),
                    index => {
                        self.upstream.on_event(index as usize, event.flags, &self.epoll, self.now, &mut answered);
                        self.answer_all(&mut answered);
                    }
                }
            }
            if accepts {
                self.accept();
            }
            self.end_what_is_due();
            self.upstream.fail_silent(self.now, &mut answered);
            if !serving && self.upstream.has_failed_proof() {
                let _ = started.send(Err(ErrorKind::TimedOut.into())); // Gate::start waits for this
                return 0;
            }
            if let Err(error) = self.upstream.open_next(&self.epoll, self.now) {
                let details = json!({ "error": error.to_string() });
                self.log.event(Level::Error, "a connection to the workers could not be opened; trying again", details);
                if !serving {
                    let _ = started.send(Err(error)); // likewise
                    return 0;
                }
            }
            self.send_queued();
            self.upstream.flush(&self.epoll, self.now, &mut answered);
            self.answer_all(&mut answered);
            self.show_figures();
            if self.draining_until.is_some_and(|end| self.clients.is_empty() || end <= self.now) {
                return self.clients.len() - self.closing;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let of_client = self.deadlines.next().map(|(end, ..)| end);
        let others = [self.upstream.next_deadline(), self.paused_until, self.draining_until, self.waiters.due()];
        of_client.into_iter().chain(others.into_iter().flatten()).min()
    }

    fn show_figures(&self) {
        metrics::HELD_BYTES.set(self.held_bytes);
        metrics::WAITING_REQUESTS.set(self.waiters.len());
        metrics::CONNECTIONS_OPEN.set(self.clients.len() - self.closing);
    }

    // ---- accepting ----

    fn watch_listener(&self, interest: EventFlags, new: bool) -> Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let watch = if new { epoll::add } else { epoll::modify };
        Ok(watch(&self.epoll, listener, EventData::new_u64(LISTENER), interest)?)
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = &self.listener else { return };
            match listener.accept().and_then(|(stream, peer)| self.admit(stream, peer)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    if self.error_logged.is_none_or(|logged| self.now - logged > ACCEPT_BURST) {
                        let details = json!({ "error": error.to_string() });
                        self.log.event(Level::Error, "connections cannot be accepted; trying again", details);
                        self.error_logged = Some(self.now);
                    }
                    self.make_room();
                    // Fails only for a wrong argument.
                    let _ = self.watch_listener(EventFlags::empty(), false);
                    self.paused_until = Some(self.now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Takes a connection in; at the bound, another one makes room, or else the new one is answered 503.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Result<()> {
        metrics::CONNECTIONS.count();
        let id = self.next_id;
        self.next_id += 1;
        let client = Client::new(stream, peer, id, &self.epoll)?;
        let has_room = self.clients.len() - self.closing < self.limits.connections_max || self.make_room();
        self.clients.insert(id, client);
        if has_room {
            self.wait(id, Wait::Request);
        } else {
            metrics::CONNECTIONS_REFUSED.count();
            self.refuse(id, Rejection::ConnectionsMax);
        }
        Ok(())
    }

    /// Closes the connection that has kept the gate waiting longest for the head of a request, if there is one.
    fn make_room(&mut self) -> bool {
        let waiting = [Wait::Request, Wait::Head].map(|wait| {
            // One of which something has come that was not read yet is not idle.
            let idle = |id: &ClientId| self.clients.get(id).is_some_and(|client| !client.input_waits());
            let (end, id) = self.deadlines.longest(wait).find(|(_, id)| idle(id))?;
            Some((end - self.time(wait), id))
        });
        let Some((_, id)) = waiting.into_iter().flatten().min() else { return false };
        metrics::CONNECTIONS_EVICTED.count();
        self.close(id);
        true
    }

    // ---- a client ----

    /// What epoll has said of a client.
    fn on_client(&mut self, id: ClientId, flags: EventFlags) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.state {
            State::Sending(_) => self.read(id),
            State::Reading { .. } if flags.contains(EventFlags::OUT) => self.write(id),
            State::Closing { .. } => {
                if !client.throw_away(&mut self.buffer, THROWN_AWAY_BYTES_MAX) {
                    self.close(id);
                }
            }
            // It has gone. A request that is with tiny_http is answered all the same.
            _ if flags.intersects(EventFlags::HUP | EventFlags::ERR) => self.close(id),
            // It sends nothing more, and may have gone: another gets its place.
            State::Parked(_) => self.ask_again(id, Some(WaitResult::Left)),
            // It sends ahead: that waits in the kernel.
            State::Queued(_) | State::Waiting(_) => self.watch(id, EventFlags::empty()),
            State::Reading { .. } => self.watch(id, EventFlags::OUT),
        }
    }

    fn read(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let in_body = client.deadline.is_some_and(|(wait, _)| wait == Wait::Body);
        let bytes = if in_body { BODY_READ_BYTES } else { READ_BYTES };
        if client.read(&mut self.buffer[..bytes]).is_err() {
            return self.close(id);
        }
        self.proceed(id);
    }

    /// Takes the request further with what has come.
    fn proceed(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let State::Sending(request) = &mut client.state else { return };
        if request.is_none() && client.input.is_empty() {
            client.input = Vec::new(); // an idle connection keeps no buffer
            if client.ended || self.draining_until.is_some() {
                return self.end(id);
            }
            self.watch(id, EventFlags::IN);
            return self.wait(id, Wait::Request);
        }
        let request = request.get_or_insert_with(|| Box::new(Request::new(&self.limits)));
        let progress = match request.advance(&mut client.input, &self.limits) {
            Ok(progress) => progress,
            Err(rejection) => return self.refuse(id, rejection),
        };
        if progress == Progress::Whole {
            if self.hold(id) {
                self.pass_on(id);
            }
            return;
        }
        if client.ended {
            return self.refuse(id, Rejection::Incomplete);
        }
        if self.draining_until.is_some() {
            return self.linger(id); // what is half sent is not waited for
        }
        let begins = |wait| client.deadline.is_none_or(|(known, _)| known != wait);
        match progress {
            Progress::Head if begins(Wait::Head) => self.wait(id, Wait::Head),
            Progress::Body if begins(Wait::Body) => {
                let waits = request.head.as_ref().is_some_and(|head| head.expects_continue);
                let sent_nothing = request.body.is_empty() && client.input.is_empty();
                if waits && sent_nothing && client.write_interim(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
                    return self.close(id);
                }
                self.wait(id, Wait::Body);
            }
            _ => {}
        }
        self.watch(id, EventFlags::IN);
        self.hold(id);
    }

    /// Has a whole request passed on to tiny_http: a small delivery at the end of this turn, another when there is a lone
    /// connection for it.
    fn pass_on(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let State::Sending(Some(request)) = std::mem::replace(&mut client.state, State::Sending(None)) else { return };
        let is_delivery = request.head.as_ref().is_some_and(|head| head.is_delivery);
        let is_small = request.body.len() <= PIPELINED_BODY_BYTES_MAX;
        client.state = State::Queued(request);
        if is_delivery && is_small {
            match self.upstream.pipeline(self.limits.connections_max.div_ceil(PIPELINES)) {
                Some((index, number)) => self.send(id, index, Some(number)),
                None => self.refuse(id, Rejection::UpstreamBusy),
            }
        } else if self.queue.len() < QUEUE_MAX {
            self.queue.push_back(id);
            self.wait(id, Wait::Turn);
        } else {
            self.refuse(id, Rejection::UpstreamBusy);
        }
    }

    /// Gives the lone connections that have no request the next ones, those of probers first.
    fn send_queued(&mut self) {
        while let Some(index) = self.upstream.lone() {
            if let Some(prober) = self.probers.pop() {
                self.upstream.probe(index, Asker::Prober(prober), self.now);
            } else if self.waiters.begins_round(self.now) {
                self.list_waiters(index);
            } else if let Some(id) = self.queue.pop_front() {
                self.send(id, index, None);
            } else {
                return;
            }
        }
    }

    fn send(&mut self, id: ClientId, index: usize, pipeline: Option<u64>) {
        self.no_deadline(id);
        let Some(client) = self.clients.get_mut(&id) else { return };
        let State::Queued(mut request) = std::mem::replace(&mut client.state, State::Sending(None)) else { return };
        let client_address = request.client(client.peer, &self.proxies);
        request.commits = self.waiters.commits();
        let waited = request.waited();
        let passed = Passed { pipeline, arrived_us: request.arrived_us, waited, client: &client_address };
        let body = std::mem::take(&mut request.body);
        let mut bytes = request.forward.clone();
        let length = body.len();
        if request.head.as_ref().is_some_and(|head| head.is_https) && self.proxies.trust(client.peer.ip()) {
            bytes.extend_from_slice(b"X-Forwarded-Proto: https\r\n");
        }
        let written = write!(bytes, "{PASSED_FIELD}: {passed}\r\nContent-Length: {length}\r\n\r\n");
        written.expect("a Vec takes every write");
        bytes.extend_from_slice(&body);
        let is_head = request.head.as_ref().is_some_and(|head| head.is_head);
        self.upstream.send(index, &bytes, Exchange { asker: Asker::Client(id), is_head }, self.now);
        client.state = State::Waiting(request);
    }

    fn answer_all(&mut self, answered: &mut Vec<Answered>) {
        for (asker, response) in answered.drain(..) {
            let id = match asker {
                Asker::Client(id) => id,
                Asker::Waiters(listed) => {
                    self.end_round(&listed, response.and_then(|response| response.woken()));
                    continue;
                }
                Asker::Prober(_) | Asker::Opening => continue,
            };
            let Some(client) = self.clients.get_mut(&id) else { continue }; // it has gone
            let State::Waiting(request) = &client.state else { continue };
            let Some(response) = response else {
                self.refuse(id, Rejection::UpstreamFailed);
                continue;
            };
            if let Some(wait) = response.wait() {
                self.park(id, wait);
                continue;
            }
            let keep_alive = request.head.as_ref().and_then(|head| head.keep_alive);
            let keep_alive = keep_alive.filter(|_| self.draining_until.is_none());
            let result = if response.is_ok() { WaitResult::Message } else { WaitResult::Failed };
            let answer = response.with_field(keep_alive.unwrap_or("Connection: close\r\n"));
            let then = if keep_alive.is_some() { Then::KeepAlive } else { Then::Close };
            self.end_wait(id, result);
            let Some(client) = self.clients.get_mut(&id) else { continue };
            client.state = State::Reading { answer, written: 0, then };
            self.write(id);
            self.hold(id);
        }
    }

    fn write(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.write() {
            Ok(true) => self.after_answer(id),
            Ok(false) => {
                if client.deadline.is_none_or(|(wait, _)| wait != Wait::Read) {
                    self.wait(id, Wait::Read);
                }
                self.watch(id, EventFlags::OUT);
                self.count_held(id);
            }
            Err(_) => self.close(id), // it has gone
        }
    }

    /// The client has been sent its answer.
    fn after_answer(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let State::Reading { then, .. } = client.state else { return };
        match then {
            Then::KeepAlive => {
                client.state = State::Sending(None);
                self.count_held(id);
                self.proceed(id);
            }
            Then::Close => self.end(id),
            Then::Linger => self.linger(id),
        }
    }

    /// Answers a request that is not passed on, after which the connection ends.
    fn refuse(&mut self, id: ClientId, rejection: Rejection) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        // Nothing but the end of line that some clients add to a body: no request has begun (RFC 9112 section 2.2).
        let is_stray = matches!(rejection, Rejection::HeadTime | Rejection::Incomplete) && client.input == b"\r\n";
        if is_stray && client.request().is_none_or(|request| request.head.is_none()) {
            return self.close(id);
        }
        let address = client.request().map(|request| request.client(client.peer, &self.proxies));
        let address = address.unwrap_or_else(|| client.peer.to_string());
        let nothing = Asked { method: None, path: None, client: Some(&address), arrived_us: clock_us(), waited: None };
        let asked = client.request().map_or(nothing, |request| request.asked(&address));
        let mut answer = Vec::new();
        metrics::REJECTIONS.count(rejection);
        let sent = client.request().map_or_else(Sent::default, Request::sent);
        refusal::answer(rejection, asked, sent).write(asked, "Connection: close\r\n", &self.log, &mut answer);
        client.input = Vec::new();
        self.end_wait(id, if rejection == Rejection::WaitersMax { WaitResult::Refused } else { WaitResult::Failed });
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.state = State::Reading { answer, written: 0, then: Then::Linger };
        self.queue.retain(|queued| *queued != id);
        self.write(id);
    }

    /// Ends a connection that has been answered, or was asked nothing.
    fn end(&mut self, id: ClientId) {
        let Some(client) = self.clients.get(&id) else { return };
        if client.input.is_empty() && !client.input_waits() { self.close(id) } else { self.linger(id) }
    }

    /// Closes the sending side, and waits until the client has closed its own.
    fn linger(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.ended || client.finish().is_err() {
            return self.close(id);
        }
        client.input = Vec::new();
        client.state = State::Closing { thrown_away: 0 };
        self.closing += 1;
        self.watch(id, EventFlags::IN);
        self.wait(id, Wait::Close);
        self.count_held(id);
        if self.closing > CLOSING_MAX {
            let oldest = self.deadlines.longest(Wait::Close).next();
            oldest.into_iter().for_each(|(_, oldest)| self.close(oldest));
        }
    }

    fn close(&mut self, id: ClientId) {
        self.no_deadline(id);
        self.end_wait(id, WaitResult::Left);
        let Some(client) = self.clients.remove(&id) else { return };
        self.held_bytes -= client.held_bytes;
        match client.state {
            State::Closing { .. } => self.closing -= 1,
            State::Queued(_) => self.queue.retain(|queued| *queued != id),
            _ => {}
        }
    }

    fn watch(&mut self, id: ClientId, interest: EventFlags) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.watch(interest, id, &self.epoll).is_err() {
            self.close(id);
        }
    }

    // ---- waiting for messages ----

    /// Has a client wait for whom a worker has found nothing, if there is a place.
    fn park(&mut self, id: ClientId, wait: api::Wait) {
        let time_max = self.time(Wait::Arrival);
        let Some(client) = self.clients.get_mut(&id) else { return };
        let State::Waiting(mut request) = std::mem::replace(&mut client.state, State::Sending(None)) else { return };
        let (now, commits) = (self.now, request.commits);
        let first = || Waiting {
            number: self.waiters.next_number(),
            end: now + wait.time.min(time_max),
            cursor: 0,
            parked: now,
            time: Duration::ZERO,
            ended: None,
        };
        let waiting = request.waiting.get_or_insert_with(first);
        (waiting.cursor, waiting.parked) = (wait.cursor, now);
        let end = waiting.end;
        client.state = State::Parked(request);
        if self.draining_until.is_some() {
            self.ask_again(id, Some(WaitResult::Drained));
        } else if end <= now {
            self.ask_again(id, Some(WaitResult::Timeout));
        } else if self.waiters.take_in(id, commits, now) {
            self.wait_until(id, Wait::Arrival, end);
            self.watch(id, EventFlags::RDHUP);
        } else {
            self.refuse(id, Rejection::WaitersMax);
        }
    }

    /// Has a worker look again for a client that waits. It is the last time if the wait has ended, and the client's place
    /// is free then.
    fn ask_again(&mut self, id: ClientId, ended: Option<WaitResult>) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.state = match std::mem::replace(&mut client.state, State::Sending(None)) {
            State::Parked(mut request) => {
                if let Some(waiting) = &mut request.waiting {
                    waiting.time += self.now - waiting.parked;
                    waiting.parked = self.now;
                    waiting.ended = ended;
                }
                State::Queued(request)
            }
            other => {
                client.state = other; // it is being asked
                return;
            }
        };
        if ended.is_some() {
            self.waiters.leave(id);
        }
        self.queue.push_back(id);
        self.wait(id, Wait::Turn);
    }

    /// Has a worker look which of those that wait may have a message by now.
    fn list_waiters(&mut self, index: usize) {
        let mut listed = Vec::new();
        let lines = self.waiters.places().filter_map(|id| {
            let State::Parked(request) = &self.clients.get(&id)?.state else { return None };
            let Waiting { number, cursor, .. } = request.waiting.as_ref()?;
            listed.push((id, *number));
            Some((*cursor, request.target()))
        });
        let list = waiting_list(lines);
        self.upstream.list_waiters(index, &list, listed, self.now);
    }

    /// Asks those again that may have a message. For the others nothing has come.
    fn end_round(&mut self, listed: &[(ClientId, u64)], cursors: Option<Vec<Option<i64>>>) {
        self.waiters.end_round(self.now);
        for ((id, number), cursor) in listed.iter().zip(cursors.unwrap_or_default()) {
            let Some(State::Parked(request)) = self.clients.get_mut(id).map(|client| &mut client.state) else {
                continue;
            };
            // It may have been answered meanwhile, and wait for something else.
            let Some(waiting) = request.waiting.as_mut().filter(|waiting| waiting.number == *number) else { continue };
            match cursor {
                Some(cursor) => waiting.cursor = cursor,
                None => self.ask_again(*id, None),
            }
        }
    }

    /// Counts how the wait of a client has ended, if it was waiting.
    fn end_wait(&mut self, id: ClientId, result: WaitResult) {
        let waiting = match self.clients.get_mut(&id).map(|client| &mut client.state) {
            Some(State::Queued(request) | State::Waiting(request) | State::Parked(request)) => request.waiting.take(),
            _ => None,
        };
        if let Some(waiting) = waiting {
            self.waiters.leave(id);
            metrics::WAITS.count(waiting.ended.unwrap_or(result));
        }
    }

    // ---- bounds ----

    /// Counts what a client holds by now. Where that is more than all may hold together, the requests and answers that
    /// have been under way longest are cut. Whether the client is still sending its request.
    fn hold(&mut self, id: ClientId) -> bool {
        let holds = self.count_held(id);
        let max = self.limits.held_bytes_max + self.limits.head_bytes_max; // a head beside the largest body
        let share = if holds <= PIPELINED_BODY_BYTES_MAX { max / SMALL_SHARE } else { 0 };
        while self.held_bytes > max + share {
            let under_way = [Wait::Head, Wait::Body, Wait::Read].into_iter().filter_map(|wait| {
                self.deadlines.longest(wait).next().map(|(end, id)| (end - self.time(wait), wait, id))
            });
            match under_way.min() {
                Some((_, Wait::Read, oldest)) => self.cut(oldest),
                Some((.., oldest)) => self.refuse(oldest, Rejection::HeldBytesMax),
                None if self.is_sending(id) => self.refuse(id, Rejection::HeldBytesMax),
                None => break,
            }
        }
        self.is_sending(id)
    }

    /// Counts what a client holds by now, and cuts nothing: what is cut ends here itself.
    fn count_held(&mut self, id: ClientId) -> usize {
        let Some(client) = self.clients.get_mut(&id) else { return 0 };
        client.input.shrink_to_fit(); // it is counted by its length
        let holds = client.holds();
        self.held_bytes = self.held_bytes - client.held_bytes + holds;
        client.held_bytes = holds;
        holds
    }

    fn is_sending(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_some_and(|client| matches!(client.state, State::Sending(_)))
    }

    /// Resets the connection of a client that does not take its answer.
    fn cut(&mut self, id: ClientId) {
        metrics::CONNECTIONS_CUT.count();
        if let Some(client) = self.clients.get(&id) {
            client.reset_on_close();
        }
        self.close(id);
    }

    /// How long a client is waited for. All of it is a total: one byte a second does not extend it.
    fn time(&self, wait: Wait) -> Duration {
        match wait {
            Wait::Request => self.limits.idle_time,
            Wait::Head => self.limits.head_time,
            Wait::Body => self.limits.body_time,
            Wait::Turn => TURN_TIME,
            Wait::Arrival => ARRIVAL_TIME_MAX,
            Wait::Read => self.limits.write_time,
            Wait::Close if self.draining_until.is_some() => DRAINING_CLOSE_TIME,
            Wait::Close => CLOSE_TIME,
        }
    }

    fn wait(&mut self, id: ClientId, wait: Wait) {
        self.wait_until(id, wait, self.now + self.time(wait));
    }

    fn wait_until(&mut self, id: ClientId, wait: Wait, end: Instant) {
        self.no_deadline(id);
        let deadline = (wait, end);
        if let Some(client) = self.clients.get_mut(&id) {
            client.deadline = Some(deadline);
            self.deadlines.insert(deadline, id);
        }
    }

    fn no_deadline(&mut self, id: ClientId) {
        if let Some(deadline) = self.clients.get_mut(&id).and_then(|client| client.deadline.take()) {
            self.deadlines.remove(deadline, id);
        }
    }

    fn end_what_is_due(&mut self) {
        if self.paused_until.is_some_and(|end| end <= self.now) {
            self.paused_until = None;
            let _ = self.watch_listener(EventFlags::IN, false); // fails only for a wrong argument
        }
        self.waiters.call_round(self.now);
        while let Some((_, wait, id)) = self.deadlines.next().filter(|(end, ..)| *end <= self.now) {
            match wait {
                Wait::Request => {
                    metrics::CONNECTIONS_IDLE_CLOSED.count();
                    self.close(id);
                }
                Wait::Head => self.refuse(id, Rejection::HeadTime),
                Wait::Body => self.refuse(id, Rejection::BodyTime),
                Wait::Turn => self.refuse(id, Rejection::UpstreamBusy),
                Wait::Arrival => self.ask_again(id, Some(WaitResult::Timeout)),
                Wait::Read => self.cut(id),
                Wait::Close => self.close(id),
            }
        }
    }

    // ---- from other threads ----

    fn obey_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Drain(deadline) => self.drain(deadline),
                Command::Probe(prober) => self.probers.push(prober),
            }
        }
    }

    /// Stops accepting, answers the requests that are whole, and ends every other connection.
    ///
    /// The listener is closed but not shut down: if a service manager holds the same socket, what it queues from then on
    /// is for the successor.
    fn drain(&mut self, deadline: Instant) {
        self.draining_until = Some(deadline);
        self.listener = None;
        let ids: Vec<ClientId> = self.clients.keys().copied().collect();
        for id in ids {
            match self.clients.get(&id).map(|client| &client.state) {
                Some(State::Sending(_)) => self.read(id),
                Some(State::Parked(_)) => self.ask_again(id, Some(WaitResult::Drained)),
                Some(State::Closing { .. }) => self.wait(id, Wait::Close),
                _ => {}
            }
        }
    }
}
