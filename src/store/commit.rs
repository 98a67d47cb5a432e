//! The writer queue: many requests, one COMMIT, one fsync.
//!
//! 1. At most one worker leads, and only the leader writes. The line is empty or there is a leader.
//! 2. A request's outcome is told only after the COMMIT with its messages has returned and the log is synced, or the
//!    whole group has failed.
//! 3. The messages of one request are in one group: all are stored, or none.
//! 4. A worker that finds a leader leaves its request in the line and goes back to work; so the line is bounded by the
//!    requests in flight, not by the workers.
//!
//! There is no timer: a lone request commits at once, and a group is whatever arrived during the previous COMMIT.
//!
//! Whoever leads goes on until the line is empty, and meanwhile a thread of its own, the teller, tells the outcomes:
//! everybody waits for the disk, and the disk would wait for a new leader to be woken. While leaders took turns, each
//! telling its outcomes beside the COMMIT of the next, 16 to 64 connections brought 0.8 to 0.9 as many messages a second,
//! and 256 the same or 0.9 (`cargo bench --bench builds`). In LevelDB every writer sleeps until its outcome is there; here
//! that cost two switches of context for each message, as much as storing it.

use crate::message::Message;
use crate::metrics::Metrics;
use crate::mutex::UNPOISONED;
use crate::store::count::seen;
use crate::store::turn::{Side, Turns};
use crate::store::{Database, Unavailable, is_busy};
use rusqlite::TransactionBehavior;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Most messages in one COMMIT, unless one request alone has more. At 30,000 rows/s, measured with that many in a
/// COMMIT, it holds the connection for 4 ms; reads are promised 5 ms. At 256 connections 32 take 0.82 of the rate, and
/// 256 the same (`cargo bench --bench builds`).
pub(super) const GROUP_MESSAGES_MAX: usize = 128;

/// How long a group waits for another process to release the database, before it is answered 503: long enough for the
/// sqlite3 shell and a backup, short enough for a sender that waits for its answer.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts to get the lock. The turn is given up meanwhile, so reads go on.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is new, and on disk.
    Created,
    /// Its message_id was stored before; nothing was changed.
    Duplicate,
}

/// What became of the messages of one request, in their order.
pub type Outcome = Result<Vec<Stored>, Unavailable>;

/// The line of requests that wait for a COMMIT.
pub(super) struct Queue {
    line: Mutex<Line>,
    teller: Sender<Decided>,
    /// The last group could not be committed. The store clears it when it has seen that writing works again.
    pub(super) write_failed: AtomicBool,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Place>,
    /// A worker leads.
    led: bool,
}

/// One request's place in the line.
struct Place {
    messages: Vec<Message>,
    tell: Box<dyn FnOnce(Outcome) + Send>,
}

/// A group that is on disk, or has failed, and of which nobody has been told yet.
struct Decided {
    group: Vec<Place>,
    result: Result<Vec<Vec<Stored>>, Unavailable>,
}

impl Queue {
    /// Starts the teller, which ends with the queue. Fails only when no thread can be started.
    pub(super) fn start() -> std::io::Result<Queue> {
        let (teller, decided) = channel();
        let tell = move || decided.into_iter().for_each(Decided::tell);
        std::thread::Builder::new().name("teller".to_owned()).spawn(tell)?;
        Ok(Queue { line: Mutex::default(), teller, write_failed: AtomicBool::new(false) })
    }

    /// Has the messages of one request committed, together with those of other requests that wait, and `tell` called
    /// with the outcome: by another thread, or by this one. If this one leads, it calls `make_way` first.
    pub(super) fn commit(
        &self,
        messages: Vec<Message>,
        tell: Box<dyn FnOnce(Outcome) + Send>,
        make_way: impl FnOnce(),
        turns: &Turns,
        metrics: &Metrics,
    ) {
        let mut line = self.lock();
        line.waiting.push_back(Place { messages, tell });
        if line.led {
            return;
        }
        line.led = true;
        drop(line);
        make_way();
        while self.lead(turns, metrics) {}
    }

    /// Commits the group at the head of the line, and has its outcomes told. Whether to lead on: requests are left.
    fn lead(&self, turns: &Turns, metrics: &Metrics) -> bool {
        let deadline = Instant::now() + BUSY_PATIENCE;
        let mut group = Vec::new();
        let result = loop {
            let mut database = turns.take(Side::Ingest);
            // Taken from the line only now: whoever came while the leader waited for its turn comes along.
            self.lock().join(&mut group);
            match database.write(&group, metrics) {
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    drop(database);
                    std::thread::sleep(BUSY_PAUSE);
                }
                result => break result,
            }
        };
        self.write_failed.store(result.is_err(), Relaxed); // before another group can fail or not
        if result.is_err() {
            metrics.commit_failures.fetch_add(1, Relaxed);
        }
        let decided = Decided { group, result: result.map_err(|error| Unavailable::from(&error)) };
        let lead_on = {
            let mut line = self.lock();
            line.led = !line.waiting.is_empty();
            line.led
        };
        if lead_on {
            self.teller.send(decided).expect("the teller ends after the queue");
        } else {
            decided.tell(); // nothing to do meanwhile, and nobody has to be woken for it
        }
        lead_on
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect(UNPOISONED)
    }
}

impl Decided {
    fn tell(self) {
        match self.result {
            Ok(stored) => self.group.into_iter().zip(stored).for_each(|(place, stored)| (place.tell)(Ok(stored))),
            Err(error) => self.group.into_iter().for_each(|place| (place.tell)(Err(error.clone()))),
        }
    }
}

impl Line {
    /// Moves places from the head of the line into the group, as long as they fit; at least one when it is empty.
    fn join(&mut self, group: &mut Vec<Place>) {
        let mut messages: usize = group.iter().map(|place| place.messages.len()).sum();
        while let Some(place) = self.waiting.front() {
            messages += place.messages.len();
            if messages > GROUP_MESSAGES_MAX && !group.is_empty() {
                return;
            }
            group.extend(self.waiting.pop_front());
        }
    }
}

impl Database {
    /// One transaction: every message of the group, or none. The outcomes are per place, in order.
    fn write(&mut self, group: &[Place], metrics: &Metrics) -> rusqlite::Result<Vec<Vec<Stored>>> {
        let begun = Instant::now();
        let now = format!("{:.3}", jiff::Timestamp::now());
        self.check_file()?;
        self.end_left_over_transaction();
        self.wal.prove(&mut self.connection)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (_, row_max) = seen(&transaction)?;
        let mut stored = Vec::with_capacity(group.len());
        {
            let mut insert = transaction.prepare_cached(include_str!("../../sql/insert.sql"))?;
            for place in group {
                let outcomes = place.messages.iter().map(|message| {
                    let Message { id, from, to, ts, text } = message;
                    let text = text.as_ref().map(|text| text.as_str());
                    let (moment, ts) = (ts.moment(), ts.as_str());
                    let row = (id.as_str(), from.as_str(), to.as_str(), ts, text, &now, moment.us, moment.ns);
                    Ok(if insert.execute(row)? == 1 { Stored::Created } else { Stored::Duplicate })
                });
                stored.push(outcomes.collect::<rusqlite::Result<Vec<_>>>()?);
            }
        }
        transaction.commit()?; // when it fails, dropping the transaction rolls it back

        let written = group.iter().flat_map(|place| &place.messages).zip(stored.iter().flatten());
        let created = written.filter(|(_, outcome)| **outcome == Stored::Created).map(|(message, _)| message);
        let rows = created.map(|message| (message.from.as_str(), message.ts.moment()));
        self.count.committed(row_max, rows, &self.connection);
        self.wal.sync()?;
        let count: usize = stored.iter().map(Vec::len).sum();
        metrics.commit_messages.observe(count as f64);
        metrics.commit_requests.observe(group.len() as f64);
        metrics.commit_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(stored)
    }

    /// A ROLLBACK that itself failed leaves its transaction open, and then no other could ever begin.
    fn end_left_over_transaction(&self) {
        if !self.connection.is_autocommit() {
            // When this fails too, so does the BEGIN that follows, and its error is the one that is reported.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}
