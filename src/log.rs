//! The log: one JSON object a line on stdout, written by a thread of its own.
//!
//! It promises that nothing a client sends can break or forge a line, and that logging never waits: a line goes into a
//! buffer of bounded size, and when stdout is stuck or closed and the buffer is full, lines are dropped and counted. It
//! leaves to its callers that no secret and no message text gets into a line.

use crate::mutex::UNPOISONED;
use serde::Serialize;
use serde_json::ser::Formatter;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Most bytes waiting for stdout. A line has about 250, so this holds back about a second of full load.
const BUFFER_BYTES_MAX: usize = 4 << 20;

/// Most characters of a value that a client chose (a path, a message_id), so that no line is longer than about 20 KiB
/// even when each of them is escaped as `\u0000`.
const VALUE_CHARS_MAX: usize = 1024;

/// Between two writes. Under load each then carries many lines, and the thread wakes some hundred times a second instead
/// of once per line, which costs two switches of context each.
const WRITE_PAUSE: Duration = Duration::from_millis(2);

/// How much a line matters; a line below the configured level is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// For an operator who looks for the cause of something.
    Debug,
    /// What happens in normal operation.
    Info,
    /// A refusal of a webhook; something an operator may want to look at.
    Warning,
    /// A wrong signature, a 5xx, a fault of the service itself.
    Error,
}

impl Level {
    /// The level of that name, in any case.
    pub fn named(name: &str) -> Option<Level> {
        [("DEBUG", Level::Debug), ("INFO", Level::Info), ("WARNING", Level::Warning), ("ERROR", Level::Error)]
            .into_iter()
            .find_map(|(known, level)| known.eq_ignore_ascii_case(name).then_some(level))
    }
}

/// What one request's line says beyond the time.
#[derive(Serialize)]
pub struct RequestLine<'a> {
    /// Follows from the status and the outcome.
    pub level: Level,
    /// The same as in `X-Request-ID`.
    pub request_id: &'a str,
    /// As sent; absent when the head could not be read.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shortened")]
    pub method: Option<&'a str>,
    /// As sent, without the query; absent when the head could not be read.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shortened")]
    pub path: Option<&'a str>,
    /// The status sent.
    pub status: u16,
    /// From arrival to the reply being ready, in milliseconds, without `waited_ms`.
    pub latency_ms: f64,
    /// Milliseconds that a read has waited for messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<f64>,
    /// The client's address, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// The first message of a delivery.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shortened")]
    pub message_id: Option<&'a str>,
    /// The end of it, where the whole would show the number of a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id_tail: Option<&'a str>,
    /// Whether every message and status of a delivery was stored before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dup: Option<bool>,
    /// The outcome of a webhook, as in `webhook_requests_total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<&'static str>,
    /// What is wrong, for the operator; the client's reply may say less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// A handle to the log; clones write to the same stdout.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

struct Shared {
    level: Level,
    buffer: Mutex<Buffer>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Buffer {
    waiting: Vec<u8>,
    /// The thread holds bytes that it has not written yet.
    writing: bool,
}

impl Log {
    /// Starts the thread that writes to stdout.
    ///
    /// Fails only when no thread can be started, or there is no descriptor left.
    pub fn start(level: Level) -> std::io::Result<Log> {
        // Not std's Stdout, whose lock and line buffer a stuck write would hold for ever.
        let stdout = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        let shared = Shared { level, buffer: Mutex::default(), changed: Condvar::new(), dropped: AtomicU64::new(0) };
        let log = Log(Arc::new(shared));
        let writer = Arc::clone(&log.0);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_lines(stdout))?;
        Ok(log)
    }

    /// One request's line.
    pub fn request(&self, line: &RequestLine<'_>) {
        self.line(line.level, line);
    }

    /// Start, stop and faults: a `message` and whatever `details`, a JSON object, add to it.
    pub fn event(&self, level: Level, message: &str, details: serde_json::Value) {
        #[derive(Serialize)]
        struct Event<'a> {
            level: Level,
            message: &'a str,
            #[serde(flatten)]
            details: serde_json::Value,
        }
        self.line(level, &Event { level, message, details });
    }

    /// How many lines were dropped because stdout did not take them in time.
    pub fn lines_dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line so far is written, but not longer than `patience`: a stuck reader must not keep the
    /// process from ending.
    pub fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut buffer = self.0.lock();
        while buffer.writing || !buffer.waiting.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            buffer = self.0.changed.wait_timeout(buffer, left).expect(UNPOISONED).0;
        }
    }

    fn line(&self, level: Level, content: &impl Serialize) {
        #[derive(Serialize)]
        struct Line<'a, T> {
            ts: &'a str,
            #[serde(flatten)]
            content: &'a T,
        }
        if level < self.0.level {
            return;
        }
        let ts = format!("{:.3}", jiff::Timestamp::now());
        let line = json_line(&Line { ts: &ts, content });
        let mut buffer = self.0.lock();
        if buffer.waiting.len() + line.len() > BUFFER_BYTES_MAX {
            drop(buffer);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let idle = buffer.waiting.is_empty() && !buffer.writing;
        buffer.waiting.extend_from_slice(&line);
        drop(buffer);
        if idle {
            self.0.changed.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Buffer> {
        self.buffer.lock().expect(UNPOISONED)
    }

    /// The thread: takes all that waits and writes it at once, so that under load one system call serves many lines.
    fn write_lines(&self, mut stdout: File) {
        let mut lines = Vec::new();
        let mut buffer = self.lock();
        loop {
            buffer = self.changed.wait_while(buffer, |buffer| buffer.waiting.is_empty()).expect(UNPOISONED);
            std::mem::swap(&mut lines, &mut buffer.waiting);
            buffer.writing = true;
            drop(buffer);
            if stdout.write_all(&lines).is_err() {
                // The reader has closed the pipe (EPIPE), or the disk behind stdout is full: the service continues without a log.
                let count = lines.iter().filter(|&&byte| byte == b'\n').count();
                self.dropped.fetch_add(count as u64, Ordering::Relaxed);
            }
            lines.clear();
            std::thread::sleep(WRITE_PAUSE); // `writing` is still true, so no other thread wakes this one
            buffer = self.lock();
            buffer.writing = false;
            self.changed.notify_all();
        }
    }
}

/// A value as JSON on one line, with nothing in it that could break the line or change how a terminal shows it. Its keys
/// are strings, and its `Serialize` does not fail.
pub fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(512);
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut line, Escaping));
    written.expect("the types of lines have string keys and no failing Serialize");
    line.push(b'\n');
    line
}

/// JSON on one line, in which every character that could break the line or change how it looks is escaped: JSON itself
/// asks for no more than the ASCII controls (RFC 8259 section 7).
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> std::io::Result<()> {
        let mut rest = fragment;
        while let Some((at, found)) = rest.char_indices().find(|(_, character)| is_hostile(*character)) {
            // All of them are below U+FFFF, so none needs a pair of surrogates.
            write!(writer, "{}\\u{:04x}", &rest[..at], u32::from(found))?;
            rest = &rest[at + found.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// What a terminal, or a reader that splits lines as Unicode does, takes for more than a letter: DEL and the C1 controls
/// (NEL among them), the line and paragraph separators, and the bidirectional controls (Unicode UAX #14 and UAX #9).
pub fn is_hostile(character: char) -> bool {
    matches!(character, '\u{7f}'..='\u{9f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}')
}

/// Serializes at most [`VALUE_CHARS_MAX`] characters of a value, and `…` instead of the rest.
fn shortened<S: serde::Serializer>(value: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    let value = value.unwrap_or_default();
    match value.char_indices().nth(VALUE_CHARS_MAX) {
        None => serializer.serialize_str(value),
        Some((end, _)) => serializer.serialize_str(&format!("{}…", &value[..end])),
    }
}
