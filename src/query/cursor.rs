//! The cursor that leads from one page to the next.

use crate::timestamp::Moment;
use std::fmt;

/// The place of a message in the order, as text `MICROSECONDS.NANOSECONDS.MESSAGE_ID`.
///
/// It says which message was the last, not how many there were, so messages that arrive meanwhile shift nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) moment: Moment,
    pub(crate) id: String,
}

impl Cursor {
    /// Reads a cursor's text. None for what no cursor looks like.
    pub fn parse(text: &str) -> Option<Cursor> {
        let (us, rest) = text.split_once('.')?;
        let (ns, id) = rest.split_once('.')?;
        let us = us.parse().ok()?;
        let ns = ns.parse().ok().filter(|ns| (0..1000).contains(ns))?;
        Some(Cursor { moment: Moment { us, ns }, id: id.to_owned() })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Moment { us, ns } = self.moment;
        write!(f, "{us}.{ns}.{}", self.id)
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
            let cursor = Cursor { moment: Moment { us: fastrand::i64(..), ns: fastrand::i64(0..1000) }, id };
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in
            ["", ".", "..", "1", "1.2", "a.0.m", "1.1000.m", "1.-1.m", "1.0", "1.0~5", "9223372036854775808.0.m"]
        {
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
