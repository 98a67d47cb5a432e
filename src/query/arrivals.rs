//! The query string of /arrivals: from bytes to a checked [`Selection`], and back to the links beside a page.

use super::{LIMIT_DEFAULT, LIMIT_MAX, Needle, OFFSET_MAX, integer, sender};
use crate::reply::{Fault, Refusal};
use crate::timestamp::{Moment, Timestamp};
use std::borrow::Cow;
use std::time::Duration;

/// Seconds that a client may ask to wait for messages.
pub(super) const WAIT_S_MAX: u64 = 30;

const NAMES: [&str; 11] =
    ["limit", "after", "before", "wait", "from", "since", "q", "type", "source", "from_id", "message_id"];

/// Those that say where a page lies, and whether to wait for it. A link leads to a page that is there.
const PLACES: [&str; 3] = ["after", "before", "wait"];

/// The parameters as they were given; of one given twice, the last. Unknown ones are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters<'a>([Option<Cow<'a, str>>; NAMES.len()]);

/// A checked query.
#[derive(Clone, Debug)]
pub struct Query {
    /// What the store is asked.
    pub selection: Selection,
    /// How long to wait when there is nothing.
    pub wait: Duration,
}

/// Which messages, in which part of the order of arrival.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Where the page lies.
    pub place: Place,
    /// How many messages at most.
    pub limit: usize,
    /// Which messages.
    pub filter: Filter,
}

/// Where a page lies. A cursor is a seq, and 0 stands before every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the end of the order.
    Newest,
    /// Behind every message: only the cursor is wanted.
    Now,
    /// Behind the message with this seq.
    After(i64),
    /// In front of the message with this seq.
    Before(i64),
}

/// What the messages have in common. Without `since` and `q`, each is compared exactly.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Who wrote it.
    pub from: Option<String>,
    /// It was sent at this moment or later.
    pub since: Option<Moment>,
    /// In its text.
    pub needle: Option<Needle>,
    /// What it is: `text`, `image` …
    pub kind: Option<String>,
    /// Which kind of sender delivered it.
    pub source: Option<String>,
    /// The identifier that its source has for who wrote it.
    pub from_id: Option<String>,
    /// The message with this message_id.
    pub message_id: Option<String>,
}

impl<'a> Parameters<'a> {
    /// Splits and decodes a query string, as /messages does.
    pub fn decode(query: &'a str) -> Parameters<'a> {
        let mut parameters = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if let Some(index) = NAMES.iter().position(|known| *known == name) {
                parameters.0[index] = Some(value);
            }
        }
        parameters
    }

    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = NAMES.iter().zip(&self.0).find(|(known, _)| **known == name)?;
        value.as_deref()
    }

    /// Checks every parameter and reports all that are wrong.
    pub fn check(&self) -> Result<Query, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut number = |name, default, min, max| {
            integer(self.get(name), default, min, max).unwrap_or_else(|refusal| {
                faults.push(Fault::parameter(name, refusal));
                default
            })
        };
        let limit = number("limit", LIMIT_DEFAULT, 1, LIMIT_MAX);
        let wait = Duration::from_secs(number("wait", 0, 0, WAIT_S_MAX));
        let cursor = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let place = match (self.get("after"), self.get("before")) {
            (Some("now"), _) => Place::Now,
            (Some(_), _) => Place::After(cursor(number("after", 0, 0, OFFSET_MAX))),
            (None, Some(_)) => Place::Before(cursor(number("before", 0, 0, OFFSET_MAX))),
            (None, None) => Place::Newest,
        };
        let mut fault = |name, refusal| faults.push(Fault::parameter(name, refusal));
        if let (Some(_), Some(_)) = (self.get("after"), self.get("before")) {
            fault("before", Refusal { kind: "value_error", msg: "Input should not be given together with after" });
        }
        if let (Some(_), None) = (self.get("wait"), self.get("after")) {
            fault("wait", Refusal { kind: "value_error", msg: "Input should be given together with after" });
        }
        let since = self.get("since").map(Timestamp::parse).transpose().unwrap_or_else(|refusal| {
            fault("since", refusal);
            None
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let text = |name| self.get(name).map(str::to_owned);
        let filter = Filter {
            from: self.get("from").map(sender),
            since: since.map(|since| since.moment()),
            needle: self.get("q").and_then(Needle::new),
            kind: text("type"),
            source: text("source"),
            from_id: text("from_id"),
            message_id: text("message_id"),
        };
        let selection = Selection { place, limit: limit as usize, filter }; // at most 100
        Ok(Query { selection, wait })
    }

    /// The target of the page behind a seq (`after`) or in front of one (`before`): otherwise the same question.
    pub fn target(&self, place: &str, seq: i64) -> String {
        const PATH: &str = "/arrivals?";
        let mut target = form_urlencoded::Serializer::for_suffix(String::from(PATH), PATH.len());
        for (name, value) in NAMES.iter().zip(&self.0).filter(|(name, _)| !PLACES.contains(name)) {
            if let Some(value) = value {
                target.append_pair(name, value);
            }
        }
        target.append_pair(place, &seq.to_string()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> Result<Query, Vec<Fault>> {
        Parameters::decode(query).check()
    }

    #[test]
    fn a_page_lies_where_its_cursor_says() {
        for (query, place) in [
            ("", Place::Newest),
            ("after=now", Place::Now),
            ("after=0", Place::After(0)),
            ("after=7", Place::After(7)),
            ("after=7&after=8", Place::After(8)),
            ("after=9223372036854775807", Place::After(i64::MAX)),
            ("before=7", Place::Before(7)),
        ] {
            assert_eq!(check(query).unwrap().selection.place, place, "{query}");
        }
    }

    #[test]
    fn each_wrong_parameter_is_named() {
        for (query, named) in [
            ("limit=0", "limit: greater_than_equal"),
            ("limit=101", "limit: less_than_equal"),
            ("after=", "after: int_parsing"),
            ("after=Now", "after: int_parsing"),
            ("after=-1", "after: greater_than_equal"),
            ("after=9223372036854775808", "after: less_than_equal"),
            ("before=now", "before: int_parsing"),
            ("after=1&before=2", "before: value_error"),
            ("after=now&before=2", "before: value_error"),
            ("wait=31&after=1", "wait: less_than_equal"),
            ("wait=1.5&after=1", "wait: int_parsing"),
            ("wait=1", "wait: value_error"),
            ("wait=0&before=1", "wait: value_error"),
            ("since=yesterday", "since: datetime_parsing"),
        ] {
            let faults = check(query).unwrap_err();
            assert_eq!(faults.iter().map(Fault::name).collect::<Vec<_>>(), [named], "{query}");
        }
        assert_eq!(check("limit=x&after=y&before=1&since=z").unwrap_err().len(), 4);
    }

    #[test]
    fn a_link_asks_the_same_question_at_another_place() {
        fastrand::seed(21);
        let pool = ['+', '%', '&', '=', '#', ' ', 'é', 'a', '\n', '>', '"', ';'];
        for _ in 0..20_000 {
            let random = |_: &str| -> Option<Cow<'_, str>> {
                let text: String = (0..fastrand::usize(0..5)).filter_map(|_| fastrand::choice(pool)).collect();
                fastrand::bool().then_some(Cow::Owned(text))
            };
            let mut parameters = Parameters(NAMES.map(random));
            let link = parameters.target("before", 5);
            assert!(link.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'>' && byte != b'"'), "{link}");
            let again = Parameters::decode(link.strip_prefix("/arrivals?").unwrap());
            parameters.0[1] = None;
            parameters.0[2] = Some("5".into());
            parameters.0[3] = None;
            assert_eq!(again, parameters);
        }
    }
}
