//! The query string of /stats/history.

use super::integer;
use super::order::Given;
use crate::closed_set::{ClosedSet, closed_set};
use crate::reply::{Fault, Refusal};
use std::ops::Range;

/// Most buckets of an answer: the hours of a month.
pub(super) const COUNT_MAX: u64 = 744;
const COUNT_DEFAULT: u64 = 48;

/// No place on Earth is further from UTC.
const OFFSET_MIN_MAX: i64 = 14 * 60;

closed_set! {
    /// A length of time in which messages are counted together.
    #[expect(missing_docs, reason = "each is the word of the parameter")]
    pub enum Bucket;
    /// The value of the parameter.
    pub fn label() -> &'static str;
    Minute = "minute",
    Hour = "hour",
    Day = "day",
}

impl Bucket {
    fn seconds(self) -> i64 {
        match self {
            Bucket::Minute => 60,
            Bucket::Hour => 3600,
            Bucket::Day => 86_400,
        }
    }
}

/// Buckets that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// How long each is.
    pub bucket: Bucket,
    /// Where the first begins, in seconds since 1970.
    pub first_s: i64,
    /// How many they are.
    pub count: usize,
}

impl Selection {
    /// Where each begins, in seconds since 1970.
    pub fn starts_s(self) -> impl Iterator<Item = i64> {
        (0..self.count as i64).map(move |index| self.first_s + index * self.bucket.seconds())
    }

    /// From the beginning of the first to the end of the last, in microseconds since 1970.
    pub fn range_us(self) -> Range<i64> {
        let end_s = self.first_s + self.count as i64 * self.bucket.seconds();
        self.first_s * 1_000_000..end_s * 1_000_000
    }

    /// Which bucket an instant within [`Selection::range_us`] belongs to.
    pub fn index(self, us: i64) -> usize {
        ((us.div_euclid(1_000_000) - self.first_s) / self.bucket.seconds()) as usize // not before the first
    }
}

/// Reads the query, and reports all parameters that are wrong. Unknown ones are ignored. The last bucket holds the instant
/// `now_s`, in seconds since 1970.
pub fn parse(query: &str, now_s: i64) -> Result<Selection, Vec<Fault>> {
    let given = Given::decode(query, &["bucket", "count", "offset"]);
    let mut faults = Vec::new();
    let mut fault = |name, refusal| faults.push(Fault::parameter(name, refusal));
    let bucket = given.get("bucket").map_or(Ok(Bucket::Hour), bucket).unwrap_or_else(|refusal| {
        fault("bucket", refusal);
        Bucket::Hour
    });
    let count = integer(given.get("count"), COUNT_DEFAULT, 1, COUNT_MAX).unwrap_or_else(|refusal| {
        fault("count", refusal);
        COUNT_DEFAULT
    });
    let offset_s = given.get("offset").map_or(Ok(0), seconds_of).unwrap_or_else(|refusal| {
        fault("offset", refusal);
        0
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let count = count as usize; // at most 744
    let seconds = bucket.seconds();
    let last_s = (now_s + offset_s).div_euclid(seconds) * seconds - offset_s;
    Ok(Selection { bucket, first_s: last_s - (count as i64 - 1) * seconds, count })
}

fn bucket(word: &str) -> Result<Bucket, Refusal> {
    const REFUSAL: Refusal = Refusal { kind: "literal_error", msg: "Input should be minute, hour or day" };
    Bucket::WORDS.iter().position(|known| *known == word).map(|index| Bucket::ALL[index]).ok_or(REFUSAL)
}

/// The seconds of `+HH:MM` or `-HH:MM`, by which clocks are ahead of UTC.
fn seconds_of(offset: &str) -> Result<i64, Refusal> {
    const REFUSAL: Refusal = Refusal {
        kind: "string_pattern_mismatch",
        msg: "Input should be an offset from UTC of at most 14 hours, +HH:MM or -HH:MM, for example +05:30",
    };
    let digits = |digits: [u8; 2]| {
        let [tens, ones] = digits.map(|digit| i64::from(digit.wrapping_sub(b'0')));
        digits.iter().all(u8::is_ascii_digit).then_some(tens * 10 + ones)
    };
    let &[sign, h, hh, b':', m, mm] = offset.as_bytes() else { return Err(REFUSAL) };
    let sign = match sign {
        b'+' | b' ' => 1, // a `+` that was not percent-encoded has become a space
        b'-' => -1,
        _ => return Err(REFUSAL),
    };
    let (hours, minutes) = digits([h, hh]).zip(digits([m, mm])).ok_or(REFUSAL)?;
    let all = hours * 60 + minutes;
    if minutes < 60 && all <= OFFSET_MIN_MAX { Ok(sign * all * 60) } else { Err(REFUSAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-25T07:34:56Z.
    const NOW_S: i64 = 1_795_592_096;

    #[test]
    fn each_parameter_is_taken_within_its_rule_and_refused_beyond() {
        for (query, right) in [
            ("", true),
            ("bucket=minute", true),
            ("bucket=day&unknown=1", true),
            ("bucket=week", false),
            ("bucket=", false),
            ("bucket=Hour", false),
            ("count=1", true),
            ("count=744", true),
            ("count=0", false),
            ("count=745", false),
            ("count=x", false),
            ("offset=%2B05:30", true),
            ("offset=+05:30", true),
            ("offset=-05%3A30", true),
            ("offset=-00:00", true),
            ("offset=%2B14:00", true),
            ("offset=-14:00", true),
            ("offset=%2B14:01", false),
            ("offset=%2B05:60", false),
            ("offset=05:30", false),
            ("offset=%2B5:30", false),
            ("offset=%2B0530", false),
            ("offset=Z", false),
            ("offset=", false),
            ("offset=%2B%D9%A3:00", false),
        ] {
            assert_eq!(parse(query, NOW_S).is_ok(), right, "{query:?}");
        }
        assert_eq!(parse("bucket=x&count=x&offset=x", NOW_S).unwrap_err().len(), 3);
    }

    #[test]
    fn the_last_bucket_holds_the_present_instant_and_begins_at_an_edge_of_the_offset() {
        for (query, last) in [
            ("bucket=minute", "2026-11-25T07:34:00Z"),
            ("", "2026-11-25T07:00:00Z"),
            ("bucket=day", "2026-11-25T00:00:00Z"),
            ("offset=+05:30", "2026-11-25T07:30:00Z"),
            ("offset=-05:45", "2026-11-25T06:45:00Z"),
            ("bucket=day&offset=+05:30", "2026-11-24T18:30:00Z"),
            ("bucket=day&offset=-08:00", "2026-11-24T08:00:00Z"),
        ] {
            let selection = parse(query, NOW_S).unwrap();
            let starts: Vec<i64> = selection.starts_s().collect();
            let seconds = selection.bucket.seconds();
            assert_eq!(jiff::Timestamp::from_second(starts[47]).unwrap().to_string(), last, "{query}");
            assert!(starts.len() == 48 && starts.windows(2).all(|pair| pair[1] - pair[0] == seconds), "{query}");
            assert!((starts[47]..starts[47] + seconds).contains(&NOW_S), "{query}");
            assert_eq!(selection.range_us(), starts[0] * 1_000_000..(starts[47] + seconds) * 1_000_000);
            for (index, start) in starts.iter().enumerate() {
                let us = start * 1_000_000;
                assert_eq!(selection.index(us), index);
                assert_eq!(selection.index(us + seconds * 1_000_000 - 1), index);
            }
        }
    }
}
