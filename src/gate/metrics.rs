//! What the gate counts.

use super::refusal::Rejection;
use super::waiters::WaitResult;
use crate::metrics::{Counter, Counters, Gauge, metrics};

metrics! {
    pub(super) static REJECTIONS: Counters<Rejection, { Rejection::ALL.len() }> =
        Counters::new("inbox_gate_rejections_total", "Requests that the gate answered itself, by reason.", "reason");
    /// Those that are closing not included.
    pub(super) static CONNECTIONS_OPEN: Gauge = Gauge::new("inbox_connections_open", "Client connections open now.");
    /// `MAX_CONNECTIONS`, or as many as descriptors allow.
    pub(super) static CONNECTIONS_MAX: Gauge =
        Gauge::new("inbox_connections_max", "Client connections allowed at once.");
    /// Whatever became of them.
    pub(super) static CONNECTIONS: Counter = Counter::new("inbox_connections_total", "Client connections accepted.");
    /// At once, because there was no room.
    pub(super) static CONNECTIONS_REFUSED: Counter =
        Counter::new("inbox_connections_refused_total", "Connections answered 503.");
    /// Without a whole head, for another connection.
    pub(super) static CONNECTIONS_EVICTED: Counter =
        Counter::new("inbox_connections_evicted_total", "Closed to make room.");
    /// No request came within the idle time.
    pub(super) static CONNECTIONS_IDLE_CLOSED: Counter =
        Counter::new("inbox_connections_idle_closed_total", "Closed as idle.");
    /// The write timeout, or the bound of held bytes.
    pub(super) static CONNECTIONS_CUT: Counter =
        Counter::new("inbox_connections_cut_total", "Cut: answer not read in time.");
    /// Those that have a place.
    pub(super) static WAITING_REQUESTS: Gauge =
        Gauge::new("inbox_waiting_requests", "Requests that wait for messages now.");
    pub(super) static WAITS: Counters<WaitResult, { WaitResult::ALL.len() }> =
        Counters::new("inbox_waits_total", "Requests that have waited for messages, by how that ended.", "result");
    /// Over all connections.
    pub(super) static HELD_BYTES: Gauge = Gauge::new("inbox_held_bytes", "Bytes of requests and answers held now.");
}
