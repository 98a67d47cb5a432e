//! What a request is answered, and how the answer is counted, logged and written: one way for gate, workers and notifier.

use crate::activity;
use crate::closed_set::{ClosedSet, closed_set};
use crate::delivery::Source;
use crate::log::{Level, Log, RequestLine};
use crate::metrics::{CounterTable, Counters, Histogram, Metric, Page, metrics};
use crate::path::Path;
use crate::refusals::{self, Refusal, Sent};
use crate::reply::{Reply, Status, request_id};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

closed_set! {
    /// The `result` label of `webhook_requests_total`.
    #[expect(missing_docs, reason = "the contract's table of a delivery's outcomes defines each")]
    pub enum WebhookResult;
    /// The label, which the log uses too.
    pub fn label() -> &'static str;
    TooLarge = "too_large",
    InvalidSignature = "invalid_signature",
    ValidationError = "validation_error",
    Created = "created",
    Duplicate = "duplicate",
    Ignored = "ignored",
    Unavailable = "unavailable",
}

impl WebhookResult {
    /// Whether the sender is answered 200.
    fn is_accepted(self) -> bool {
        match self {
            WebhookResult::Created | WebhookResult::Duplicate | WebhookResult::Ignored => true,
            WebhookResult::TooLarge
            | WebhookResult::InvalidSignature
            | WebhookResult::ValidationError
            | WebhookResult::Unavailable => false,
        }
    }
}

metrics! {
    static REQUESTS: Requests =
        Requests([const { [const { AtomicU64::new(0) }; Status::ALL.len()] }; Path::ALL.len() + 1]);
    static RESULTS: Counters<WebhookResult, { WebhookResult::ALL.len() }> =
        Counters::new("webhook_requests_total", "Deliveries, by result.", "result");
    static DELIVERIES: CounterTable<Source, WebhookResult, { Source::ALL.len() }, { WebhookResult::ALL.len() }> =
        CounterTable::new("inbox_deliveries_total", "Deliveries, by source and result.", ["source", "result"]);
    static LATENCY_MS: Histogram<9> = Histogram::new(
        "request_latency_ms",
        "Time from a request's arrival to its answer, in milliseconds.",
        [10., 25., 50., 100., 250., 500., 1000., 2500., 5000.],
    );
}

/// By path and status; the last row is for paths that do not exist.
struct Requests([[AtomicU64; Status::ALL.len()]; Path::ALL.len() + 1]);

impl Metric for Requests {
    fn render(&self, page: &mut Page) {
        const NAME: &str = "http_requests_total";
        page.head(NAME, "Requests answered, by path and status.", "counter");
        for (path, counts) in Path::WORDS.iter().chain(&["other"]).zip(&self.0) {
            for (status, count) in Status::WORDS.iter().zip(counts) {
                let count = count.load(Relaxed);
                if count > 0 {
                    page.sample(NAME, &[("path", path), ("status", status)], count);
                }
            }
        }
    }
}

/// A reply, and what the log and the metrics say of it.
pub struct Answer {
    /// What the client gets.
    pub reply: Reply,
    /// What became of a delivery; None for any other request.
    pub delivery: Option<Delivered>,
    /// Why it failed, for the operator.
    pub reason: Option<String>,
    /// What a refused request has sent, if that is to be kept.
    pub sent: Option<Sent>,
}

/// What became of a delivery.
pub struct Delivered {
    /// The kind of sender; of a delivery that was refused before its fields were read, the one that its path is for.
    pub source: Source,
    /// The outcome.
    pub result: WebhookResult,
    /// That of the first message, or else of the first status, as far as it is known.
    pub message_id: Option<String>,
}

/// What is known of the request that is answered.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// As sent; None when the request line could not be read.
    pub method: Option<&'a str>,
    /// The target up to `?`; None when the request line could not be read.
    pub path: Option<&'a str>,
    /// The client's address.
    pub client: Option<&'a str>,
    /// When the request arrived, by [`clock_us`].
    pub arrived_us: u64,
    /// None: it has not waited for messages.
    pub waited: Option<Waited>,
}

/// A request that has waited for messages, and is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// Where to look on from.
    pub cursor: i64,
    /// How long it waited, in microseconds. This is not part of its latency.
    pub time_us: u64,
    /// It does not wait any longer.
    pub is_over: bool,
}

/// Microseconds on this process's monotonic clock, for passing an instant through a header field.
pub fn clock_us() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64 // 2^64 µs are 584,000 years
}

impl Answer {
    /// Why it failed, in a few words.
    fn why(&self) -> String {
        if let Some(why) = self.sent.as_ref().and_then(|sent| sent.gate) {
            return why.to_owned();
        }
        let result = self.delivery.as_ref().map(|delivery| delivery.result);
        match (result, &self.reason) {
            (Some(WebhookResult::InvalidSignature), Some(reason)) => format!("invalid signature: {reason}"),
            (_, Some(reason)) => reason.clone(),
            (result, None) => result.map_or("", WebhookResult::label).to_owned(),
        }
    }

    /// Counts and logs the answer, and appends it to `out` as a response, with `connection` as its `Connection` field.
    ///
    /// To be called before anything is sent, so that a client that has its answer finds it in /metrics.
    pub fn write(mut self, asked: Asked<'_>, connection: &str, log: &Log, out: &mut Vec<u8>) {
        let status = self.reply.status;
        let waited_us = asked.waited.map(|waited| waited.time_us);
        let latency_us = clock_us().saturating_sub(asked.arrived_us).saturating_sub(waited_us.unwrap_or(0));
        let latency = Duration::from_micros(latency_us);
        let request_id = request_id();
        let path = asked.path.and_then(Path::of);
        let result = self.delivery.as_ref().map(|delivery| delivery.result);
        let is_delivery = path.zip(asked.method).is_some_and(|(path, method)| path.is_delivery(method));
        REQUESTS.0[path.map_or(Path::ALL.len(), Path::index)][status.index()].fetch_add(1, Relaxed);
        LATENCY_MS.observe(latency.as_secs_f64() * 1e3);
        if let Some(delivery) = &self.delivery {
            RESULTS.count(delivery.result);
            DELIVERIES.count(delivery.source, delivery.result);
            match delivery.result.is_accepted() {
                true => activity::accepted(delivery.source),
                false => activity::refused(delivery.source, self.why()),
            }
        }
        let message_id =
            self.delivery.as_ref().and_then(|delivery| Some((delivery.source, delivery.message_id.as_deref()?)));
        let (message_id, message_id_tail) = match message_id {
            Some((Source::Native | Source::Standard, id)) => (Some(id), None),
            // The number of a person can be read from the beginning of Meta's ids.
            Some((Source::Meta, id)) => (None, Some(tail(id))),
            None => (None, None),
        };
        log.request(&RequestLine {
            level: level(status, result, is_delivery, self.reason.is_some()),
            request_id: &request_id,
            method: asked.method,
            path: asked.path,
            status: status.code(),
            latency_ms: latency.as_micros() as f64 / 1e3,
            waited_ms: waited_us.map(|us| us as f64 / 1e3),
            client: asked.client,
            message_id,
            message_id_tail,
            dup: match result {
                Some(WebhookResult::Created) => Some(false),
                Some(WebhookResult::Duplicate) => Some(true),
                _ => None,
            },
            result: result.map(WebhookResult::label),
            reason: self.reason.as_deref(),
        });
        let reason = self.sent.is_some().then(|| self.why());
        if let Some((sent, reason)) = self.sent.take().zip(reason) {
            refusals::keep(Refusal {
                at: jiff::Timestamp::now(),
                client: asked.client.map(str::to_owned),
                method: asked.method.map(str::to_owned),
                path: asked.path.map(str::to_owned),
                status: status.code(),
                reason,
                source: self.delivery.as_ref().map(|delivery| delivery.source),
                sent,
                request_id: request_id.clone(),
            });
        }
        self.reply.write(&request_id, asked.method == Some("HEAD"), connection, out);
    }
}

/// How often deliveries of a source have had each result.
pub fn results(source: Source) -> impl Iterator<Item = (&'static str, u64)> {
    DELIVERIES.row(source)
}

/// The last 16 characters.
fn tail(id: &str) -> &str {
    let start = id.char_indices().rev().nth(15).map_or(0, |(start, _)| start);
    &id[start..]
}

/// ERROR for a wrong signature and for whatever is this service's fault, WARNING for another refusal of a delivery and
/// for a failed log-in, which a browser is redirected after.
fn level(status: Status, result: Option<WebhookResult>, is_delivery: bool, has_reason: bool) -> Level {
    match (status.code(), result) {
        (500.., _) | (_, Some(WebhookResult::InvalidSignature)) => Level::Error,
        (400.., _) if is_delivery => Level::Warning,
        (303, _) if has_reason => Level::Warning,
        _ => Level::Info,
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        Answer { reply, delivery: None, reason: None, sent: None }
    }
}
