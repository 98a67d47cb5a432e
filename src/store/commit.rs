//! The writer queue: many requests, one COMMIT, one fsync.
//!
//! 1. The worker at the head of the line is the leader, and only it writes; so the line is empty or has a leader.
//! 2. A worker is woken only after the COMMIT with its messages has returned, or the whole group was rolled back, or
//!    to become the leader.
//! 3. The messages of one request are in one group: all are stored, or none.
//! 4. A worker stands in the line at most once, so its length is bounded by the number of workers.
//!
//! There is no timer: a lone request commits at once, and a group is whatever arrived during the previous COMMIT.

use crate::message::Message;
use crate::metrics::Metrics;
use crate::store::turn::{Side, Turns};
use crate::store::{Database, UNPOISONED, Unavailable};
use rusqlite::TransactionBehavior;
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Most messages in one COMMIT, unless one request alone has more. At the measured 27,000 rows/s a group of 64 holds
/// the connection for 2.4 ms; one of 512, at 39,700 rows/s, for 13 ms. Reads are promised 5 ms.
const GROUP_MESSAGES_MAX: usize = 64;

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

type Outcome = Result<Vec<Stored>, Unavailable>;

/// The line of the waiting.
pub(super) struct Queue {
    line: Mutex<VecDeque<Arc<Place>>>,
}

/// One request's place in the line.
struct Place {
    messages: Vec<Message>,
    state: Mutex<State>,
    changed: Condvar,
}

enum State {
    Waiting,
    Leading,
    Done(Outcome),
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { line: Mutex::default() }
    }

    /// Commits the messages of one request, together with those of other workers that wait.
    pub(super) fn commit(&self, messages: Vec<Message>, turns: &Turns, metrics: &Metrics) -> Outcome {
        let place = Arc::new(Place { messages, state: Mutex::new(State::Waiting), changed: Condvar::new() });
        let leads = {
            let mut line = self.line.lock().expect(UNPOISONED);
            line.push_back(Arc::clone(&place));
            line.len() == 1
        };
        if !leads && let Some(outcome) = place.wait() {
            return outcome;
        }
        self.lead(turns, metrics)
    }

    /// Writes the group at the head of the line, of which the caller is the first, and hands on to the next leader.
    fn lead(&self, turns: &Turns, metrics: &Metrics) -> Outcome {
        let deadline = Instant::now() + BUSY_PATIENCE;
        let (group, result) = loop {
            let mut database = turns.take(Side::Ingest);
            // Taken from the line only now: whoever came while the leader waited for its turn comes along.
            let group = self.head();
            match database.write(&group, metrics) {
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    drop(database);
                    std::thread::sleep(BUSY_PAUSE);
                }
                result => break (group, result),
            }
        };
        let mut outcomes: VecDeque<Outcome> = match result {
            Ok(stored) => stored.into_iter().map(Ok).collect(),
            Err(error) => {
                metrics.commit_failures.fetch_add(1, Relaxed);
                group.iter().map(|_| Err(Unavailable::from(&error))).collect()
            }
        };
        let next = {
            let mut line = self.line.lock().expect(UNPOISONED);
            line.drain(..group.len());
            line.front().cloned()
        };
        if let Some(next) = next {
            next.become_(State::Leading); // before the outcomes: the disk is what everybody waits for
        }
        let own = outcomes.pop_front().expect("the leader is the first of its group");
        for (place, outcome) in group.iter().skip(1).zip(outcomes) {
            place.become_(State::Done(outcome));
        }
        own
    }

    /// The places at the head of the line that fit into one group; at least one.
    fn head(&self) -> Vec<Arc<Place>> {
        let line = self.line.lock().expect(UNPOISONED);
        let mut messages = 0;
        let fits = |place: &&Arc<Place>| {
            let first = messages == 0;
            messages += place.messages.len();
            first || messages <= GROUP_MESSAGES_MAX
        };
        line.iter().take_while(fits).cloned().collect()
    }
}

impl Place {
    /// Waits for the outcome; None when this place has become the leader's.
    fn wait(&self) -> Option<Outcome> {
        let waiting = |state: &mut State| matches!(state, State::Waiting);
        let state = self.state.lock().expect(UNPOISONED);
        let mut state = self.changed.wait_while(state, waiting).expect(UNPOISONED);
        match std::mem::replace(&mut *state, State::Waiting) {
            State::Done(outcome) => Some(outcome),
            State::Leading | State::Waiting => None,
        }
    }

    fn become_(&self, new: State) {
        *self.state.lock().expect(UNPOISONED) = new;
        self.changed.notify_one();
    }
}

impl Database {
    /// One transaction: every message of the group, or none. The outcomes are per place, in order.
    fn write(&mut self, group: &[Arc<Place>], metrics: &Metrics) -> rusqlite::Result<Vec<Vec<Stored>>> {
        let begun = Instant::now();
        let now = format!("{:.3}", jiff::Timestamp::now());
        self.end_left_over_transaction();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
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
        let mut count = 0;
        for (message, outcome) in written {
            count += 1;
            if *outcome == Stored::Created {
                self.tally.add(message.from.as_str(), message.ts.moment());
            }
        }
        metrics.commit_messages.observe(f64::from(count));
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

/// Another process has the database locked.
fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    error.sqlite_error_code().is_some_and(|code| matches!(code, DatabaseBusy | DatabaseLocked))
}
