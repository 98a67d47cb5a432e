//! The counts that /messages and /stats need, kept in memory so that no read counts rows.
//!
//! Built in one pass over an index when the database is opened, and updated under the same turn as each COMMIT; count.rs
//! says how it stays exact whoever else writes. It takes about 120 bytes per sender, 10 KiB more per frequent one, and
//! 160 KiB for the times of all.

use crate::store::sqlite::buckets::{Buckets, Since};
use crate::store::sqlite::row::moment;
use crate::store::sqlite::value::text;
use crate::timestamp::Moment;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row};
use std::cmp::Reverse;
use std::collections::HashMap;

/// How many senders /stats lists.
const TOP_SENDERS: usize = 10;

/// A sender with so many messages has them counted by time. For one with fewer, counting along the index takes less
/// than 0.3 ms; and of 10,000,000 messages there can be at most 2,441 such senders.
const FREQUENT_MESSAGES_MIN: u64 = 4096;

/// Stretches of time in which all messages are counted. Of 10,000,000 messages there are about 2,000 in each, so that
/// counting within one takes 0.1 ms, and adding up all of them takes less.
const BUCKETS_MAX: usize = 8192;

/// Stretches of time in which those of a frequent sender are counted.
const SENDER_BUCKETS_MAX: usize = 512;

/// The counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tally {
    total: u64,
    times: Buckets,
    senders: HashMap<String, Sender>,
    /// The senders with the most messages, in the order of the contract. Counts only grow between two builds, so who
    /// is not in the list enters it only by a message of its own, and `add` sees that message.
    top: Vec<(Reverse<u64>, String)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Sender {
    count: u64,
    /// Of a frequent sender.
    times: Option<Box<Buckets>>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { total: 0, times: Buckets::new(BUCKETS_MAX), senders: HashMap::new(), top: Vec::new() }
    }
}

impl Tally {
    /// Counts all rows, in one pass over the sender index.
    pub(super) fn build(connection: &Connection) -> rusqlite::Result<Tally> {
        let mut statement = connection.prepare(include_str!("../../../sql/sqlite/tally.sql"))?;
        let mut rows = statement.query([])?;
        let mut counting = Counting::default();
        while let Some(row) = rows.next()? {
            counting.add(row)?;
        }
        Ok(counting.end())
    }

    /// Counts messages after a row, at most `rows` of them. Returns the last that is counted.
    pub(super) fn append(&mut self, connection: &Connection, row: i64, rows: usize) -> rusqlite::Result<i64> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/appended.sql"))?;
        let mut read = statement.query((row, rows as i64))?;
        let mut last = row;
        let mut appended = Vec::new();
        while let Some(row) = read.next()? {
            last = row.get(0)?;
            appended.push((text(row.get_ref(1)?).unwrap_or_default().into_owned(), moment(row, 2)?));
        }
        self.add_all(appended.iter().map(|(from, moment)| (from.as_str(), *moment)), connection, last)?;
        Ok(last)
    }

    /// Counts messages that have been stored, up to the row `last`.
    pub(super) fn add_all<'a>(
        &mut self,
        messages: impl Iterator<Item = (&'a str, Moment)>,
        connection: &Connection,
        last: i64,
    ) -> rusqlite::Result<()> {
        // Their times are counted at the end: the database has all of these messages already, and may have more.
        let now_frequent: Vec<&str> =
            messages.filter_map(|(from, moment)| self.add(from, moment).then_some(from)).collect();
        now_frequent.into_iter().try_for_each(|from| self.count_times(from, connection, last))
    }

    /// Counts one message. True: its sender has become a frequent one, and its times are to be counted.
    fn add(&mut self, name: &str, moment: Moment) -> bool {
        self.total += 1;
        self.times.add(moment.us);
        let count = match self.senders.get_mut(name) {
            Some(sender) => {
                sender.count += 1;
                if let Some(times) = &mut sender.times {
                    times.add(moment.us);
                }
                sender.count
            }
            None => {
                self.senders.insert(name.to_owned(), Sender { count: 1, times: None });
                1
            }
        };
        self.rank(name, count);
        count == FREQUENT_MESSAGES_MIN
    }

    /// Counts the times of a sender that has become a frequent one, up to the row `last`.
    fn count_times(&mut self, name: &str, connection: &Connection, last: i64) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/moments_of_sender.sql"))?;
        let mut rows = statement.query((name, last))?;
        let mut times = Box::new(Buckets::new(SENDER_BUCKETS_MAX));
        while let Some(row) = rows.next()? {
            times.add(row.get(0)?);
        }
        if let Some(sender) = self.senders.get_mut(name) {
            sender.times = Some(times);
        }
        Ok(())
    }

    /// Puts a sender whose count has grown where it belongs in the list of the most frequent.
    fn rank(&mut self, sender: &str, count: u64) {
        let better =
            |(other_count, other): &(Reverse<u64>, String)| (*other_count, other.as_str()) < (Reverse(count), sender);
        if self.top.len() == TOP_SENDERS && self.top.last().is_some_and(better) {
            return; // the common case: not among the first ten
        }
        match self.top.iter_mut().find(|(_, listed)| listed == sender) {
            Some((listed_count, _)) => *listed_count = Reverse(count),
            None => self.top.push((Reverse(count), sender.to_owned())),
        }
        self.top.sort_unstable();
        self.top.truncate(TOP_SENDERS);
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
        self.senders.get(name).map_or(0, |sender| sender.count)
    }

    /// The senders with the most messages: by count descending, then by sender ascending.
    pub(super) fn top(&self) -> impl Iterator<Item = (&str, u64)> {
        self.top.iter().map(|(Reverse(count), sender)| (sender.as_str(), *count))
    }

    /// What is known of the messages since a moment, of one sender or of all. None for a sender that is not frequent.
    pub(super) fn since(&self, from: Option<&str>, moment: Moment) -> Option<Since> {
        let times = match from {
            None => &self.times,
            Some(name) => self.senders.get(name)?.times.as_deref()?,
        };
        Some(times.since(moment))
    }
}

/// A pass over all rows that has not come to its end.
#[derive(Default)]
pub(super) struct Counting {
    /// Of the senders before the present one, but for the times of all.
    tally: Tally,
    /// The present sender. The bytes: what is no text is another sender until it is read as one.
    sender: Option<Vec<u8>>,
    count: u64,
    /// The present sender's times, until it is a frequent one.
    few: Vec<i64>,
    times: Option<Box<Buckets>>,
    /// The row where it goes on.
    last: Option<[Value; 4]>,
}

impl Counting {
    /// Counts rows up to the rowid `row_max`, and stops after about so many. Whether that was the last step.
    pub(super) fn step(&mut self, connection: &Connection, row_max: i64, rows: usize) -> rusqlite::Result<bool> {
        let (sql, last) = match &self.last {
            None => (include_str!("../../../sql/sqlite/tally_first.sql"), &[][..]),
            Some(last) => (include_str!("../../../sql/sqlite/tally_after.sql"), &last[..]),
        };
        let mut statement = connection.prepare_cached(sql)?;
        let mut read = statement.query(rusqlite::params_from_iter(last))?;
        let mut count = 0;
        while let Some(row) = read.next()? {
            count += 1;
            if row.get::<_, i64>(3)? <= row_max {
                self.add(row)?;
            }
            // Not at a row with a NULL in it, from which the next step could not go on.
            let nulls = (0..3).filter_map(|column| row.get_ref(column).ok()).filter(|value| *value == ValueRef::Null);
            if count >= rows && nulls.count() == 0 {
                self.last = Some([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts a row that begins with from_msisdn and ts_us.
    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let from = row.get_ref(0)?.as_bytes_or_null().unwrap_or_default().unwrap_or_default();
        let us = row.get::<_, Option<i64>>(1)?.unwrap_or(Moment::UNKNOWN.us);
        if self.sender.as_deref() != Some(from) {
            self.end_sender();
            self.sender = Some(from.to_vec());
        }
        self.tally.times.add(us);
        self.count += 1;
        match &mut self.times {
            Some(times) => times.add(us),
            None => self.few.push(us),
        }
        if self.count == FREQUENT_MESSAGES_MIN {
            let times = self.times.insert(Box::new(Buckets::new(SENDER_BUCKETS_MAX)));
            self.few.drain(..).for_each(|us| times.add(us));
        }
        Ok(())
    }

    fn end_sender(&mut self) {
        let (count, times) = (std::mem::take(&mut self.count), self.times.take());
        self.few.clear();
        let Some(sender) = self.sender.take() else { return };
        let name = text(ValueRef::Text(&sender)).unwrap_or_default().into_owned();
        let sender = self.tally.senders.entry(name.clone()).or_default();
        // Different bytes of a taken-over row may read as the same text. Then the times stay unknown.
        sender.times = times.filter(|_| sender.count == 0);
        sender.count += count;
        let count_of_name = sender.count;
        self.tally.total += count;
        self.tally.rank(&name, count_of_name);
    }

    /// The counts, after the last step.
    pub(super) fn end(mut self) -> Tally {
        self.end_sender();
        self.tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const HOUR_US: i64 = 3_600_000_000;

    #[test]
    fn adding_one_by_one_gives_what_counting_all_gives() {
        fastrand::seed(10);
        for _ in 0..50 {
            let mut tally = Tally::default();
            let mut model: BTreeMap<String, u64> = BTreeMap::new();
            let mut moments = Vec::new();
            for _ in 0..fastrand::usize(0..400) {
                let sender = format!("+{}", fastrand::u32(1..40).pow(2) / 30);
                let moment = Moment { us: fastrand::i64(-5..5) * HOUR_US + fastrand::i64(0..HOUR_US), ns: 0 };
                tally.add(&sender, moment);
                *model.entry(sender).or_default() += 1;
                moments.push(moment);
            }
            let mut expected: Vec<_> = model.iter().map(|(sender, count)| (Reverse(*count), sender.as_str())).collect();
            expected.sort();
            expected.truncate(10);
            let expected: Vec<_> = expected.into_iter().map(|(Reverse(count), sender)| (sender, count)).collect();
            assert_eq!(tally.top().collect::<Vec<_>>(), expected);
            assert_eq!(tally.total(), moments.len() as u64);
            assert_eq!(tally.senders(), model.len());

            let since = Moment { us: fastrand::i64(-6..6) * HOUR_US + fastrand::i64(0..HOUR_US), ns: 0 };
            let known = tally.since(None, since).unwrap();
            assert_eq!(known.counted(), moments.iter().filter(|&&moment| moment >= known.next).count() as u64);
        }
    }

    #[test]
    fn counting_in_steps_gives_what_counting_at_once_gives_whatever_the_table_holds() {
        fastrand::seed(15);
        for _ in 0..200 {
            // As a database taken over may be: no column has to be filled, nor with text.
            let database = Connection::open_in_memory().unwrap();
            let table = "CREATE TABLE messages (from_msisdn, ts_us INTEGER, ts_ns INTEGER);
                         CREATE INDEX messages_by_sender ON messages (from_msisdn, ts_us, ts_ns)";
            database.execute_batch(table).unwrap();
            for _ in 0..fastrand::u8(0..30) {
                let from = fastrand::choice(["NULL", "7", "'+1'", "'+2'", "x'2b31'", "x'ff'"]).unwrap();
                let us = fastrand::choice(["NULL", "-1", "0", "1", "7200000000"]).unwrap();
                let ns = fastrand::choice(["NULL", "0", "1"]).unwrap();
                database.execute(&format!("INSERT INTO messages VALUES ({from}, {us}, {ns})"), []).unwrap();
            }
            let whole = Tally::build(&database).unwrap();
            for rows in 1..6 {
                let mut counting = Counting::default();
                while !counting.step(&database, i64::MAX, rows).unwrap() {}
                assert_eq!(counting.end(), whole, "{rows} rows a step");
            }
        }
    }
}
