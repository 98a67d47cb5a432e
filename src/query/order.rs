//! The parameters that all reads in an order of arrival share: where the page lies, how long it is, and whether to wait.

use super::{LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX, integer};
use crate::reply::{Fault, Refusal};
use std::borrow::Cow;
use std::time::Duration;

/// Seconds that a client may ask to wait.
pub(super) const WAIT_S_MAX: u64 = 30;

/// Those that say where a page lies, and whether to wait for it. A link leads to a page that is there.
const PLACES: [&str; 3] = ["after", "before", "wait"];

/// The parameters as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<'a>(Vec<(&'static str, Cow<'a, str>)>);

/// Where a page lies. A cursor is a seq, and 0 stands before everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the end of the order.
    Newest,
    /// Behind everything: only the cursor is wanted.
    Now,
    /// Behind the one with this seq.
    After(i64),
    /// In front of the one with this seq.
    Before(i64),
}

/// A checked query.
#[derive(Clone, Debug)]
pub struct Query<S> {
    /// What the store is asked.
    pub selection: S,
    /// How long to wait when there is nothing.
    pub wait: Duration,
}

/// A part of an order.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Where it lies.
    pub place: Place,
    /// How many at most.
    pub limit: usize,
    /// How long to wait when there is nothing.
    pub wait: Duration,
}

impl<'a> Given<'a> {
    /// Splits and decodes a query string, as /messages does. Of one given twice, the last counts; others are ignored.
    pub fn decode(query: &'a str, names: &[&'static str]) -> Given<'a> {
        let mut given: Vec<(&'static str, Cow<'a, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if let Some(name) = names.iter().find(|known| **known == name) {
                given.retain(|(known, _)| known != name);
                given.push((name, value));
            }
        }
        Given(given)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// The part that is wanted. Every parameter that is wrong is reported.
    pub(super) fn part(&self, faults: &mut Vec<Fault>) -> Part {
        let mut number = |name, default, min, max| {
            integer(self.get(name), default, min, max).unwrap_or_else(|refusal| {
                faults.push(Fault::parameter(name, refusal));
                default
            })
        };
        let limit = number("limit", LIMIT_DEFAULT, 1, LIMIT_MAX) as usize; // at most 100
        let wait = Duration::from_secs(number("wait", 0, 0, WAIT_S_MAX));
        let cursor = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let place = match (self.get("after"), self.get("before")) {
            (Some("now"), _) => Place::Now,
            (Some(_), _) => Place::After(cursor(number("after", 0, 0, OFFSET_MAX))),
            (None, Some(_)) => Place::Before(cursor(number("before", 0, 0, OFFSET_MAX))),
            (None, None) => Place::Newest,
        };
        let mut fault = |name, msg| faults.push(Fault::parameter(name, Refusal { kind: "value_error", msg }));
        if self.get("after").is_some() && self.get("before").is_some() {
            fault("before", "Input should not be given together with after");
        }
        if self.get("wait").is_some() && self.get("after").is_none() {
            fault("wait", "Input should be given together with after");
        }
        Part { place, limit, wait }
    }

    /// The target of the page behind a seq (`after`) or in front of one (`before`): otherwise the same question.
    pub fn target(&self, path: &str, place: &str, seq: i64) -> String {
        let path = format!("{path}?");
        let suffix = path.len();
        let mut target = form_urlencoded::Serializer::for_suffix(path, suffix);
        target.extend_pairs(self.0.iter().filter(|(name, _)| !PLACES.contains(name)));
        target.append_pair(place, &seq.to_string()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = ["limit", "after", "before", "wait", "q"];

    #[test]
    fn a_page_lies_where_its_cursor_says() {
        for (query, place) in [
            ("", Place::Newest),
            ("after=now", Place::Now),
            ("after=0", Place::After(0)),
            ("after=7", Place::After(7)),
            ("after=7&after=8&unknown=1", Place::After(8)),
            ("after=9223372036854775807", Place::After(i64::MAX)),
            ("before=7", Place::Before(7)),
        ] {
            let mut faults = Vec::new();
            assert_eq!(Given::decode(query, &NAMES).part(&mut faults).place, place, "{query}");
            assert!(faults.is_empty(), "{query}");
        }
    }

    #[test]
    fn a_link_leads_to_the_same_question_at_another_place_whatever_the_parameters_hold() {
        fastrand::seed(2207);
        let pool = ['+', '%', '&', '=', '#', ' ', 'é', 'a', '\n', '>', '"', ';'];
        for _ in 0..20_000 {
            let mut given = Given(Vec::new());
            for name in NAMES {
                if fastrand::bool() {
                    let text: String = (0..fastrand::usize(0..5)).filter_map(|_| fastrand::choice(pool)).collect();
                    given.0.push((name, text.into()));
                }
            }
            let link = given.target("/arrivals", "before", 5);
            assert!(link.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'>' && byte != b'"'), "{link}");
            let again = Given::decode(link.strip_prefix("/arrivals?").unwrap(), &NAMES);
            given.0.retain(|(name, _)| !PLACES.contains(name));
            given.0.push(("before", "5".into()));
            assert_eq!(again, given);
        }
    }
}
