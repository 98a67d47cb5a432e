//! The senders with the most messages, kept up while counts rise and fall.
//!
//! More are listed than are asked for, and of those that are not it is only known that none of them has a better place
//! than `floor`. So a listed one may fall for long before the list has to be made again.

use crate::store::sqlite::senders::{Part, Senders};
use std::cmp::Reverse;

/// How many senders /stats lists.
pub(super) const TOP_SENDERS: usize = 10;

/// How many are kept.
const LISTED_MAX: usize = 100;

/// Senders looked at in one hold while the list is made: about half a millisecond.
const STEP_SENDERS: usize = 4096;

/// By count descending, then by sender ascending: the better the smaller.
type Place = (Reverse<u32>, String);

/// The list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Top {
    /// The best first. All are better than the floor.
    listed: Vec<Place>,
    /// The best place of one that is not listed, or was one day.
    floor: Option<Place>,
    /// The parts of the senders before this one have been gone through; all, when the list is made.
    next: Part,
    made: bool,
}

impl Top {
    /// A sender of a part has another count than before.
    pub(super) fn changed(&mut self, part: Part, name: &str, before: u32, count: u32) {
        if !self.made && part >= self.next {
            return; // it is looked at later
        }
        if let Some(at) = self.find(name, before) {
            self.listed.remove(at);
        }
        if count > 0 {
            self.offer(name, count);
        }
    }

    fn find(&self, name: &str, count: u32) -> Option<usize> {
        let place = |(listed_count, listed): &Place| (*listed_count, listed.as_str()).cmp(&(Reverse(count), name));
        self.listed.binary_search_by(place).ok()
    }

    /// A sender that is not listed.
    fn offer(&mut self, name: &str, count: u32) {
        let better_than = |(other_count, other): &Place| (Reverse(count), name) < (*other_count, other.as_str());
        if !self.floor.as_ref().is_none_or(better_than) {
            return; // the common case
        }
        let at = self.listed.partition_point(|place| !better_than(place));
        if at == LISTED_MAX {
            self.floor = Some((Reverse(count), name.to_owned()));
            return;
        }
        self.listed.insert(at, (Reverse(count), name.to_owned()));
        if self.listed.len() > LISTED_MAX {
            self.floor = self.listed.pop();
        }
    }

    /// Whether the list says which senders have the most messages.
    pub(super) fn is_exact(&self) -> bool {
        self.made && (self.listed.len() >= TOP_SENDERS || self.floor.is_none())
    }

    /// One step towards being exact.
    pub(super) fn step(&mut self, senders: &Senders) {
        if self.made {
            *self = Top::default();
        }
        let mut looked_at = 0;
        while looked_at < STEP_SENDERS {
            let Some(part) = senders.part(self.next) else {
                self.made = true;
                return;
            };
            part.for_each(|(name, count)| {
                looked_at += 1;
                self.offer(&name, count);
            });
            self.next += 1;
        }
    }

    /// The first of them, with their counts.
    pub(super) fn first(&self) -> impl Iterator<Item = (&str, u32)> {
        self.listed.iter().take(TOP_SENDERS).map(|(Reverse(count), sender)| (sender.as_str(), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_that_of_sorting_all_senders_while_counts_rise_and_fall() {
        fastrand::seed(18);
        for _ in 0..20 {
            let (mut senders, mut top) = (Senders::default(), Top::default());
            let many = fastrand::u32(1..600);
            for _ in 0..fastrand::usize(0..3_000) {
                let name = format!("+{}", fastrand::u32(0..many));
                let before = senders.count(&name);
                let count = match fastrand::u8(0..8) {
                    0 => 0,
                    1 => fastrand::u32(0..9),
                    2..5 => before.saturating_sub(1),
                    _ => before + 1,
                };
                let part = senders.set(&name, count);
                top.changed(part, &name, before, count);
                if !top.is_exact() {
                    top.step(&senders);
                }
            }
            while !top.is_exact() {
                top.step(&senders);
            }
            let mut expected: Vec<Place> = (0..)
                .map_while(|part| senders.part(part))
                .flatten()
                .map(|(name, count)| (Reverse(count), name))
                .collect();
            expected.sort();
            let expected: Vec<(&str, u32)> =
                expected.iter().take(TOP_SENDERS).map(|(Reverse(count), name)| (name.as_str(), *count)).collect();
            assert_eq!(top.first().collect::<Vec<_>>(), expected);
        }
    }
}
