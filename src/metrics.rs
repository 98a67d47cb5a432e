//! Counters, gauges and histograms, and their Prometheus text form (exposition format 0.0.4).
//!
//! Everything is an atomic: counting never waits, and a scrape reads without stopping anybody. Labels come from closed
//! sets, so that no client can make the page grow.

use crate::closed_set::closed_set;
use crate::path::Path;
use crate::reply::Status;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

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
    Unavailable = "unavailable",
}

closed_set! {
    /// The `secret` label of `inbox_signature_matches_total`: which of the two secrets a right signature was made with.
    #[expect(missing_docs, reason = "webhook::Secrets says what each is")]
    pub enum MatchedSecret;
    /// The label.
    pub fn label() -> &'static str;
    Current = "current",
    Previous = "previous",
}

closed_set! {
    /// The `reason` label of `inbox_gate_rejections_total`: why the gate answered a request itself.
    #[expect(missing_docs, reason = "gate/refusal.rs says of each what the client is told")]
    pub enum Rejection;
    /// The label, which the log uses too.
    pub fn label() -> &'static str;
    BadByte = "bad_byte",
    BadLineEnd = "bad_line_end",
    BadRequestLine = "bad_request_line",
    BadTarget = "bad_target",
    BadField = "bad_field",
    BadHost = "bad_host",
    BadContentLength = "bad_content_length",
    AmbiguousFraming = "ambiguous_framing",
    BadChunk = "bad_chunk",
    Incomplete = "incomplete",
    HeadTime = "head_time",
    BodyTime = "body_time",
    LengthRequired = "length_required",
    Unrouted = "unrouted",
    BodyBytesMax = "body_bytes_max",
    Expectation = "expectation",
    HeadBytesMax = "head_bytes_max",
    FieldsMax = "fields_max",
    TransferCoding = "transfer_coding",
    ConnectionsMax = "connections_max",
    HeldBytesMax = "held_bytes_max",
    UpstreamBusy = "upstream_busy",
    UpstreamFailed = "upstream_failed",
    Version = "version",
}

/// A cumulative histogram with fixed upper bounds.
pub struct Histogram<const N: usize> {
    bounds: [f64; N],
    /// Observations per bucket, not cumulative; the last is beyond every bound.
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    /// The sum of all observations in millionths, so that an integer atomic can hold it.
    sum_millionths: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: [f64; N]) -> Histogram<N> {
        let buckets = [const { AtomicU64::new(0) }; N];
        Histogram { bounds, buckets, beyond: AtomicU64::new(0), sum_millionths: AtomicU64::new(0) }
    }

    /// Counts one value, which is not negative.
    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.iter().position(|&bound| value <= bound);
        bucket.map_or(&self.beyond, |index| &self.buckets[index]).fetch_add(1, Relaxed);
        self.sum_millionths.fetch_add((value * 1e6).round() as u64, Relaxed);
    }

    fn render(&self, page: &mut Page, name: &str, help: &str) {
        page.head(name, help, "histogram");
        let mut count = 0;
        for (bound, bucket) in self.bounds.iter().zip(&self.buckets) {
            count += bucket.load(Relaxed);
            page.sample(&format!("{name}_bucket"), &[("le", &bound.to_string())], count);
        }
        count += self.beyond.load(Relaxed);
        page.sample(&format!("{name}_bucket"), &[("le", "+Inf")], count);
        page.sample(&format!("{name}_sum"), &[], self.sum_millionths.load(Relaxed) as f64 / 1e6);
        page.sample(&format!("{name}_count"), &[], count);
    }
}

/// All that the service counts. One value, shared by reference.
pub struct Metrics {
    /// By path and status; the last row is for paths that do not exist.
    requests: [[AtomicU64; Status::ALL.len()]; Path::ALL.len() + 1],
    webhooks: [AtomicU64; WebhookResult::ALL.len()],
    signature_matches: [AtomicU64; MatchedSecret::ALL.len()],
    rejections: [AtomicU64; Rejection::ALL.len()],
    latency_ms: Histogram<9>,
    /// Client connections that are open now, those that are closing not included.
    pub connections_open: AtomicU64,
    /// As many client connections may be open at once: `MAX_CONNECTIONS`.
    pub connections_max: AtomicU64,
    /// Client connections accepted, whatever became of them.
    pub connections_accepted: AtomicU64,
    /// Client connections answered 503 at once, because there was no room.
    pub connections_refused: AtomicU64,
    /// Connections without a whole head closed to make room for another.
    pub connections_evicted: AtomicU64,
    /// Connections closed because no request came within the idle time.
    pub connections_idle_closed: AtomicU64,
    /// Connections cut because the client did not read its answer in time.
    pub connections_cut: AtomicU64,
    /// Bytes of requests and answers held now, over all connections; the gate's account of them.
    pub held_bytes: AtomicU64,
    /// Requests that a worker has taken and nobody has answered yet.
    pub requests_in_flight: AtomicU64,
    /// Messages in each COMMIT.
    pub commit_messages: Histogram<10>,
    /// Requests in each COMMIT.
    pub commit_requests: Histogram<10>,
    /// Seconds from before BEGIN until the log is synced.
    pub commit_seconds: Histogram<10>,
    /// Groups that could not be committed, or not synced.
    pub commit_failures: AtomicU64,
    started: SystemTime,
}

/// What is not counted but looked up when the page is made.
#[derive(Default)]
pub struct Observed {
    /// The SQLite library's version.
    pub sqlite_version: &'static str,
    /// Whether the service is ready, as far as is known without asking the database.
    pub ready: bool,
    /// Bytes of the database file, where it can be seen.
    pub database_bytes: Option<u64>,
    /// Bytes of the write-ahead log, where there is one.
    pub wal_bytes: Option<u64>,
    /// Bytes that the database's file system has left for the service, where it says so.
    pub disk_free_bytes: Option<u64>,
    /// Log lines dropped because stdout did not take them.
    pub log_lines_dropped: u64,
}

impl Metrics {
    /// All at zero, started now.
    pub fn new() -> Metrics {
        const GROUP: [f64; 10] = [1., 2., 4., 8., 16., 32., 64., 128., 256., 512.];
        Metrics {
            requests: [const { [const { AtomicU64::new(0) }; Status::ALL.len()] }; Path::ALL.len() + 1],
            webhooks: [const { AtomicU64::new(0) }; WebhookResult::ALL.len()],
            signature_matches: [const { AtomicU64::new(0) }; MatchedSecret::ALL.len()],
            rejections: [const { AtomicU64::new(0) }; Rejection::ALL.len()],
            latency_ms: Histogram::new([10., 25., 50., 100., 250., 500., 1000., 2500., 5000.]),
            connections_open: AtomicU64::new(0),
            connections_max: AtomicU64::new(0),
            connections_accepted: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            connections_evicted: AtomicU64::new(0),
            connections_idle_closed: AtomicU64::new(0),
            connections_cut: AtomicU64::new(0),
            held_bytes: AtomicU64::new(0),
            requests_in_flight: AtomicU64::new(0),
            commit_messages: Histogram::new(GROUP),
            commit_requests: Histogram::new(GROUP),
            commit_seconds: Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.]),
            commit_failures: AtomicU64::new(0),
            started: SystemTime::now(),
        }
    }

    /// Counts one answered request.
    pub fn request(&self, path: Option<Path>, status: Status, latency: Duration) {
        self.requests[path.map_or(Path::ALL.len(), |path| path as usize)][status as usize].fetch_add(1, Relaxed);
        self.latency_ms.observe(latency.as_secs_f64() * 1e3);
    }

    /// Counts one outcome of POST /webhook.
    pub fn webhook(&self, result: WebhookResult) {
        self.webhooks[result as usize].fetch_add(1, Relaxed);
    }

    /// Counts one delivery with a right signature.
    pub fn signature_match(&self, secret: MatchedSecret) {
        self.signature_matches[secret as usize].fetch_add(1, Relaxed);
    }

    /// Counts one request that the gate answered itself.
    pub fn rejection(&self, rejection: Rejection) {
        self.rejections[rejection as usize].fetch_add(1, Relaxed);
    }

    /// The page that Prometheus scrapes.
    pub fn render(&self, observed: &Observed) -> String {
        let mut page = Page(String::with_capacity(8 << 10));
        page.head("http_requests_total", "Requests answered, by path and status.", "counter");
        for (path, counts) in Path::ALL.map(Path::label).into_iter().chain(["other"]).zip(&self.requests) {
            for status in Status::ALL {
                let count = counts[status as usize].load(Relaxed);
                if count > 0 {
                    let labels = [("path", path), ("status", &status.code().to_string())];
                    page.sample("http_requests_total", &labels, count);
                }
            }
        }
        page.head("webhook_requests_total", "Deliveries, by result.", "counter");
        for result in WebhookResult::ALL {
            let count = self.webhooks[result as usize].load(Relaxed);
            page.sample("webhook_requests_total", &[("result", result.label())], count);
        }
        let help = "Time from a request's arrival to its answer, in milliseconds.";
        self.latency_ms.render(&mut page, "request_latency_ms", help);

        page.head("inbox_build_info", "Always 1; the labels say which build this is.", "gauge");
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("sqlite_version", observed.sqlite_version)];
        page.sample("inbox_build_info", &labels, 1);
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        page.single("process_start_time_seconds", "When the process started, Unix time.", "gauge", started);
        page.head("inbox_signature_matches_total", "Deliveries with a right signature, by secret.", "counter");
        for secret in MatchedSecret::ALL {
            let count = self.signature_matches[secret as usize].load(Relaxed);
            page.sample("inbox_signature_matches_total", &[("secret", secret.label())], count);
        }
        page.head("inbox_gate_rejections_total", "Requests that the gate answered itself, by reason.", "counter");
        for rejection in Rejection::ALL {
            let count = self.rejections[rejection as usize].load(Relaxed);
            page.sample("inbox_gate_rejections_total", &[("reason", rejection.label())], count);
        }
        for (name, help, kind, value) in [
            ("inbox_connections_open", "Client connections open now.", "gauge", &self.connections_open),
            ("inbox_connections_max", "Client connections allowed at once.", "gauge", &self.connections_max),
            ("inbox_connections_total", "Client connections accepted.", "counter", &self.connections_accepted),
            ("inbox_connections_refused_total", "Connections answered 503.", "counter", &self.connections_refused),
            ("inbox_connections_evicted_total", "Closed to make room.", "counter", &self.connections_evicted),
            ("inbox_connections_idle_closed_total", "Closed as idle.", "counter", &self.connections_idle_closed),
            ("inbox_connections_cut_total", "Cut: answer not read in time.", "counter", &self.connections_cut),
            ("inbox_held_bytes", "Bytes of requests and answers held now.", "gauge", &self.held_bytes),
        ] {
            page.single(name, help, kind, value.load(Relaxed));
        }
        let in_flight = self.requests_in_flight.load(Relaxed);
        page.single(
            "inbox_requests_in_flight",
            "Requests under way, deliveries that wait for their COMMIT included.",
            "gauge",
            in_flight,
        );
        self.commit_messages.render(&mut page, "inbox_commit_messages", "Messages in each COMMIT.");
        self.commit_requests.render(&mut page, "inbox_commit_requests", "Requests in each COMMIT.");
        let help = "Time of each COMMIT from BEGIN on, in seconds.";
        self.commit_seconds.render(&mut page, "inbox_commit_duration_seconds", help);
        let failures = self.commit_failures.load(Relaxed);
        page.single(
            "inbox_commit_failures_total",
            "Groups that could not be committed or synced, and were answered 503.",
            "counter",
            failures,
        );
        for (name, help, bytes) in [
            ("inbox_database_size_bytes", "Size of the database file.", observed.database_bytes),
            ("inbox_wal_size_bytes", "Size of the write-ahead log.", observed.wal_bytes),
            ("inbox_disk_free_bytes", "Free on the disk of the database.", observed.disk_free_bytes),
        ] {
            if let Some(bytes) = bytes {
                page.single(name, help, "gauge", bytes);
            }
        }
        let help = "0 after a write that failed, until one succeeds, while the files cannot be written, and while stopping; else 1.";
        page.single("inbox_ready", help, "gauge", u8::from(observed.ready));
        let help = "Log lines dropped because stdout was closed or stuck.";
        page.single("inbox_log_lines_dropped_total", help, "counter", observed.log_lines_dropped);
        page.0
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// The text being rendered.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}"); // a String takes every write
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}"); // a String takes every write
    }

    fn single(&mut self, name: &str, help: &str, kind: &str, value: impl std::fmt::Display) {
        self.head(name, help, kind);
        self.sample(name, &[], value);
    }
}

/// A label value as the format wants it: backslash, double quote and line feed escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_the_order_of_the_declarations() {
        for (index, path) in Path::ALL.into_iter().enumerate() {
            assert_eq!(path as usize, index);
        }
        for (index, result) in WebhookResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, index);
        }
        for (index, secret) in MatchedSecret::ALL.into_iter().enumerate() {
            assert_eq!(secret as usize, index);
        }
        for (index, rejection) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!(rejection as usize, index);
        }
    }

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::new([1., 2.5]);
        for value in [0.0, 1.0, 1.000001, 2.5, 2.6, 1e6] {
            histogram.observe(value);
        }
        let mut page = Page(String::new());
        histogram.render(&mut page, "h", "Help.");
        assert_eq!(
            page.0,
            "# HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"2.5\"} 4\n\
             h_bucket{le=\"+Inf\"} 6\nh_sum 1000007.100001\nh_count 6\n"
        );
    }

    /// Reads a label value back as a scraper does.
    fn unescaped(text: &str) -> Option<String> {
        let mut characters = text.chars();
        let mut value = String::new();
        while let Some(character) = characters.next() {
            value.push(match character {
                '\\' => match characters.next()? {
                    '\\' => '\\',
                    '"' => '"',
                    'n' => '\n',
                    _ => return None,
                },
                '"' | '\n' => return None,
                other => other,
            });
        }
        Some(value)
    }

    #[test]
    fn any_label_value_survives_the_escaping_and_stays_on_its_line() {
        fastrand::seed(4);
        for _ in 0..20_000 {
            let value: String =
                (0..fastrand::usize(0..8)).map(|_| fastrand::choice(['\\', '"', '\n', 'n', 'é']).unwrap()).collect();
            assert_eq!(unescaped(&escaped(&value)), Some(value));
        }
    }
}
