//! The query string of /arrivals.

use super::order::{Given, Part, Place, Query};
use super::{Needle, sender};
use crate::reply::Fault;
use crate::timestamp::{Moment, Timestamp};

/// The parameters.
pub const NAMES: [&str; 11] =
    ["limit", "after", "before", "wait", "from", "since", "q", "type", "source", "from_id", "message_id"];

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

/// What the messages have in common. Without `since` and `q`, each is compared exactly.
#[derive(Clone, Debug, Default, PartialEq)]
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

/// Checks every parameter and reports all that are wrong.
pub fn check(given: &Given<'_>) -> Result<Query<Selection>, Vec<Fault>> {
    let mut faults = Vec::new();
    let Part { place, limit, wait } = given.part(&mut faults);
    let since = given.get("since").map(Timestamp::parse).transpose().unwrap_or_else(|refusal| {
        faults.push(Fault::parameter("since", refusal));
        None
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let filter = Filter {
        from: given.get("from").map(sender),
        since: since.map(|since| since.moment()),
        needle: given.get("q").and_then(Needle::new),
        kind: given.text("type"),
        source: given.text("source"),
        from_id: given.text("from_id"),
        message_id: given.text("message_id"),
    };
    Ok(Query { selection: Selection { place, limit, filter }, wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> Result<Query<Selection>, Vec<Fault>> {
        super::check(&Given::decode(query, &NAMES))
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
}
