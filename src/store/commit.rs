//! One group, one COMMIT, one fsync.

use crate::message::Message;
use crate::store::count::seen;
use crate::store::metrics;
use crate::store::turn::Side;
use crate::store::{Database, Store, Unavailable, is_busy};
use rusqlite::TransactionBehavior;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long a group waits for another process to release the database, before it is answered 503: long enough for the
/// sqlite3 shell and a backup, short enough for a sender that waits for its answer.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts to get the lock. The connection is free meanwhile, so reads go on.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is new, and on disk.
    Created,
    /// Its message_id was stored before; nothing was changed.
    Duplicate,
}

/// What became of the messages of one delivery, in their order.
///
/// [`Stored`] means on disk: after a power cut they are still there. [`Unavailable`] (disk full, database locked by
/// another process, I/O error) means that it is not certain that any of them is, and that sending them again is safe.
pub type Outcome = Result<Vec<Stored>, Unavailable>;

impl Store {
    /// Commits deliveries as one group: the messages of all of them, or none. `join` adds those that wait, each time that
    /// the connection is this thread's. Returns, in the order in which they joined, what became of each.
    pub(super) fn commit(&self, mut join: impl FnMut(&mut Vec<Vec<Message>>)) -> Result<Vec<Vec<Stored>>, Unavailable> {
        let deadline = Instant::now() + BUSY_PATIENCE;
        let mut deliveries = Vec::new();
        let result = loop {
            let mut database = self.turns.take(Side::Ingest);
            join(&mut deliveries);
            if deliveries.iter().all(Vec::is_empty) {
                return Ok(vec![Vec::new(); deliveries.len()]);
            }
            match database.write(&deliveries) {
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    drop(database);
                    std::thread::sleep(BUSY_PAUSE);
                }
                result => break result,
            }
        };
        self.write_failed.store(result.is_err(), Relaxed);
        result.map_err(|error| {
            metrics::COMMIT_FAILURES.count();
            Unavailable::from(&error)
        })
    }
}

impl Database {
    /// One transaction: every message, or none. The outcomes are per delivery, in order.
    fn write(&mut self, deliveries: &[Vec<Message>]) -> rusqlite::Result<Vec<Vec<Stored>>> {
        let begun = Instant::now();
        let now = format!("{:.3}", jiff::Timestamp::now());
        self.end_left_over_transaction();
        self.check_files()?;
        self.wal.prove(&mut self.connection)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (_, row_max) = seen(&transaction)?;
        let mut stored = Vec::with_capacity(deliveries.len());
        {
            let mut insert = transaction.prepare_cached(include_str!("../../sql/insert.sql"))?;
            for messages in deliveries {
                let outcomes = messages.iter().map(|message| {
                    let Message { id, from, to, ts, text } = message;
                    let text = text.as_ref().map(|text| text.as_str());
                    let (moment, ts) = (ts.moment(), ts.as_str());
                    let row = (id.as_str(), from.as_str(), to.as_str(), ts, text, &now, moment.us, moment.ns);
                    Ok(if insert.execute(row)? == 1 { Stored::Created } else { Stored::Duplicate })
                });
                stored.push(outcomes.collect::<rusqlite::Result<Vec<_>>>()?);
            }
        }
        if let Err(error) = transaction.commit() {
            self.count.forget(); // dropping the transaction rolls it back, unless it was committed after all
            return Err(error);
        }

        let written = deliveries.iter().flatten().zip(stored.iter().flatten());
        let created = written.filter(|(_, outcome)| **outcome == Stored::Created).map(|(message, _)| message);
        let rows = created.map(|message| (message.from.as_str(), message.ts.moment()));
        self.count.committed(row_max, rows, &self.connection);
        self.wal.sync()?;
        let count: usize = stored.iter().map(Vec::len).sum();
        metrics::COMMIT_MESSAGES.observe(count as f64);
        let requests = deliveries.iter().filter(|messages| !messages.is_empty()).count();
        metrics::COMMIT_REQUESTS.observe(requests as f64);
        metrics::COMMIT_SECONDS.observe(begun.elapsed().as_secs_f64());
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
