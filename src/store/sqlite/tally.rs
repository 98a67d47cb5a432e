//! The counts that /messages and /stats need, kept in memory so that no read counts rows.
//!
//! Built in one pass over an index, and updated with each COMMIT; count.rs says how they stay exact when other programs write.
//! They take 160 KiB for the times of all, 14 MiB for a million senders (senders.rs), and 10 KiB more for each frequent
//! one, of which 10,000,000 messages have at most 2,441.

use crate::store::sqlite::buckets::{Buckets, Since};
use crate::store::sqlite::senders::Senders;
use crate::store::sqlite::top::Top;
use crate::store::sqlite::value::text;
use crate::timestamp::Moment;
use rusqlite::Connection;
use std::collections::HashMap;
use std::ops::Range;

/// A sender with so many messages has them counted by time. For one with fewer, counting along the index takes less
/// than 0.3 ms.
const FREQUENT_MESSAGES_MIN: u32 = 4096;

/// Most index entries looked at for the times of a sender that has become a frequent one: about 1 ms. A sender that has
/// more at once, by another program, has its times counted at the next start; until then they are counted along the index.
const TIMES_ROWS_MAX: i64 = 16_384;

/// Stretches of time in which all messages are counted. Of 10,000,000 messages there are about 2,000 in each, so that
/// counting within one takes 0.1 ms, and adding up all of them takes less. The unit tests have few messages.
const BUCKETS_MAX: usize = if cfg!(test) { 256 } else { 8192 };

/// Stretches of time in which those of a frequent sender are counted.
const SENDER_BUCKETS_MAX: usize = 512;

/// The counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tally {
    total: u64,
    times: Buckets,
    senders: Senders,
    frequent: HashMap<String, Buckets>,
    top: Top,
}

impl Default for Tally {
    fn default() -> Tally {
        let times = Buckets::new(BUCKETS_MAX);
        Tally { total: 0, times, senders: Senders::default(), frequent: HashMap::new(), top: Top::default() }
    }
}

impl Tally {
    /// Counts all rows, in one pass over the sender index.
    pub(super) fn build(connection: &Connection) -> rusqlite::Result<Tally> {
        let mut tally = Tally::default();
        let mut statement = connection.prepare(include_str!("../../../sql/sqlite/tally.sql"))?;
        let mut rows = statement.query([])?;
        let mut sender = String::new();
        let mut times = Vec::new();
        while let Some(row) = rows.next()? {
            let from = text(row.get_ref(0)?).unwrap_or_default();
            if from != sender {
                tally.add_sender(&sender, &times);
                times.clear();
                sender = from.into_owned();
            }
            times.push(row.get(1)?);
        }
        tally.add_sender(&sender, &times);
        while !tally.is_settled() {
            tally.settle();
        }
        Ok(tally)
    }

    /// Counts all messages of a sender, each with its instant.
    fn add_sender(&mut self, name: &str, times: &[i64]) {
        let before = self.senders.count(name); // texts that are not UTF-8 may read the same
        let count = before.saturating_add(u32::try_from(times.len()).unwrap_or(u32::MAX));
        if count == before {
            return;
        }
        self.senders.set(name, count);
        self.total += times.len() as u64;
        times.iter().for_each(|&us| self.times.add(us));
        if before == 0 && count >= FREQUENT_MESSAGES_MIN {
            let mut of_sender = Buckets::new(SENDER_BUCKETS_MAX);
            times.iter().for_each(|&us| of_sender.add(us));
            self.frequent.insert(name.to_owned(), of_sender);
        }
    }

    /// Counts messages that have been stored, up to the row `last`.
    pub(super) fn add_all<'a>(
        &mut self,
        messages: impl Iterator<Item = (&'a str, Moment)>,
        connection: &Connection,
        last: i64,
    ) -> rusqlite::Result<()> {
        // Their times are counted at the end: the database has all of these messages already, and may have more.
        let add =
            |(from, moment): (&'a str, Moment)| (self.add(from, moment.us) == FREQUENT_MESSAGES_MIN).then_some(from);
        let now_frequent: Vec<&str> = messages.filter_map(add).collect();
        now_frequent.into_iter().try_for_each(|from| self.count_times(from, connection, last))
    }

    /// Counts one message, and returns how many its sender has.
    pub(super) fn add(&mut self, name: &str, us: i64) -> u32 {
        self.total += 1;
        self.times.add(us);
        if let Some(times) = self.frequent.get_mut(name) {
            times.add(us);
        }
        let before = self.senders.count(name);
        self.set(name, before, before.saturating_add(1))
    }

    /// Takes away one message. False when there was none of that sender.
    pub(super) fn remove(&mut self, name: &str, us: i64) -> bool {
        let before = self.senders.count(name);
        if before == 0 {
            return false;
        }
        self.total -= 1;
        self.times.remove(us);
        if let Some(times) = self.frequent.get_mut(name) {
            times.remove(us);
        }
        if self.set(name, before, before - 1) == 0 {
            self.frequent.remove(name);
        }
        true
    }

    fn set(&mut self, name: &str, before: u32, count: u32) -> u32 {
        let part = self.senders.set(name, count);
        self.top.changed(part, name, before, count);
        count
    }

    /// Counts the times of a sender that has become a frequent one, up to the row `last`.
    fn count_times(&mut self, name: &str, connection: &Connection, last: i64) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/moments_of_sender.sql"))?;
        let mut rows = statement.query((name, TIMES_ROWS_MAX))?;
        let mut times = Buckets::new(SENDER_BUCKETS_MAX);
        let mut left = self.senders.count(name);
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(1)? <= last {
                times.add(row.get(0)?);
                left = left.saturating_sub(1);
            }
        }
        if left == 0 && !self.frequent.contains_key(name) {
            self.frequent.insert(name.to_owned(), times);
        }
        Ok(())
    }

    /// Whether it is known which senders have the most messages. It nearly always is.
    pub(super) fn is_settled(&self) -> bool {
        self.top.is_exact()
    }

    /// One step towards knowing it, of about half a millisecond.
    pub(super) fn settle(&mut self) {
        self.top.step(&self.senders);
    }

    /// How many messages there are.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many senders have a message.
    pub(super) fn senders(&self) -> usize {
        self.senders.len()
    }

    /// How many messages a sender has.
    pub(super) fn of_sender(&self, name: &str) -> u64 {
        self.senders.count(name).into()
    }

    /// The senders with the most messages: by count descending, then by sender ascending.
    pub(super) fn top(&self) -> impl Iterator<Item = (&str, u64)> {
        self.top.first().map(|(sender, count)| (sender, count.into()))
    }

    /// What is known of the messages since a moment, of one sender or of all. None for a sender that is not frequent.
    pub(super) fn since(&self, from: Option<&str>, moment: Moment) -> Option<Since> {
        let times = match from {
            None => &self.times,
            Some(name) => self.frequent.get(name)?,
        };
        Some(times.since(moment))
    }

    /// The stretches with messages that have a part within a range of microseconds since the epoch, in their order.
    pub(super) fn between(&self, range: &Range<i64>) -> impl Iterator<Item = (Range<i64>, u64)> {
        self.times.between(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    #[test]
    fn adding_and_removing_one_by_one_gives_what_counting_all_gives() {
        fastrand::seed(10);
        for _ in 0..50 {
            let database = Connection::open_in_memory().unwrap();
            let table =
                "CREATE TABLE messages (seq INTEGER PRIMARY KEY, from_msisdn TEXT, ts_us INTEGER, ts_ns INTEGER);
                         CREATE INDEX messages_by_sender ON messages (from_msisdn, ts_us, ts_ns)";
            database.execute_batch(table).unwrap();
            let mut tally = Tally::default();
            let mut messages: Vec<(String, i64)> = Vec::new();
            for _ in 0..fastrand::usize(0..400) {
                if fastrand::u8(0..3) == 0 && !messages.is_empty() {
                    let (sender, us) = messages.swap_remove(fastrand::usize(0..messages.len()));
                    assert!(tally.remove(&sender, us));
                    continue;
                }
                let sender = format!("+{}", fastrand::u32(1..40).pow(2) / 30);
                let us = fastrand::i64(-5..5) * HOUR_US + fastrand::i64(0..HOUR_US);
                tally.add(&sender, us);
                messages.push((sender, us));
            }
            assert!(!tally.remove("+777", 0), "a sender without messages");
            for message in &messages {
                let insert = "INSERT INTO messages (from_msisdn, ts_us, ts_ns) VALUES (?1, ?2, 0)";
                database.execute(insert, (&message.0, message.1)).unwrap();
            }
            while !tally.is_settled() {
                tally.settle();
            }
            let built = Tally::build(&database).unwrap();
            assert_eq!((tally.total(), tally.senders()), (built.total(), built.senders()));
            assert_eq!(tally.top().collect::<Vec<_>>(), built.top().collect::<Vec<_>>());
            let since = Moment { us: fastrand::i64(-6..6) * HOUR_US + fastrand::i64(0..HOUR_US), ns: 0 };
            let known = tally.since(None, since).unwrap();
            let right = messages.iter().filter(|(_, us)| *us >= known.next.us).count() as u64;
            assert_eq!(known.counted(), right);
        }
    }
}
