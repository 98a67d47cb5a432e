//! The query string of /statuses.

use super::order::{Given, Part, Place, Query};
use super::sender;
use crate::reply::Fault;

/// The parameters.
pub const NAMES: [&str; 7] = ["limit", "after", "before", "wait", "message_id", "recipient", "status"];

/// Which statuses of outgoing messages, in which part of the order of arrival.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Where the page lies.
    pub place: Place,
    /// How many at most.
    pub limit: usize,
    /// Of the message with this message_id.
    pub message_id: Option<String>,
    /// To this recipient.
    pub recipient: Option<String>,
    /// With this word.
    pub status: Option<String>,
}

/// Checks every parameter and reports all that are wrong.
pub fn check(given: &Given<'_>) -> Result<Query<Selection>, Vec<Fault>> {
    let mut faults = Vec::new();
    let Part { place, limit, wait } = given.part(&mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let (message_id, status) = (given.text("message_id"), given.text("status"));
    let recipient = given.get("recipient").map(sender);
    Ok(Query { selection: Selection { place, limit, message_id, recipient, status }, wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str) -> Result<Query<Selection>, Vec<Fault>> {
        super::check(&Given::decode(query, &NAMES))
    }

    #[test]
    fn each_parameter_is_taken_within_its_rule_and_refused_beyond() {
        for (query, place) in [
            ("", Some(Place::Newest)),
            ("after=now&wait=30", Some(Place::Now)),
            ("after=7&limit=100&unknown=1", Some(Place::After(7))),
            ("before=7", Some(Place::Before(7))),
            ("before=7&after=7", None),
            ("after=-1", None),
            ("after=x", None),
            ("limit=0", None),
            ("limit=101", None),
            ("wait=1", None),
        ] {
            assert_eq!(check(query).ok().map(|query| query.selection.place), place, "{query}");
        }
        assert_eq!(check("after=x&limit=y").unwrap_err().len(), 2);
        let selection = check("recipient=+1&message_id=wamid.A%3D&status=read&status=sent").unwrap().selection;
        assert_eq!(selection.recipient.as_deref(), Some("+1"));
        assert_eq!(selection.message_id.as_deref(), Some("wamid.A="));
        assert_eq!(selection.status.as_deref(), Some("sent"));
    }
}
