//! The query string of /messages: from bytes to a checked [`Selection`], and back to the link of the next page.
//! [`arrivals`] has that of /arrivals, [`statuses`] that of /statuses, [`history`] that of /stats/history,
//! [`refusals`] that of /refusals.

pub mod refusals;

pub mod history;

pub mod statuses;

pub mod arrivals;

pub mod order;

mod cursor;
mod needle;

pub use cursor::Cursor;
pub use needle::Needle;
pub(crate) use needle::fold;

use crate::reply::{Fault, Refusal};
use crate::timestamp::{Moment, Timestamp};
use std::borrow::Cow;

/// A page has at most so many messages.
const LIMIT_MAX: u64 = 100;
const LIMIT_DEFAULT: u64 = 50;
/// As far as SQLite can count.
const OFFSET_MAX: u64 = i64::MAX as u64;
/// With `q`: a search keeps the places of the messages that it skips.
const OFFSET_SEARCH_MAX: u64 = 10_000;

/// The parameters as they were given; of one given twice, the last. Unknown ones are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a> {
    limit: Option<Cow<'a, str>>,
    offset: Option<Cow<'a, str>>,
    from: Option<Cow<'a, str>>,
    since: Option<Cow<'a, str>>,
    q: Option<Cow<'a, str>>,
    after: Option<Cow<'a, str>>,
}

/// A checked query, and what the answer repeats of it.
#[derive(Clone, Debug)]
pub struct Query {
    /// What the store is asked.
    pub selection: Selection,
    /// The offset to repeat in the answer; 0 with a cursor.
    pub offset: u64,
}

/// Which messages, in which part of the order.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Those of this sender.
    pub from: Option<String>,
    /// Those at this moment or later.
    pub since: Option<Moment>,
    /// Those with this in their text.
    pub needle: Option<Needle>,
    /// Where in the order the page begins.
    pub start: Start,
    /// How many at most.
    pub limit: usize,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so many of the matching messages.
    Offset(u64),
    /// After the message that the cursor stands for.
    After(Cursor),
}

impl<'a> Parameters<'a> {
    /// Splits and decodes an `application/x-www-form-urlencoded` string. Any bytes can be decoded: what is not a valid
    /// percent-encoding stands for itself, and what is not UTF-8 becomes U+FFFD (WHATWG URL, section 5.1).
    pub fn decode(query: &'a str) -> Parameters<'a> {
        let mut parameters = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let parameter = match name.as_ref() {
                "limit" => &mut parameters.limit,
                "offset" => &mut parameters.offset,
                "from" => &mut parameters.from,
                "since" => &mut parameters.since,
                "q" => &mut parameters.q,
                "after" => &mut parameters.after,
                _ => continue,
            };
            *parameter = Some(value);
        }
        parameters
    }

    /// Checks every parameter and reports all that are wrong.
    pub fn check(&self) -> Result<Query, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut check = |name, result: Result<u64, Refusal>| {
            result.unwrap_or_else(|refusal| {
                faults.push(Fault::parameter(name, refusal));
                0
            })
        };
        let limit = check("limit", integer(self.limit.as_deref(), LIMIT_DEFAULT, 1, LIMIT_MAX));
        let offset = check("offset", integer(self.offset.as_deref(), 0, 0, OFFSET_MAX));
        let since = self.since.as_deref().map(Timestamp::parse).transpose().unwrap_or_else(|refusal| {
            faults.push(Fault::parameter("since", refusal));
            None
        });
        let needle = self.q.as_deref().and_then(Needle::new);
        let start = match self.after.as_deref().map(Cursor::parse) {
            None => {
                if needle.is_some() && offset > OFFSET_SEARCH_MAX {
                    let msg = "Input should be 10000 or less with q; to get further, follow the Link header, whose \
                               parameter after has no such bound";
                    faults.push(Fault::parameter("offset", Refusal { kind: "less_than_equal", msg }));
                }
                Start::Offset(offset)
            }
            Some(Some(cursor)) => {
                if self.offset.is_some() {
                    let msg = "Input should not be given together with after, which says where the page begins";
                    faults.push(Fault::parameter("offset", Refusal { kind: "value_error", msg }));
                }
                Start::After(cursor)
            }
            Some(None) => {
                faults.push(Fault::parameter("after", CURSOR_REFUSAL));
                Start::Offset(0)
            }
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        let selection = Selection {
            from: self.from.as_deref().map(sender),
            since: since.map(|since| since.moment()),
            needle,
            limit: limit as usize, // at most 100
            start,
        };
        Ok(Query { selection, offset })
    }

    /// The target of the next page: the same query from a cursor on.
    pub fn next(&self, cursor: &Cursor) -> String {
        const PATH: &str = "/messages?";
        let mut target = form_urlencoded::Serializer::for_suffix(String::from(PATH), PATH.len());
        let given = [("limit", &self.limit), ("from", &self.from), ("since", &self.since), ("q", &self.q)];
        for (name, value) in given {
            if let Some(value) = value {
                target.append_pair(name, value);
            }
        }
        target.append_pair("after", &cursor.to_string()).finish()
    }
}

const CURSOR_REFUSAL: Refusal = Refusal {
    kind: "value_error",
    msg: "Input should be a cursor from the Link header of a page; begin again with a query without after",
};

/// A `+` that was not percent-encoded has become a space. No number begins with one.
fn sender(from: &str) -> String {
    match from.strip_prefix(' ') {
        Some(digits) => format!("+{digits}"),
        None => from.to_owned(),
    }
}

fn integer(value: Option<&str>, default: u64, min: u64, max: u64) -> Result<u64, Refusal> {
    let Some(value) = value else { return Ok(default) };
    let negative = value.strip_prefix('-');
    let digits = negative.unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal { kind: "int_parsing", msg: "Input should be a whole number in decimal digits" });
    }
    let number = digits.parse().unwrap_or(u64::MAX); // only too many digits are left to fail
    if number < min || (negative.is_some() && number > 0) {
        let msg = if min == 0 { "Input should be 0 or more" } else { "Input should be 1 or more" };
        return Err(Refusal { kind: "greater_than_equal", msg });
    }
    if number > max {
        let msg = match max {
            LIMIT_MAX => "Input should be 100 or less",
            order::WAIT_S_MAX => "Input should be 30 or less",
            refusals::LIMIT_MAX => "Input should be 200 or less",
            history::COUNT_MAX => "Input should be 744 or less",
            _ => "Input should be 2^63-1 or less",
        };
        return Err(Refusal { kind: "less_than_equal", msg });
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> Result<Query, Vec<Fault>> {
        Parameters::decode(query).check()
    }

    #[test]
    fn each_parameter_is_taken_within_its_bounds_and_refused_beyond() {
        for (query, right) in [
            ("", true),
            ("limit=1", true),
            ("limit=100", true),
            ("limit=0", false),
            ("limit=101", false),
            ("limit=-1", false),
            ("limit=", false),
            ("limit=1.0", false),
            ("limit=ten", false),
            ("limit=%D9%A3", false), // an Arabic digit
            ("limit=99999999999999999999999", false),
            ("offset=0", true),
            ("offset=9223372036854775807", true),
            ("offset=9223372036854775808", false),
            ("offset=-1", false),
            ("q=a&offset=10000", true),
            ("q=a&offset=10001", false),
            ("q=&offset=10001", true),
            ("since=2025-01-15T10:00:00Z", true),
            ("since=2025-01-15T10%3A00%3A00Z", true),
            ("since=2025-01-15", false),
            ("since=", false),
            ("after=1.2.m", true),
            ("after=", false),
            ("after=1.2.m&offset=0", false),
            ("unknown=%FF&x", true),
            ("limit=0&limit=5", true),
            ("limit=5&limit=0", false),
        ] {
            assert_eq!(check(query).is_ok(), right, "{query:?}");
        }
        assert_eq!(check("limit=0&offset=x&since=y&after=z").unwrap_err().len(), 4);
    }

    #[test]
    fn a_plus_sign_is_found_however_it_was_sent() {
        for query in ["from=%2B919", "from=+919"] {
            assert_eq!(check(query).unwrap().selection.from.as_deref(), Some("+919"), "{query}");
        }
        assert_eq!(check("from=919").unwrap().selection.from.as_deref(), Some("919"));
    }

    #[test]
    fn the_link_of_the_next_page_asks_the_same_question() {
        fastrand::seed(14);
        let pool = ['+', '%', '&', '=', '#', ' ', 'é', 'a', '\n', '>', '"', ';'];
        for _ in 0..20_000 {
            let random = || -> Option<Cow<'_, str>> {
                let text: String = (0..fastrand::usize(0..5)).filter_map(|_| fastrand::choice(pool)).collect();
                fastrand::bool().then_some(Cow::Owned(text))
            };
            let parameters =
                Parameters { from: random(), q: random(), since: random(), limit: random(), ..Default::default() };
            let cursor = Cursor::parse("-5.7.m ü&=>").unwrap();
            let link = parameters.next(&cursor);
            assert!(link.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'>' && byte != b'"'), "{link}");
            let again = Parameters::decode(link.strip_prefix("/messages?").unwrap());
            assert_eq!(again, Parameters { after: Some(cursor.to_string().into()), ..parameters });
        }
    }

    #[test]
    fn no_query_makes_the_decoder_panic() {
        fastrand::seed(15);
        for _ in 0..50_000 {
            let query: String = (0..fastrand::usize(0..20))
                .filter_map(|_| fastrand::choice(['%', '2', 'B', '&', '=', '+', 'q', 'é', '\0']))
                .collect();
            let _ = check(&query); // only that it returns is asserted
        }
    }
}
