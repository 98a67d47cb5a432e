//! Blanking out a person in a delivery that is kept as it came.
//!
//! What mentions the person is a text or a number somewhere in the JSON. The innermost list item around it, in WhatsApp's
//! envelope a message, a status or a contact, becomes `{}` and blanks, so that all other parts stay in their places.

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::ops::Range;

/// Objects and lists within each other. What lies deeper is looked at as one text.
const DEPTH_MAX: usize = 64;

/// The body without what mentions a person; None if nothing does. A body that is not JSON is blanked out whole, and so is
/// one in which a mention could not be separated from the rest.
pub fn without(body: &[u8], mentions: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let whole = 0..body.len();
    let Some((text, value)) =
        std::str::from_utf8(body).ok().and_then(|text| Some((text, serde_json::from_str(text).ok()?)))
    else {
        return mentions(&String::from_utf8_lossy(body)).then(|| vec![b' '; body.len()]);
    };
    let mut mask = Mask { text, mentions: &mentions, found: Vec::new() };
    mask.look_at(value, &whole, DEPTH_MAX);
    if mask.found.is_empty() && !mentions(text) {
        return None;
    }
    let mut masked = body.to_vec();
    mask.found.sort_by_key(Range::len); // one that lies in another is overwritten by it
    for range in mask.found {
        masked[range.clone()].fill(b' ');
        masked[range].iter_mut().zip(b"{}").for_each(|(byte, brace)| *byte = *brace);
    }
    if std::str::from_utf8(&masked).is_ok_and(|masked| !mentions(masked)) {
        return Some(masked);
    }
    Some(vec![b' '; body.len()])
}

struct Mask<'a, M> {
    text: &'a str,
    mentions: &'a M,
    /// The items to blank out.
    found: Vec<Range<usize>>,
}

impl<M: Fn(&str) -> bool> Mask<'_, M> {
    /// `item` is the innermost list item around the value.
    fn look_at(&mut self, value: &RawValue, item: &Range<usize>, depth: usize) {
        let text = value.get();
        let found = match (text.as_bytes().first(), depth) {
            (Some(b'['), 1..) => {
                let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
                items.into_iter().for_each(|value| self.look_at(value, &self.range_of(value), depth - 1));
                false
            }
            (Some(b'{'), 1..) => {
                let members = serde_json::Deserializer::from_str(text).deserialize_map(Members).unwrap_or_default();
                let named = members.iter().any(|(name, _)| (self.mentions)(name));
                members.into_iter().for_each(|(_, value)| self.look_at(value, item, depth - 1));
                named
            }
            (Some(b'"'), _) => serde_json::from_str::<String>(text).is_ok_and(|text| (self.mentions)(&text)),
            _ => (self.mentions)(text),
        };
        if found {
            self.found.push(item.clone());
        }
    }

    fn range_of(&self, part: &RawValue) -> Range<usize> {
        let start = part.get().as_ptr() as usize - self.text.as_ptr() as usize; // it was borrowed from the text
        start..start + part.get().len()
    }
}

/// The members of an object, also those whose name is there twice.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(body: &str) -> Option<String> {
        without(body.as_bytes(), |text| text.contains("12025550143")).map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn the_items_that_mention_a_person_become_blank_and_the_others_keep_their_places() {
        for (body, expected) in [
            (r#"{"a":["12025550143","x"]}"#, Some(r#"{"a":[{} ,"x"]}"#)),
            (r#"{"m":[{"from":"12025550143"},{"from":"1"}]}"#, Some(r#"{"m":[{} ,{"from":"1"}]}"#)),
            (r#"{"m":[{"p":[{"n":12025550143}],"x":1}]}"#, Some(r#"{"m":[{"p":[{} ],"x":1}]}"#)),
            (r#"{"m":[{"f":"12025550143","p":[{"n":12025550143}]}]}"#, Some(r#"{"m":[{} ]}"#)),
            (r#"{"m":[{"p":[{"n":12025550143}],"f":"12025550143"}]}"#, Some(r#"{"m":[{} ]}"#)),
            (r#"{"m":[{"f":"\u0031\u0032025550143"}]}"#, Some(r#"{"m":[{} ]}"#)),
            (r#"{"m":[{"12025550143":1}]}"#, Some(r#"{"m":[{} ]}"#)),
            (r#"{"m":[{"f":"12025550143","f":"1"}]}"#, Some(r#"{"m":[{} ]}"#)),
            (r#"{"f":"12025550143"}"#, Some("{}")),
            ("from 12025550143", Some("")),
            (r#"{"m":[{"from":"12025550144"}]}"#, None),
            ("nothing", None),
            ("", None),
        ] {
            let masked = masked(body);
            assert!(masked.as_ref().is_none_or(|masked| masked.len() == body.len()), "{body}");
            let blanks_as_one = masked.map(|masked| {
                let words: Vec<&str> = masked.split(' ').filter(|word| !word.is_empty()).collect();
                words.join(" ")
            });
            assert_eq!(blanks_as_one.as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn whatever_the_body_is_nothing_of_the_person_is_left() {
        fastrand::seed(18);
        let pool = ["{", "}", "[", "]", ":", ",", "\"", "12025550143", "\"12025550143\"", "\\u0031", "\"a\"", "1", " "];
        for _ in 0..50_000 {
            let body: String = (0..fastrand::usize(0..14)).filter_map(|_| fastrand::choice(pool)).collect();
            let left = masked(&body).unwrap_or(body.clone());
            assert!(!left.contains("12025550143"), "{body}");
        }
        let deep = format!("{}\"12025550143\"{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(!masked(&deep).unwrap().contains("12025550143"));
    }
}
