//! What the engines compare here and not in SQL, so that they find the same.

use crate::query::arrivals;
use crate::store::{Arrival, Filter, Record};
use crate::timestamp::{Moment, Timestamp};
use std::ops::RangeInclusive;

/// For each of some followers, a cursor and a filter, whether a message after the cursor may match. `arrivals` are all
/// messages that came after a cursor that is within `known`; of what came after another one nothing is known.
pub(super) fn may_match(
    followers: &[(i64, arrivals::Filter)],
    known: RangeInclusive<i64>,
    arrivals: &[Arrival],
) -> Vec<bool> {
    let fields: Vec<(i64, Fields<'_>)> = arrivals.iter().map(|arrival| (arrival.seq, Fields::from(arrival))).collect();
    let mut scratch = Vec::new();
    // Many follow with the same filter: pages of one kind, or no filter at all.
    let mut newest: Vec<(&arrivals::Filter, Option<i64>)> = Vec::new();
    let may_match = followers.iter().map(|(after, filter)| {
        let found = newest.iter().find(|(known, _)| *known == filter).map(|(_, seq)| *seq);
        let seq = found.unwrap_or_else(|| {
            let seq = fields.iter().rev().find(|(_, fields)| filter.takes(fields, &mut scratch)).map(|(seq, _)| *seq);
            newest.push((filter, seq));
            seq
        });
        !known.contains(after) || seq.is_some_and(|seq| seq > *after)
    });
    may_match.collect()
}

/// What a filter looks at.
pub(super) struct Fields<'a> {
    pub(super) message_id: &'a [u8],
    pub(super) from: &'a [u8],
    pub(super) moment: Moment,
    pub(super) text: Option<&'a [u8]>,
    pub(super) kind: &'a [u8],
    pub(super) source: &'a [u8],
    pub(super) from_id: Option<&'a [u8]>,
}

impl<'a> From<&'a Arrival> for Fields<'a> {
    fn from(arrival: &'a Arrival) -> Fields<'a> {
        Fields {
            message_id: arrival.message_id.as_bytes(),
            from: arrival.from.as_bytes(),
            moment: Timestamp::parse(&arrival.ts).map_or(Moment::UNKNOWN, |ts| ts.moment()),
            text: arrival.text.as_ref().map(String::as_bytes),
            kind: arrival.kind.as_bytes(),
            source: arrival.source.as_bytes(),
            from_id: arrival.from_id.as_ref().map(String::as_bytes),
        }
    }
}

impl arrivals::Filter {
    /// Whether a message matches. `scratch` is room that one caller's many calls share.
    pub(super) fn takes(&self, fields: &Fields<'_>, scratch: &mut Vec<u8>) -> bool {
        let is = |wanted: &Option<String>, field: Option<&[u8]>| {
            wanted.as_ref().is_none_or(|wanted| field == Some(wanted.as_bytes()))
        };
        is(&self.message_id, Some(fields.message_id))
            && is(&self.from, Some(fields.from))
            && is(&self.kind, Some(fields.kind))
            && is(&self.source, Some(fields.source))
            && is(&self.from_id, fields.from_id)
            && self.since.is_none_or(|since| fields.moment >= since)
            && self.needle.as_ref().is_none_or(|needle| fields.text.is_some_and(|text| needle.is_in(text, scratch)))
    }
}

impl Filter {
    /// Whether a message matches. `scratch` is room that one caller's many calls share.
    pub(super) fn takes(&self, record: &Record, moment: Moment, scratch: &mut Vec<u8>) -> bool {
        self.from.as_ref().is_none_or(|from| record.from == *from)
            && self.since.is_none_or(|since| moment >= since)
            && self.needle.as_ref().is_none_or(|needle| {
                let text = record.text.as_deref();
                text.is_some_and(|text| needle.is_in(text.as_bytes(), scratch))
            })
    }
}

/// The moment of a ts, whatever stands there.
pub(super) fn moment_of(ts: &str) -> Moment {
    Timestamp::parse(ts).map_or(Moment::UNKNOWN, |timestamp| timestamp.moment())
}
