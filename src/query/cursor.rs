//! The cursor that leads from one page to the next.

use crate::timestamp::Moment;
use std::fmt;

/// The place of a message in the order, as text `MICROSECONDS.NANOSECONDS.MESSAGE_ID`.
///
/// It says which message was the last, not how many there were, so messages that arrive meanwhile shift nothing. A
/// message_id too long for a request's head, or that is no text, is replaced by its row: `MICROSECONDS.NANOSECONDS~ROW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) moment: Moment,
    pub(crate) last: Last,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Id(String),
    Row(i64),
}

impl Cursor {
    /// Reads a cursor's text. None for what no cursor looks like.
    pub fn parse(text: &str) -> Option<Cursor> {
        let (us, rest) = text.split_once('.')?;
        let us = us.parse().ok()?;
        let (ns, last) = match rest.split_once(['.', '~'])? {
            (ns, id) if rest.as_bytes()[ns.len()] == b'.' => (ns, Last::Id(id.to_owned())),
            (ns, row) => (ns, Last::Row(row.parse().ok()?)),
        };
        let ns = ns.parse().ok().filter(|ns| (0..1000).contains(ns))?;
        Some(Cursor { moment: Moment { us, ns }, last })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment { us, ns } = self.moment;
        match &self.last {
            Last::Id(id) => write!(f, "{us}.{ns}.{id}"),
            Last::Row(row) => write!(f, "{us}.{ns}~{row}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_text_whatever_the_message_id() {
        fastrand::seed(12);
        for _ in 0..20_000 {
            let id =
                (0..fastrand::usize(1..6)).filter_map(|_| fastrand::choice(['.', '~', 'é', '0', ' ', '-'])).collect();
            let last = if fastrand::bool() { Last::Id(id) } else { Last::Row(fastrand::i64(..)) };
            let cursor = Cursor { moment: Moment { us: fastrand::i64(..), ns: fastrand::i64(0..1000) }, last };
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "1",
            "1.2",
            "a.0.m",
            "1.1000.m",
            "1.-1.m",
            "1.0~",
            "1.0~x",
            "1~0.m",
            "9223372036854775808.0.m",
        ] {
            assert_eq!(Cursor::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        fastrand::seed(13);
        for _ in 0..50_000 {
            let text: String =
                (0..fastrand::usize(0..12)).filter_map(|_| fastrand::choice(['1', '.', '~', '-', 'é', '9'])).collect();
            let _ = Cursor::parse(&text); // only that it returns is asserted
        }
    }
}
