//! tiny_http and the fixed pool of workers that answer what it takes in.
//!
//! It promises that each request is answered once, counted once and logged once, and that stopping answers what has
//! been taken. What stands in front, the gate, bounds each request, and says who the client is and when the request
//! arrived, in the two header fields below. What an answer is, [`api`](crate::api) knows.

mod receivers;

use crate::api::{Answer, Api, Request, Step};
use crate::log::{Level, Log, RequestLine};
use crate::metrics::{Metrics, WebhookResult};
use crate::path::Path;
use crate::reply::{EVERY_REPLY, Reply, request_id};
use receivers::{Place, Receivers};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The client's address. Only what stands in front of the server sets it.
pub const CLIENT_FIELD: &str = "X-Inbox-Client";
/// When the request arrived, as [`clock_us`] told it. Only what stands in front of the server sets it.
pub const ARRIVAL_FIELD: &str = "X-Inbox-Arrival";

/// A target that proves a connection: a worker answers it, and it is neither counted nor logged. No client can ask for
/// it, since it is no form of target that HTTP has.
pub const PROBE_TARGET: &str = "probe";

/// The stack of a worker: the deepest path is the JSON parser at its limit of 128 levels, well under 128 KiB.
const STACK_BYTES: usize = 512 << 10;

/// Microseconds on this process's monotonic clock, for passing an instant through a header field.
pub fn clock_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64 // 2^64 µs are 584,000 years
}

/// The workers and the tiny_http server that they pull from.
pub struct Server {
    tiny: Arc<tiny_http::Server>,
    workers: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
}

/// What the workers share.
struct Work {
    tiny: Arc<tiny_http::Server>,
    receivers: Receivers,
    stopping: Arc<AtomicBool>,
    api: Arc<Api>,
    metrics: Arc<Metrics>,
    log: Log,
}

impl Server {
    /// Serves the listener with `workers` threads. Fails when they cannot all be started.
    pub fn start(
        listener: impl Into<tiny_http::Listener>,
        workers: usize,
        api: Arc<Api>,
        metrics: Arc<Metrics>,
        log: Log,
    ) -> std::io::Result<Server> {
        let tiny = tiny_http::Server::from_listener(listener, None).map_err(std::io::Error::other)?;
        let tiny = Arc::new(tiny);
        let stopping = Arc::new(AtomicBool::new(false));
        let receivers = Receivers::new();
        let work = Work { tiny: tiny.clone(), receivers, stopping: stopping.clone(), api, metrics, log };
        let work = Arc::new(work);
        let workers = (0..workers)
            .map(|index| {
                let work = Arc::clone(&work);
                let thread = std::thread::Builder::new().name(format!("worker-{index}")).stack_size(STACK_BYTES);
                thread.spawn(move || work.run())
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Server { tiny, workers, stopping })
    }

    /// Answers what tiny_http has taken in, then ends the workers; gives up waiting for them at the deadline.
    ///
    /// Returns how many workers were still busy then.
    pub fn stop(self, deadline: Instant) -> usize {
        self.stopping.store(true, Ordering::Relaxed);
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
    fn run(self: &Arc<Work>) {
        let mut place = None;
        loop {
            let here = place.take().unwrap_or_else(|| self.receivers.enter());
            match self.tiny.recv() {
                Ok(request) => place = self.handle(request, here),
                Err(_) if self.stopping.load(Ordering::Relaxed) => return,
                // tiny_http reports an error of its accept loop this way; other workers are not concerned.
                Err(error) => {
                    let details = serde_json::json!({ "error": error.to_string() });
                    self.log.event(Level::Error, "the server could not accept a connection", details);
                }
            }
        }
    }

    /// Answers a request, or has it answered when its messages are on disk. Returns the worker's place if it has not
    /// made way for others meanwhile.
    fn handle<'a>(self: &'a Arc<Work>, mut request: tiny_http::Request, place: Place<'a>) -> Option<Place<'a>> {
        if request.url() == PROBE_TARGET {
            // Who asked will find the connection closed.
            let _ = request.respond(tiny_http::Response::empty(200));
            return Some(place);
        }
        let taken_us = clock_us();
        self.metrics.requests_in_flight.fetch_add(1, Ordering::Relaxed);
        // Deliveries are quick until they wait for their COMMIT. Everything else may wait for the database.
        let mut place = Some(place).filter(|_| *request.method() == tiny_http::Method::Post);
        let body = match read_body(&mut request) {
            Ok(body) => body,
            Err(reason) => {
                self.finish(request, taken_us, Answer::incomplete(reason));
                return place;
            }
        };
        let (path, query) = split(request.url());
        let signatures: Vec<&str> = fields(&request, "X-Signature").collect();
        let authorizations: Vec<&str> = fields(&request, "Authorization").collect();
        let method = request.method().as_str();
        let (signatures, authorizations) = (&*signatures, &*authorizations);
        let host = fields(&request, "Host").next(); // the gate lets one through at most
        match self.api.answer(&Request { method, path, query, signatures, authorizations, host, body }) {
            Step::Answer(answer) => self.finish(request, taken_us, answer),
            Step::Store(messages) => {
                let work = Arc::clone(self);
                let answered = move |answer| work.finish(request, taken_us, answer);
                self.api.store(messages, answered, || place = None);
            }
        }
        place
    }

    /// Counts, logs and answers.
    fn finish(&self, request: tiny_http::Request, taken_us: u64, answer: Answer) {
        let arrived_us = fields(&request, ARRIVAL_FIELD).next().and_then(|us| us.parse().ok()).unwrap_or(taken_us);
        let latency = Duration::from_micros(clock_us().saturating_sub(arrived_us));
        let (path, _) = split(request.url());
        let client = fields(&request, CLIENT_FIELD).next();
        let request_id = request_id();
        // Counted before it is sent, so that a client who has its answer finds it in /metrics.
        self.metrics.request(Path::of(path), answer.reply.status, latency);
        self.log.request(&line(&answer, request.method().as_str(), path, client, &request_id, latency));
        self.metrics.requests_in_flight.fetch_sub(1, Ordering::Relaxed);
        // A client that went away before its answer is no fault, and what it sent is stored all the same.
        let _ = request.respond(response(answer.reply, &request_id));
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
fn read_body(request: &mut tiny_http::Request) -> Result<Vec<u8>, String> {
    let declared = request.body_length().unwrap_or(0);
    let mut body = Vec::with_capacity(declared);
    request.as_reader().read_to_end(&mut body).map_err(|error| error.to_string())?;
    if body.len() != declared {
        return Err(format!("{} of {declared} bytes of the body arrived", body.len()));
    }
    Ok(body)
}

fn line<'a>(
    answer: &'a Answer,
    method: &'a str,
    path: &'a str,
    client: Option<&'a str>,
    request_id: &'a str,
    latency: Duration,
) -> RequestLine<'a> {
    let result = answer.delivery.as_ref().map(|delivery| delivery.result);
    RequestLine {
        level: match (answer.reply.status.code(), result) {
            (500.., _) | (_, Some(WebhookResult::InvalidSignature)) => Level::Error,
            (400.., Some(_)) => Level::Warning,
            _ => Level::Info,
        },
        request_id,
        method: Some(method),
        path: Some(path),
        status: answer.reply.status.code(),
        latency_ms: latency.as_micros() as f64 / 1e3,
        client,
        message_id: answer.delivery.as_ref().and_then(|delivery| delivery.message_id.as_deref()),
        dup: result.and_then(|result| match result {
            WebhookResult::Created => Some(false),
            WebhookResult::Duplicate => Some(true),
            _ => None,
        }),
        result: result.map(WebhookResult::label),
        reason: answer.reason.as_deref(),
    }
}

fn response(reply: Reply, request_id: &str) -> tiny_http::Response<std::io::Cursor<Vec<u8>>> {
    let fields = [("Content-Type", reply.content_type), ("X-Request-ID", request_id)];
    let fields =
        fields.into_iter().chain(EVERY_REPLY).chain(reply.headers.iter().map(|(name, value)| (*name, value.as_str())));
    let response = tiny_http::Response::from_data(reply.body)
        .with_status_code(reply.status.code())
        .with_chunked_threshold(usize::MAX); // always a Content-Length: the body is in memory anyway
    fields.fold(response, |response, (name, value)| {
        let header = tiny_http::Header::from_bytes(name, value);
        response.with_header(header.expect("names and values of reply fields are visible ASCII"))
    })
}
