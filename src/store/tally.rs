//! The counts that /messages and /stats need, kept in memory so that no read counts rows.
//!
//! Built in one pass over an index when the database is opened, updated after each COMMIT under the same turn, and
//! built anew when another process has changed the database. It equals `COUNT(*)` at any time. It takes about 100
//! bytes per sender and 30 per hour in which there are messages.

use crate::store::row::text;
use crate::timestamp::Moment;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

/// Microseconds in an hour.
const HOUR_US: i64 = 3_600_000_000;

/// How many senders /stats lists.
const TOP_SENDERS: usize = 10;

/// The counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    total: u64,
    senders: HashMap<String, u64>,
    /// Messages per hour since the epoch.
    hours: BTreeMap<i64, u64>,
    /// The senders with the most messages, in the order of the contract. Counts only grow between two builds, so who
    /// is not in the list enters it only by a message of its own, and `add` sees that message.
    top: Vec<(Reverse<u64>, String)>,
}

impl Tally {
    /// Counts all rows, in one pass over the sender index.
    pub(super) fn build(connection: &Connection) -> rusqlite::Result<Tally> {
        let mut tally = Tally::default();
        let mut statement = connection.prepare(include_str!("../../sql/tally.sql"))?;
        let mut rows = statement.query([])?;
        let (mut sender, mut count) = (Vec::new(), 0);
        let (mut hour, mut in_hour) = (0, 0);
        while let Some(row) = rows.next()? {
            let from = row.get_ref(0)?;
            let from_bytes = from.as_bytes_or_null().unwrap_or_default().unwrap_or_default();
            if from_bytes != sender || count == 0 {
                tally.add_sender(&sender, count);
                sender.clear();
                sender.extend_from_slice(from_bytes);
                count = 0;
            }
            count += 1;
            let row_hour = hour_of(row.get::<_, Option<i64>>(1)?.unwrap_or(Moment::UNKNOWN.us));
            if row_hour != hour {
                tally.add_hour(hour, in_hour);
                (hour, in_hour) = (row_hour, 0);
            }
            in_hour += 1;
        }
        tally.add_sender(&sender, count);
        tally.add_hour(hour, in_hour);
        Ok(tally)
    }

    /// Counts one message that has been stored.
    pub(super) fn add(&mut self, sender: &str, moment: Moment) {
        self.add_sender(sender.as_bytes(), 1);
        self.add_hour(hour_of(moment.us), 1);
    }

    fn add_sender(&mut self, sender: &[u8], added: u64) {
        if added == 0 {
            return;
        }
        self.total += added;
        let sender = text(ValueRef::Text(sender)).unwrap_or_default();
        let count = match self.senders.get_mut(sender.as_ref()) {
            Some(count) => {
                *count += added;
                *count
            }
            None => {
                self.senders.insert(sender.to_string(), added);
                added
            }
        };
        self.rank(&sender, count);
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

    fn add_hour(&mut self, hour: i64, added: u64) {
        if added > 0 {
            *self.hours.entry(hour).or_default() += added;
        }
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
    pub(super) fn of_sender(&self, sender: &str) -> u64 {
        self.senders.get(sender).copied().unwrap_or(0)
    }

    /// The senders with the most messages: by count descending, then by sender ascending.
    pub(super) fn top(&self) -> impl Iterator<Item = (&str, u64)> {
        self.top.iter().map(|(Reverse(count), sender)| (sender.as_str(), *count))
    }

    /// The hours that begin after a moment: where each begins and how many messages it has. What lies between the
    /// moment and [`Tally::next_hour`] is for the caller to count.
    pub(super) fn hours_after(&self, moment: Moment) -> impl Iterator<Item = (Moment, u64)> {
        self.hours.range(hour_of(moment.us) + 1..).map(|(&hour, &count)| (beginning(hour), count))
    }

    /// Where the first hour after a moment begins.
    pub(super) fn next_hour(moment: Moment) -> Moment {
        beginning(hour_of(moment.us) + 1)
    }
}

/// The hour since the epoch. That of [`Moment::UNKNOWN`] is before all others.
fn hour_of(us: i64) -> i64 {
    us.div_euclid(HOUR_US)
}

fn beginning(hour: i64) -> Moment {
    Moment { us: hour.saturating_mul(HOUR_US), ns: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

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

            moments.sort();
            let since = Moment { us: fastrand::i64(-6..6) * HOUR_US + fastrand::i64(0..HOUR_US), ns: 0 };
            let next_hour = Tally::next_hour(since);
            assert!(next_hour > since && next_hour.us - since.us <= HOUR_US);
            let counted: u64 = tally.hours_after(since).map(|(_, count)| count).sum();
            assert_eq!(counted, moments.iter().filter(|&&moment| moment >= next_hour).count() as u64);
        }
    }

    #[test]
    fn the_unknown_moment_has_an_hour_before_all_others() {
        let mut tally = Tally::default();
        tally.add("+1", Moment::UNKNOWN);
        tally.add("+1", Moment { us: 0, ns: 0 });
        let hours: Vec<_> = tally.hours_after(Moment::UNKNOWN).collect();
        assert_eq!(hours, [(Moment { us: 0, ns: 0 }, 1)]);
    }
}
