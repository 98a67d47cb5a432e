//! How many messages each sender has, in few bytes: a million senders take 14 MiB.
//!
//! 1. A telephone number fits in 8 bytes and its count in 4. Any other sender, such as a user of WhatsApp without a
//!    number, is kept as text and takes about 100 bytes.
//! 2. The senders are spread over [`SHARDS`] sorted arrays, which grow by an eighth each on its own. So no single message
//!    copies more than a small part, however many senders there are.

use std::collections::HashMap;

/// So many that of 5,000,000 senders one array has 15 KB.
const SHARDS: usize = 4096;

/// The counts. None of them is 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Senders {
    shards: Box<[Shard]>,
    len: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shard {
    /// In ascending order.
    numbers: Vec<u64>,
    /// Of each number.
    counts: Vec<u32>,
    others: HashMap<Box<str>, u32>,
}

/// The part of the senders that one belongs to; parts can be gone through one by one.
pub(super) type Part = usize;

impl Default for Senders {
    fn default() -> Senders {
        Senders { shards: vec![Shard::default(); SHARDS].into(), len: 0 }
    }
}

impl Senders {
    /// How many senders have a message.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many messages a sender has; at most `u32::MAX` are counted.
    pub(super) fn count(&self, name: &str) -> u32 {
        let shard = &self.shards[part(name)];
        match packed(name) {
            Some(number) => shard.numbers.binary_search(&number).map_or(0, |at| shard.counts[at]),
            None => shard.others.get(name).copied().unwrap_or(0),
        }
    }

    /// Replaces a sender's count, and returns the sender's part.
    pub(super) fn set(&mut self, name: &str, count: u32) -> Part {
        let part = part(name);
        let before = self.shards[part].set(name, count);
        self.len = self.len + usize::from(count > 0) - usize::from(before > 0);
        part
    }

    /// The senders of a part, each with its count; None behind the last part.
    pub(super) fn part(&self, part: Part) -> Option<impl Iterator<Item = (String, u32)>> {
        let shard = self.shards.get(part)?;
        let numbers = shard.numbers.iter().map(|&number| unpacked(number)).zip(shard.counts.iter().copied());
        Some(numbers.chain(shard.others.iter().map(|(name, &count)| (name.to_string(), count))))
    }
}

impl Shard {
    /// Returns the count before.
    fn set(&mut self, name: &str, count: u32) -> u32 {
        let Some(number) = packed(name) else {
            let before = if count > 0 { self.others.insert(name.into(), count) } else { self.others.remove(name) };
            return before.unwrap_or(0);
        };
        match self.numbers.binary_search(&number) {
            Ok(at) if count > 0 => std::mem::replace(&mut self.counts[at], count),
            Ok(at) => {
                self.numbers.remove(at);
                self.counts.remove(at)
            }
            Err(_) if count == 0 => 0,
            Err(at) => {
                if self.numbers.len() == self.numbers.capacity() {
                    let more = self.numbers.len() / 8 + 4;
                    self.numbers.reserve_exact(more);
                    self.counts.reserve_exact(more);
                }
                self.numbers.insert(at, number);
                self.counts.insert(at, count);
                0
            }
        }
    }
}

/// `+` and 1 to 15 digits as one number: the digits, and in the lowest four bits how many there are, since the first ones
/// may be zeros.
fn packed(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('+')?;
    let is_number = (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    Some(number << 4 | digits.len() as u64)
}

fn unpacked(number: u64) -> String {
    format!("+{:0digits$}", number >> 4, digits = number as usize & 15)
}

fn part(name: &str) -> Part {
    // Fibonacci hashing of the FNV-1a hash: numbers of one country differ only in their last digits.
    let fnv = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    (fnv.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SHARDS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_counts_are_those_of_a_map_whatever_the_senders_are_called() {
        fastrand::seed(17);
        let mut senders = Senders::default();
        let mut model: BTreeMap<String, u32> = BTreeMap::new();
        let pool = ["", "+", "+0", "+00", "+1", "1", "+999999999999999", "+1234567890123456", "US.13", "+1x", "+১"];
        for _ in 0..20_000 {
            let name = match fastrand::bool() {
                true => fastrand::choice(pool).unwrap_or_default().to_owned(),
                false => format!("+{}", fastrand::u16(..) % 500),
            };
            let count = fastrand::u32(0..4);
            senders.set(&name, count);
            if count > 0 {
                model.insert(name.clone(), count)
            } else {
                model.remove(&name)
            };
            assert_eq!((senders.count(&name), senders.len()), (count, model.len()), "{name:?}");
        }
        let all: BTreeMap<String, u32> = (0..).map_while(|part| senders.part(part)).flatten().collect();
        assert_eq!(all, model);
    }

    #[test]
    fn a_number_takes_at_most_24_bytes_beyond_the_first_hundred_thousand() {
        let mut senders = Senders::default();
        let bytes = |senders: &Senders| -> usize {
            let numbers = |shard: &Shard| shard.numbers.capacity() * 8 + shard.counts.capacity() * 4;
            senders.shards.iter().map(numbers).sum::<usize>() + SHARDS * size_of::<Shard>()
        };
        for number in 0..1_000_000_u64 {
            senders.set(&format!("+4917{number:08}"), 1);
            if number % 100_000 == 99_999 {
                let allowed = 100_000 * 120 + (number as usize + 1 - 100_000) * 24;
                assert!(bytes(&senders) <= allowed, "{} bytes for {}", bytes(&senders), number + 1);
            }
        }
        assert!(bytes(&senders) <= 15_000_000, "{}", bytes(&senders));
        assert!(senders.shards.iter().all(|shard| shard.numbers.len() < 1_000), "spread evenly");
    }
}
