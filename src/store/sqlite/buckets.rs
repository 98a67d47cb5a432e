//! How many messages there are in each stretch of time, in bounded memory.
//!
//! 1. All stretches have the same width. It begins at a second, and doubles when more than `max` of them have messages;
//!    so it is as fine as the memory allows, for ten messages a day and for a thousand a second.
//! 2. A stretch that has no messages takes no memory: one message of 1970 or of 2099 changes nothing for the others.
//! 3. The width depends on what was added, not on the order in which that was done, nor on what was removed.

use crate::timestamp::Moment;
use std::collections::BTreeMap;
use std::ops::Range;

/// The width at the beginning, in microseconds.
const WIDTH_MIN_US: i64 = 1_000_000;

/// Messages by time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    width_us: i64,
    /// By the stretch's number from the epoch on; none is 0. About 20 bytes each.
    counts: BTreeMap<i64, u64>,
    max: usize,
}

/// The messages since a moment, as far as they are known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Since {
    /// The stretches that begin after the moment: where each begins, and how many messages it has.
    pub(super) stretches: Vec<(Moment, u64)>,
    /// Where the first stretch after the moment begins, or would begin. What lies between is for the caller to count.
    pub(super) next: Moment,
    /// How many that is at most.
    pub(super) uncounted_max: u64,
}

impl Since {
    /// Messages in all stretches.
    pub(super) fn counted(&self) -> u64 {
        self.stretches.iter().map(|(_, count)| count).sum()
    }
}

impl Buckets {
    /// No messages, and at most so many stretches that have some: 4 or more, the number of the widest that there are.
    pub(super) fn new(max: usize) -> Buckets {
        Buckets { width_us: WIDTH_MIN_US, counts: BTreeMap::new(), max }
    }

    /// Counts a message of that instant, microseconds since the epoch.
    pub(super) fn add(&mut self, us: i64) {
        *self.counts.entry(us.div_euclid(self.width_us)).or_default() += 1;
        while self.counts.len() > self.max {
            self.width_us *= 2;
            let mut coarser = BTreeMap::new();
            for (number, count) in std::mem::take(&mut self.counts) {
                *coarser.entry(number.div_euclid(2)).or_default() += count;
            }
            self.counts = coarser;
        }
    }

    /// Takes away a message of that instant, which was counted.
    pub(super) fn remove(&mut self, us: i64) {
        let number = us.div_euclid(self.width_us);
        if let Some(count) = self.counts.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&number);
            }
        }
    }

    /// What is known of the messages since a moment.
    pub(super) fn since(&self, moment: Moment) -> Since {
        let number = moment.us.div_euclid(self.width_us);
        let beginning = |number: i64| Moment { us: number.saturating_mul(self.width_us), ns: 0 };
        Since {
            stretches: self.counts.range(number + 1..).map(|(&number, &count)| (beginning(number), count)).collect(),
            next: beginning(number + 1),
            uncounted_max: self.counts.get(&number).copied().unwrap_or(0),
        }
    }

    /// The stretches that have a part within a range, which is not empty: from where to where each is, and how many
    /// messages it has.
    pub(super) fn between(&self, range: &Range<i64>) -> impl Iterator<Item = (Range<i64>, u64)> {
        let number = |us: i64| us.div_euclid(self.width_us);
        let beginning = |number: i64| number.saturating_mul(self.width_us);
        let stretches = self.counts.range(number(range.start)..=number(range.end - 1));
        stretches.map(move |(&number, &count)| (beginning(number)..beginning(number + 1), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn what_is_counted_and_what_is_left_are_all_messages_since_a_moment() {
        fastrand::seed(16);
        for _ in 0..300 {
            let max = fastrand::usize(4..40);
            let span = SECOND << fastrand::u32(0..20);
            let times: Vec<i64> = (0..fastrand::usize(0..200)).map(|_| fastrand::i64(-span..span)).collect();
            let mut buckets = Buckets::new(max);
            times.iter().for_each(|&us| buckets.add(us));
            assert!(buckets.counts.len() <= max);

            let moment = Moment { us: fastrand::i64(-span * 2..span * 2), ns: 0 };
            let since = buckets.since(moment);
            let count = |from: i64, to: i64| times.iter().filter(|&&us| us >= from && us < to).count() as u64;
            assert_eq!(since.counted(), count(since.next.us, i64::MAX));
            assert!(since.next > moment);
            assert!(count(moment.us, since.next.us) <= since.uncounted_max);
            assert!(since.stretches.is_sorted() && since.stretches.iter().all(|&(at, _)| at >= since.next));

            let gone = fastrand::usize(0..=times.len());
            times[..gone].iter().for_each(|&us| buckets.remove(us));
            let left = |from: i64, to: i64| times[gone..].iter().filter(|&&us| us >= from && us < to).count() as u64;
            let since = buckets.since(moment);
            assert_eq!(since.counted(), left(since.next.us, i64::MAX), "after removing {gone}");
            assert!(left(moment.us, since.next.us) <= since.uncounted_max);
            times[..gone].iter().for_each(|&us| buckets.add(us));

            let mut shuffled = times.clone();
            fastrand::shuffle(&mut shuffled);
            let mut again = Buckets::new(max);
            shuffled.into_iter().for_each(|us| again.add(us));
            assert_eq!(again, buckets, "another order");
        }
    }

    #[test]
    fn the_unknown_moment_is_before_all_others_and_no_time_is_too_far_away() {
        let mut buckets = Buckets::new(4);
        for us in [Moment::UNKNOWN.us, 0, i64::MAX, -1, i64::MAX / 2, i64::MIN / 2 - 1] {
            buckets.add(us);
        }
        let since = buckets.since(Moment::UNKNOWN);
        assert_eq!(since.counted() + since.uncounted_max, 6);
        assert_eq!(buckets.since(Moment { us: i64::MAX, ns: 0 }).counted(), 0);
    }
}
