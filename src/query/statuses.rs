//! The query string of /statuses.

use super::arrivals::Place;
use super::{LIMIT_DEFAULT, LIMIT_MAX, OFFSET_MAX, integer};
use crate::reply::{Fault, Refusal};
use std::borrow::Cow;

/// Which statuses of outgoing messages, in which part of the order of arrival.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Where the page lies; never in front of something.
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

/// Reads the query, and reports all parameters that are wrong. Unknown ones are ignored.
pub fn parse(query: &str) -> Result<Selection, Vec<Fault>> {
    let value = |name: &str| -> Option<Cow<'_, str>> {
        form_urlencoded::parse(query.as_bytes()).filter(|(known, _)| known == name).last().map(|(_, value)| value)
    };
    let mut faults = Vec::new();
    let mut number = |name, text: Option<&str>, default, min, max| {
        integer(text, default, min, max).unwrap_or_else(|refusal: Refusal| {
            faults.push(Fault::parameter(name, refusal));
            default
        })
    };
    let limit = number("limit", value("limit").as_deref(), LIMIT_DEFAULT, 1, LIMIT_MAX);
    let place = match value("after").as_deref() {
        None => Place::Newest,
        Some("now") => Place::Now,
        after => Place::After(i64::try_from(number("after", after, 0, 0, OFFSET_MAX)).unwrap_or(i64::MAX)),
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    let text = |name| value(name).map(Cow::into_owned);
    let recipient = value("recipient").map(|recipient| super::sender(&recipient));
    let (message_id, status) = (text("message_id"), text("status"));
    Ok(Selection { place, limit: limit as usize, message_id, recipient, status }) // at most 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_is_taken_within_its_rule_and_refused_beyond() {
        for (query, place) in [
            ("", Some(Place::Newest)),
            ("after=now", Some(Place::Now)),
            ("after=7&limit=100&unknown=1", Some(Place::After(7))),
            ("after=-1", None),
            ("after=x", None),
            ("limit=0", None),
            ("limit=101", None),
        ] {
            assert_eq!(parse(query).ok().map(|selection| selection.place), place, "{query}");
        }
        assert_eq!(parse("after=x&limit=y").unwrap_err().len(), 2);
        let selection = parse("recipient=+1&message_id=wamid.A%3D&status=read&status=sent").unwrap();
        assert_eq!(selection.recipient.as_deref(), Some("+1"));
        assert_eq!(selection.message_id.as_deref(), Some("wamid.A="));
        assert_eq!(selection.status.as_deref(), Some("sent"));
    }
}
