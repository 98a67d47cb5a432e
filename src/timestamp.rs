//! Timestamps as senders write them, and the moments they stand for.
//!
//! A [`Timestamp`] keeps the text exactly as it came, because it is returned so, and beside it the [`Moment`] that
//! orders it: as text, `10:00:00.5Z` would sort before `10:00:00Z`.

use crate::reply::Refusal;
use jiff::civil::DateTime;

/// A point in time, exact to the nanosecond for the years 1 to 9999.
///
/// Nanoseconds since the epoch do not fit 64 bits over that range, so it is two integers, stored as two columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Microseconds since 1970-01-01T00:00:00 UTC, rounded down.
    pub us: i64,
    /// The nanoseconds beyond `us`, 0 to 999.
    pub ns: i64,
}

impl Moment {
    /// Before every moment a sender can name. Rows taken over from another program whose `ts` cannot be read have it:
    /// they are listed first, and are not `since` anything.
    pub const UNKNOWN: Moment = Moment { us: i64::MIN, ns: 0 };
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// An ISO 8601 UTC instant with `Z`, as text and as the [`Moment`] it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timestamp {
    text: String,
    moment: Moment,
}

impl Timestamp {
    /// Parses `YYYY-MM-DDTHH:MM:SS[.fraction]Z`: years 0001 to 9999, 1 to 9 digits of fraction, a date that the
    /// calendar has, and no leap second (POSIX time has none, so it could not be ordered).
    pub fn parse(text: &str) -> Result<Timestamp, Refusal> {
        const REFUSAL: Refusal = Refusal {
            kind: "datetime_parsing",
            msg: "Input should be an ISO 8601 instant in UTC with Z, for example 2025-01-15T10:00:00Z, \
                  with up to 9 digits of a second's fraction",
        };
        let moment = parse_moment(text.as_bytes()).ok_or(REFUSAL)?;
        Ok(Timestamp { text: text.to_owned(), moment })
    }

    /// The instant of a time in seconds since 1970; None before that and after the year 9999.
    pub fn of_unix_s(seconds: i64) -> Option<Timestamp> {
        let seconds = u64::try_from(seconds).ok()?;
        let civil = EPOCH.checked_add(std::time::Duration::from_secs(seconds)).ok()?;
        Timestamp::parse(&format!("{civil}Z")).ok()
    }

    /// The present instant on this machine's clock, in milliseconds.
    pub fn now() -> Timestamp {
        Timestamp::parse(&format!("{:.3}", jiff::Timestamp::now())).expect("the clock shows a year up to 9999")
    }

    /// The text as it was sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The instant that the text names.
    pub fn moment(&self) -> Moment {
        self.moment
    }
}

/// The shape is checked here, byte by byte, because date libraries take more than the contract does (lower case, a
/// space for the `T`, second 60); the calendar is jiff's.
fn parse_moment(text: &[u8]) -> Option<Moment> {
    let (seconds, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    let shape = seconds.iter().zip(b"dddd-dd-ddTdd:dd:dd").all(|(byte, shape)| match shape {
        b'd' => byte.is_ascii_digit(),
        _ => byte == shape,
    });
    let fraction = match fraction {
        [] => &[],
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    if !shape {
        return None;
    }
    let number = |from: usize, to: usize| number(&seconds[from..to]);
    let year = i16::try_from(number(0, 4)).ok().filter(|&year| year >= 1)?;
    let nanoseconds = number_scaled(fraction);
    let [month, day, hour, minute, second] =
        [number(5, 7), number(8, 10), number(11, 13), number(14, 16), number(17, 19)]
            .map(|two_digits| two_digits as i8); // at most 99
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let since_epoch = civil.duration_since(EPOCH);
    Some(Moment { us: since_epoch.as_secs() * 1_000_000 + nanoseconds / 1_000, ns: nanoseconds % 1_000 })
}

/// The value of a run of ASCII digits, at most 9 of them.
fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}

/// The nanoseconds that a fraction's digits (0 to 9 of them) stand for.
fn number_scaled(digits: &[u8]) -> i64 {
    (digits.len()..9).fold(number(digits), |value, _| value * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Option<Moment> {
        Timestamp::parse(text).ok().map(|timestamp| timestamp.moment())
    }

    #[test]
    fn unix_seconds_are_an_instant_from_1970_to_9999() {
        for (seconds, text) in [
            (0, Some("1970-01-01T00:00:00Z")),
            (1_790_416_800, Some("2026-09-26T10:00:00Z")),
            (253_402_300_799, Some("9999-12-31T23:59:59Z")),
            (253_402_300_800, None),
            (-1, None),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            let timestamp = Timestamp::of_unix_s(seconds);
            assert_eq!(timestamp.as_ref().map(Timestamp::as_str), text, "{seconds}");
            assert!(timestamp.is_none_or(|timestamp| timestamp.moment() == Moment { us: seconds * 1_000_000, ns: 0 }));
        }
    }

    #[test]
    fn the_moment_is_exact_and_the_text_is_kept() {
        for (text, us, ns) in [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2025-01-15T10:00:00Z", 1_736_935_200_000_000, 0),
            ("2025-01-15T10:00:00.5Z", 1_736_935_200_500_000, 0),
            ("2025-01-15T10:00:00.123456789Z", 1_736_935_200_123_456, 789),
            ("2025-01-15T10:00:00.000000001Z", 1_736_935_200_000_000, 1),
            ("1969-12-31T23:59:59.9Z", -100_000, 0),
            ("2024-02-29T23:59:59Z", 1_709_251_199_000_000, 0),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000, 0),
            ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999, 999),
        ] {
            let timestamp = Timestamp::parse(text).unwrap();
            assert_eq!(timestamp.moment(), Moment { us, ns }, "{text}");
            assert_eq!(timestamp.as_str(), text);
        }
    }

    #[test]
    fn what_is_not_a_real_instant_in_utc_is_refused() {
        for text in [
            "",
            "Z",
            "2025",
            "2025-01-15",
            "2025-01-15T10:00Z",
            "2025-01-15T10:00:00",
            "2025-01-15T10:00:00+00:00",
            "2025-01-15T10:00:00z",
            "2025-01-15t10:00:00Z",
            "2025-01-15 10:00:00Z",
            " 2025-01-15T10:00:00Z",
            "2025-01-15T10:00:00Z ",
            "2025-01-15T10:00:00Z\n",
            "2025-01-15T10:00:00.Z",
            "2025-01-15T10:00:00,5Z",
            "2025-01-15T10:00:00.1234567890Z",
            "2025-01-15T10:00:00.12x4Z",
            "2025-02-30T10:00:00Z",
            "2025-02-29T10:00:00Z",
            "2025-13-01T10:00:00Z",
            "2025-00-01T10:00:00Z",
            "2025-01-00T10:00:00Z",
            "2025-01-15T24:00:00Z",
            "2025-01-15T10:60:00Z",
            "2025-01-15T10:00:60Z",
            "0000-01-01T00:00:00Z",
            "+025-01-15T10:00:00Z",
            "2025-01-1५T10:00:00Z",
            "２０２５-01-15T10:00:00Z",
            "2025/01/15T10:00:00Z",
        ] {
            assert_eq!(moment(text), None, "{text:?}");
        }
    }

    #[test]
    fn moments_order_as_an_independent_library_orders_them() {
        fastrand::seed(20_250_115);
        let random = || {
            let fraction: String = (0..fastrand::usize(0..=9)).map(|_| fastrand::digit(10)).collect();
            let dot = if fraction.is_empty() { "" } else { "." };
            let (month, day) = (fastrand::u8(1..=12), fastrand::u8(1..=31));
            let (hour, minute, second) = (fastrand::u8(0..24), fastrand::u8(0..60), fastrand::u8(0..60));
            let year = fastrand::u16(1..=9998);
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}Z")
        };
        for _ in 0..20_000 {
            let (a, b) = (random(), random());
            let oracle = |text: &str| text.parse::<jiff::Timestamp>().ok();
            assert_eq!(moment(&a).is_some(), oracle(&a).is_some(), "{a}");
            if let (Some(ours), Some(theirs)) = (moment(&a), oracle(&a)) {
                assert_eq!(i128::from(ours.us) * 1_000 + i128::from(ours.ns), theirs.as_nanosecond(), "{a}");
                if let (Some(other), Some(their_other)) = (moment(&b), oracle(&b)) {
                    assert_eq!(ours.cmp(&other), theirs.cmp(&their_other), "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        fastrand::seed(7);
        for _ in 0..200_000 {
            let mut bytes = b"2025-01-15T10:00:00.123456789Z".to_vec();
            for _ in 0..fastrand::usize(0..4) {
                let at = fastrand::usize(0..bytes.len());
                bytes[at] = fastrand::u8(..);
            }
            bytes.truncate(fastrand::usize(0..=bytes.len()));
            let _ = parse_moment(&bytes); // only that it returns is asserted
        }
    }
}
