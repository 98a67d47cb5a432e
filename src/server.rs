//! tiny_http, and the fixed pool of workers that answer what it takes in.
//!
//! It promises that each request is answered once, counted once and logged once, that deliveries are answered in the
//! order in which they came over a pipelined connection, and that stopping answers what has been taken. The gate in front
//! bounds each request, and says in the field [`PASSED_FIELD`] which way and when it came. What an answer is,
//! [`api`](crate::api) knows.
//!
//! 1. One worker at a time receives. It puts a pipelined delivery into the line before another may receive, so the line
//!    has the order of the connection. A request that came alone is answered while another worker receives.
//! 2. Deliveries are answered behind the line, a group with one write for each connection; any other request by its worker.
//! 3. A worker never waits for messages: [`waiting`] says how a read that does is answered.

mod waiting;

pub use waiting::{Commits, WOKEN_TARGET, wait_of, waiting_list, woken_of};

use crate::answer::{Answer, Asked, Waited, clock_us};
use crate::api::{self, Api, Request, Step};
use crate::delivery::{Delivery, Source};
use crate::log::{Level, Log};
use crate::metrics::{Gauge, metrics};
use crate::mutex::UNPOISONED;
use crate::reply::{Reply, Status};
use crate::store::{Line, Outcome, Store, Stored};
use serde_json::json;
use std::fmt;
use std::io::{Result, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Of each request: its [`Passed`]. Only the gate sets it.
pub const PASSED_FIELD: &str = "X-Inbox-Passed";

/// A target that proves a connection: a worker answers it, and it is neither counted nor logged. No client can ask for
/// it, since HTTP has no such form of target.
pub const PROBE_TARGET: &str = "probe";

/// The stack of a worker: the deepest path is the JSON parser at its limit of 128 levels, well under 128 KiB.
const STACK_BYTES: usize = 512 << 10;

metrics! {
    /// Those that a worker has taken and that are not answered yet.
    static REQUESTS_IN_FLIGHT: Gauge = Gauge::new(
        "inbox_requests_in_flight",
        "Requests under way, deliveries that wait for their COMMIT included.",
    );
}

/// What the gate says of a request that it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed<'a> {
    /// The number of the connection, where requests are pipelined over it; None: nothing comes behind this one before it
    /// is answered. No two connections have had the same number.
    pub pipeline: Option<u64>,
    /// When it arrived, by [`clock_us`].
    pub arrived_us: u64,
    /// None: it is asked for the first time.
    pub waited: Option<Waited>,
    /// The client's address.
    pub client: &'a str,
}

impl fmt::Display for Passed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pipeline {
            Some(pipeline) => write!(f, "{pipeline} {} ", self.arrived_us)?,
            None => write!(f, "- {} ", self.arrived_us)?,
        }
        if let Some(Waited { cursor, time_us, is_over }) = self.waited {
            write!(f, "{cursor},{time_us},{is_over}")?;
        }
        write!(f, " {}", self.client)
    }
}

impl<'a> Passed<'a> {
    fn of(request: &'a tiny_http::Request) -> Option<Passed<'a>> {
        let (pipeline, rest) = fields(request, PASSED_FIELD).next()?.split_once(' ')?;
        let (arrived_us, rest) = rest.split_once(' ')?;
        let (waited, client) = rest.split_once(' ')?;
        let waited = waited.split_once(',').and_then(|(cursor, rest)| {
            let (time_us, is_over) = rest.split_once(',')?;
            let (cursor, time_us) = (cursor.parse().ok()?, time_us.parse().ok()?);
            Some(Waited { cursor, time_us, is_over: is_over.parse().ok()? })
        });
        Some(Passed { pipeline: pipeline.parse().ok(), arrived_us: arrived_us.parse().ok()?, waited, client })
    }
}

/// The workers and the tiny_http server that they pull from.
pub struct Server {
    tiny: Arc<tiny_http::Server>,
    workers: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
    commits: Arc<Commits>,
}

/// What the workers share.
struct Work {
    tiny: Arc<tiny_http::Server>,
    /// The worker that has it receives (invariant 1). Held while waiting for a request, and until a delivery is in the line.
    receiving: Mutex<()>,
    line: Line<Ticket>,
    stopping: Arc<AtomicBool>,
    api: Api,
    log: Log,
}

/// A delivery in the line.
struct Ticket {
    request: tiny_http::Request,
    /// [`Passed::pipeline`] of the request.
    pipeline: Option<u64>,
    /// Its answer when it was refused; None: it depends on what becomes of its messages.
    refused: Option<Answer>,
    source: Source,
    /// The message_id of its first message, or else of its first status.
    first_id: Option<String>,
}

impl Server {
    /// Serves the listener with `workers` threads. Fails when not all of them can be started.
    pub fn start(
        listener: impl Into<tiny_http::Listener>,
        workers: usize,
        api: Api,
        store: Arc<Store>,
        log: Log,
    ) -> Result<Server> {
        let tiny = tiny_http::Server::from_listener(listener, None).map_err(std::io::Error::other)?;
        let tiny = Arc::new(tiny);
        let stopping = Arc::new(AtomicBool::new(false));
        let log_too = log.clone();
        let commits = Arc::new(Commits::new()?);
        let commits_too = Arc::clone(&commits);
        let line = Line::start(store, move |group| answer_group(group, &commits_too, &log_too))?;
        let (tiny_too, stopping_too) = (Arc::clone(&tiny), Arc::clone(&stopping));
        let work = Work { tiny: tiny_too, receiving: Mutex::new(()), line, stopping: stopping_too, api, log };
        let work = Arc::new(work);
        let workers = (0..workers)
            .map(|index| {
                let work = Arc::clone(&work);
                let thread = std::thread::Builder::new().name(format!("worker-{index}")).stack_size(STACK_BYTES);
                thread.spawn(move || work.run())
            })
            .collect::<Result<_>>()?;
        Ok(Server { tiny, workers, stopping, commits })
    }

    /// The commits with new messages, from now on.
    pub fn commits(&self) -> Arc<Commits> {
        Arc::clone(&self.commits)
    }

    /// Answers what tiny_http has accepted, then ends the workers; gives up waiting for them at the deadline.
    ///
    /// Returns how many workers were still busy then.
    pub fn stop(self, deadline: Instant) -> usize {
        self.stopping.store(true, Relaxed);
        for _ in &self.workers {
            self.tiny.unblock(); // wakes one receiver each, after the requests that were queued before
        }
        let busy = || self.workers.iter().filter(|worker| !worker.is_finished()).count();
        while busy() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        busy()
    }
}

impl Work {
    fn run(&self) {
        let mut kept = None;
        loop {
            let receiving = kept.take().unwrap_or_else(|| self.receiving.lock().expect(UNPOISONED));
            let request = match self.tiny.recv() {
                Ok(request) => request,
                Err(_) if self.stopping.load(Relaxed) => return,
                // tiny_http reports an error of its accept loop this way; other workers are not concerned.
                Err(error) => {
                    let details = json!({ "error": error.to_string() });
                    self.log.event(Level::Error, "the server could not accept a connection", details);
                    continue;
                }
            };
            // Kept for the next one too: to wake another worker for each delivery would cost more than to take it.
            let pipeline = Passed::of(&request).and_then(|passed| passed.pipeline);
            kept = Some(receiving).filter(|_| pipeline.is_some());
            self.take(request, pipeline);
        }
    }

    /// Answers a request, or puts it into the line.
    fn take(&self, mut request: tiny_http::Request, pipeline: Option<u64>) {
        if request.url() == PROBE_TARGET {
            // Who asked finds the connection closed when this fails.
            let _ = request.respond(tiny_http::Response::empty(200));
            return;
        }
        if request.url() == WOKEN_TARGET {
            return self.wake(request);
        }
        REQUESTS_IN_FLIGHT.rise();
        let answer = match read_body(&mut request) {
            Ok(body) => self.answer(&request, body),
            Err(reason) => Step::Answer(incomplete(reason)),
        };
        let (delivery, refused) = match answer {
            Step::Store(delivery) => (delivery, None),
            Step::Answer(answer) if pipeline.is_some() => (Delivery::empty(Source::Native), Some(answer)),
            Step::Answer(answer) => {
                let mut bytes = Vec::new();
                write(answer, &request, &self.log, &mut bytes);
                return Responses { bytes, writers: vec![request.into_writer()] }.send();
            }
            // Only a read waits, and reads are not pipelined.
            Step::Wait(wait) => {
                REQUESTS_IN_FLIGHT.fall();
                return Responses { bytes: waiting::response(wait), writers: vec![request.into_writer()] }.send();
            }
        };
        let first_id = delivery.first_id().map(|id| id.as_str().to_owned());
        let source = delivery.source;
        self.line.push(delivery, Ticket { request, pipeline, refused, source, first_id });
    }

    /// Looks which of those that wait are to be asked again.
    fn wake(&self, mut request: tiny_http::Request) {
        let body = read_body(&mut request).unwrap_or_default();
        let woken = waiting::listed(&body).and_then(|waiting| self.api.woken(&waiting).ok());
        // The gate keeps them waiting when it was not possible to look, and asks all of them at the end of their time.
        let bytes = woken
            .map_or_else(|| b"HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n".to_vec(), |cursors| waiting::woken(&cursors));
        Responses { bytes, writers: vec![request.into_writer()] }.send();
    }

    fn answer(&self, request: &tiny_http::Request, body: Vec<u8>) -> Step {
        let (path, query) = split(request.url());
        let all = request.headers().iter();
        let all: Vec<_> = all.map(|header| (header.field.as_str().as_str(), header.value.as_str())).collect();
        let authorizations: Vec<&str> = fields(request, "Authorization").collect();
        self.api.answer(&Request {
            method: request.method().as_str(),
            path,
            query,
            fields: &all,
            authorizations: &authorizations,
            host: fields(request, "Host").next(), // the gate lets one through at most
            waited: Passed::of(request).and_then(|passed| passed.waited),
            body,
        })
    }
}

/// What the line does with each group: answers it in its order, with one write for each connection, and then lets those know that wait.
fn answer_group(group: Vec<(Ticket, Outcome)>, commits: &Commits, log: &Log) {
    let is_new = |outcome: &Outcome| outcome.as_ref().is_ok_and(|stored| stored.contains(&Stored::Created));
    let has_new = group.iter().any(|(_, outcome)| is_new(outcome));
    // A handful: the pipelined connections by their number, and each lone one.
    let mut all: Vec<(Option<u64>, Responses)> = Vec::new();
    for (Ticket { request, pipeline, refused, source, first_id }, outcome) in group {
        let answer =
            refused.unwrap_or_else(|| api::stored(source, first_id, request.body_length().unwrap_or(0), outcome));
        let known = all.iter().position(|(known, _)| pipeline.is_some() && *known == pipeline);
        let index = known.unwrap_or_else(|| {
            all.push((pipeline, Responses::default()));
            all.len() - 1
        });
        let (_, responses) = &mut all[index];
        write(answer, &request, log, &mut responses.bytes);
        responses.writers.push(request.into_writer());
    }
    all.into_iter().for_each(|(_, responses)| responses.send());
    if has_new {
        commits.committed();
    }
}

/// Counts and logs an answer, and appends the response.
fn write(answer: Answer, request: &tiny_http::Request, log: &Log, out: &mut Vec<u8>) {
    let passed = Passed::of(request);
    let (path, _) = split(request.url());
    let asked = Asked {
        method: Some(request.method().as_str()),
        path: Some(path),
        client: passed.map(|passed| passed.client),
        arrived_us: passed.map_or_else(clock_us, |passed| passed.arrived_us),
        waited: passed.and_then(|passed| passed.waited),
    };
    REQUESTS_IN_FLIGHT.fall();
    answer.write(asked, "", log, out);
}

/// Responses to requests that followed each other on one connection.
#[derive(Default)]
struct Responses {
    bytes: Vec<u8>,
    writers: Vec<Box<dyn Write + Send>>,
}

impl Responses {
    /// Writes all of them at once.
    ///
    /// tiny_http lets a writer write once the one before it is dropped, even if that one has never written. So the first
    /// waits for its predecessor by a flush, which costs nothing else; then all but the last are dropped in their order,
    /// and the last writes for all.
    fn send(mut self) {
        let Some(mut last) = self.writers.pop() else { return };
        let waited = self.writers.first_mut().map_or(Ok(()), |first| first.flush());
        drop(self.writers);
        // When the connection is broken, the gate has answered its clients, and what they sent is stored all the same.
        let _ = waited.and_then(|()| last.write_all(&self.bytes)).and_then(|()| last.flush());
    }
}

/// The path of a target, and its query without the `?`.
fn split(target: &str) -> (&str, &str) {
    target.split_once('?').unwrap_or((target, ""))
}

/// The value of each field of that name.
fn fields<'a>(request: &'a tiny_http::Request, name: &'static str) -> impl Iterator<Item = &'a str> {
    let named = move |header: &&tiny_http::Header| header.field.equiv(name);
    request.headers().iter().filter(named).map(|header| header.value.as_str())
}

/// The body, which the gate has bounded. `Err` says what was wrong with the connection.
fn read_body(request: &mut tiny_http::Request) -> std::result::Result<Vec<u8>, String> {
    let declared = request.body_length().unwrap_or(0);
    let mut body = Vec::with_capacity(declared);
    request.as_reader().read_to_end(&mut body).map_err(|error| error.to_string())?;
    if body.len() != declared {
        return Err(format!("{} of {declared} bytes of the body arrived", body.len()));
    }
    Ok(body)
}

/// The gate sends whole requests only, so this is for a connection to it that has broken.
fn incomplete(reason: String) -> Answer {
    let reply = Reply::detail(Status::BadRequest, "the request's body is incomplete");
    Answer { reason: Some(reason), ..reply.into() }
}
