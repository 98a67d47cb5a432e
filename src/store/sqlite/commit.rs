//! One group, one COMMIT, one fsync.

use crate::delivery::Delivery;
use crate::message::Message;
use crate::store::Stored;
use crate::store::metrics;
use crate::store::sqlite::count::seen;
use crate::store::sqlite::database::{Database, data_version};
use crate::store::sqlite::erased::is_erased;
use crate::store::sqlite::error::is_busy;
use crate::store::sqlite::keep::keep;
use crate::store::sqlite::turn::{Side, Turns};
use rusqlite::TransactionBehavior;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long a group waits for another process to release the database, before it is answered 503: long enough for the
/// sqlite3 shell and a backup, short enough for a sender that waits for its answer.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts to get the lock. The connection is free meanwhile, so reads continue.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Commits deliveries as one group: all of them, or none. `join` adds those that wait, each time that
/// the connection is this thread's. Returns, in the order in which they joined, what became of each:
/// of its messages, and then of its statuses. `write_failed` is
/// what the last write showed; empty deliveries write nothing and leave it as it is.
pub(super) fn commit(
    turns: &Turns,
    mut join: impl FnMut(&mut Vec<Delivery>),
    write_failed: &AtomicBool,
) -> rusqlite::Result<Vec<Vec<Stored>>> {
    let deadline = Instant::now() + BUSY_PATIENCE;
    let mut deliveries = Vec::new();
    loop {
        let mut database = turns.take(Side::Ingest);
        join(&mut deliveries);
        if deliveries.iter().all(Delivery::is_empty) {
            return Ok(vec![Vec::new(); deliveries.len()]);
        }
        match database.write(&deliveries) {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                drop(database);
                std::thread::sleep(BUSY_PAUSE);
            }
            result => {
                write_failed.store(result.is_err(), Relaxed);
                return result;
            }
        }
    }
}

impl Database {
    /// One transaction: every message, or none. The outcomes are per delivery, in order.
    fn write(&mut self, deliveries: &[Delivery]) -> rusqlite::Result<Vec<Vec<Stored>>> {
        let begun = Instant::now();
        let now = format!("{:.3}", jiff::Timestamp::now());
        self.end_left_over_transaction();
        self.check_files()?;
        self.wal.prove(&mut self.connection)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let data_version = data_version(&transaction)?;
        let mut seq = seen(&transaction)?.seq_given;
        let mut stored = Vec::with_capacity(deliveries.len());
        {
            let mut insert = transaction.prepare_cached(include_str!("../../../sql/sqlite/insert.sql"))?;
            for delivery in deliveries {
                let first_seq = seq + 1;
                let mut any_erased = false;
                let outcomes = delivery.messages.iter().map(|message| {
                    let Message { id, from, to, ts, text, details } = message;
                    if details.is_some() && is_erased(&transaction, id.as_str(), &now)? {
                        any_erased = true;
                        return Ok(Stored::Duplicate);
                    }
                    let text = text.as_ref().map(|text| text.as_str());
                    let (moment, ts) = (ts.moment(), ts.as_str());
                    let row = (seq + 1, id.as_str(), from.as_str(), to.as_str(), ts, text, &now, moment.us, moment.ns);
                    if insert.execute(row)? == 0 {
                        return Ok(Stored::Duplicate);
                    }
                    seq += 1; // a duplicate takes no number
                    Ok(Stored::Created)
                });
                let mut outcomes = outcomes.collect::<rusqlite::Result<Vec<_>>>()?;
                if let Some(raw) = &delivery.raw {
                    // What was erased does not come back as a part of a delivery either.
                    let body = if any_erased { None } else { Some(raw.body.as_slice()) };
                    outcomes.extend(keep(&transaction, delivery, (&raw.fields, body), &outcomes, first_seq, &now)?);
                }
                stored.push(outcomes);
            }
        }
        if let Err(error) = transaction.commit() {
            self.count.doubt(); // dropping the transaction rolls it back, unless it was committed after all
            return Err(error);
        }

        // A delivery's outcomes begin with those of its messages.
        let written = deliveries.iter().zip(&stored).flat_map(|(delivery, stored)| {
            delivery.messages.iter().zip(stored).map(|(message, outcome)| (delivery.source, message, *outcome))
        });
        let created: Vec<_> = written.filter(|(_, _, outcome)| *outcome == Stored::Created).collect();
        let rows = created.iter().map(|(_, message, _)| (message.from.as_str(), message.ts.moment()));
        self.count.committed(data_version, rows, &self.connection, seq);
        self.wal.sync()?;
        created.iter().for_each(|(source, message, _)| metrics::MESSAGES.count(*source, message.kind()));
        let count: usize = deliveries.iter().map(Delivery::updates).sum();
        metrics::COMMIT_MESSAGES.observe(count as f64);
        let requests = deliveries.iter().filter(|delivery| !delivery.is_empty()).count();
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
