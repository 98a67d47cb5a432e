//! What the store counts.

use crate::closed_set::closed_set;
use crate::delivery::Source;
use crate::message::Kind;
use crate::metrics::{Counter, CounterTable, Counters, Gauge, Histogram, metrics};

/// Bounds of what is in one COMMIT.
const GROUP: [f64; 10] = [1., 2., 4., 8., 16., 32., 64., 128., 256., 512.];

closed_set! {
    /// What is deleted because it arrived long ago.
    pub(super) enum Expired;
    /// The label.
    #[expect(dead_code, reason = "the counter reads the words")]
    pub(super) fn label() -> &'static str;
    Message = "message",
    Status = "status",
    Delivery = "delivery",
}

metrics! {
    pub(super) static MESSAGES: CounterTable<Source, Kind, { Source::ALL.len() }, { Kind::ALL.len() }> =
        CounterTable::new("inbox_messages_total", "New messages stored, by source and type.", ["source", "type"]);
    pub(super) static COMMIT_MESSAGES: Histogram<10> =
        Histogram::new("inbox_commit_messages", "Messages and statuses in each COMMIT.", GROUP);
    pub(super) static COMMIT_REQUESTS: Histogram<10> =
        Histogram::new("inbox_commit_requests", "Requests in each COMMIT.", GROUP);
    /// From before BEGIN until the log is synced.
    pub(super) static COMMIT_SECONDS: Histogram<10> = Histogram::new(
        "inbox_commit_duration_seconds",
        "Time of each COMMIT from BEGIN on, in seconds.",
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.],
    );
    pub(super) static EXPIRED: Counters<Expired, { Expired::ALL.len() }> = Counters::new(
        "inbox_expired_total",
        "Rows deleted by RETENTION_DAYS and STATUS_RETENTION_DAYS; deliveries are those without messages and statuses.",
        "kind",
    );
    /// A search, or a count of many messages, holds it many times.
    pub(super) static READ_HOLD_SECONDS: Histogram<10> = Histogram::new(
        "inbox_read_hold_seconds",
        "Time that a part of a read held the database, in seconds.",
        [0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5],
    );
    pub(super) static SEARCH_BEHIND: Gauge = Gauge::new(
        "inbox_search_index_behind_messages",
        "Messages that the index of q does not have yet, in whole parts of 32,768; q reads them one by one.",
    );
    pub(super) static COMMIT_FAILURES: Counter = Counter::new(
        "inbox_commit_failures_total",
        "Groups that could not be committed or synced, and were answered 503.",
    );
}
