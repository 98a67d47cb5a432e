//! A message and the types of its fields, each with the only constructor that can make one.

use crate::closed_set::closed_set;
use crate::reply::Refusal;
use crate::timestamp::Timestamp;
use std::ops::Range;

/// Most bytes of a message_id in UTF-8. A cursor carries it, percent-encoded in at most three times as many, within the
/// 16 KiB of a request's head; and a page or a search holds many of them in memory.
pub const MESSAGE_ID_BYTES_MAX: usize = 1024;

/// Most bytes of a [`Party`] in UTF-8. An index and the counts of senders hold it.
pub const PARTY_BYTES_MAX: usize = 1024;

/// Most characters (Unicode scalar values, not bytes) of the text of a native message.
pub const TEXT_CHARS_MAX: usize = 4096;

/// One message as a sender described it, every field checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's identifier of the message; the same one again is the same message.
    pub id: MessageId,
    /// Who wrote it.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// When, by the sender's clock.
    pub ts: Timestamp,
    /// What, if it has text.
    pub text: Option<Text>,
    /// What a provider says beyond that; a native message has none.
    pub details: Option<Details>,
}

/// What a message of a provider has beyond the native fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The type in the provider's words, also one that is not known here.
    pub kind: String,
    /// The provider's own identifier of the person who wrote it, which stays when no number is shown.
    pub from_id: Option<String>,
    /// The name that this person shows.
    pub profile_name: Option<String>,
    /// The provider's identifier of the number that the message was sent to.
    pub channel: Option<String>,
    /// The message_id of the message that this one answers.
    pub reply_to: Option<String>,
    /// Where its bytes are in the body of the delivery.
    pub place: Range<usize>,
}

closed_set! {
    /// The `type` label of `inbox_messages_total`. Types that a provider adds later count as `other`.
    #[expect(missing_docs, reason = "each is the provider's word")]
    pub enum Kind;
    /// The label.
    pub fn label() -> &'static str;
    Text = "text",
    Message = "message",
    Image = "image",
    Video = "video",
    Document = "document",
    Audio = "audio",
    Sticker = "sticker",
    Location = "location",
    Contacts = "contacts",
    Button = "button",
    Interactive = "interactive",
    Reaction = "reaction",
    Order = "order",
    System = "system",
    Edit = "edit",
    Revoke = "revoke",
    Unsupported = "unsupported",
    Other = "other",
}

impl Message {
    /// Its type: that of the provider, or else `text` where there is text and `message` where there is none.
    pub fn kind(&self) -> Kind {
        match &self.details {
            Some(details) => Kind::ALL.into_iter().find(|kind| kind.label() == details.kind).unwrap_or(Kind::Other),
            None if self.text.is_some() => Kind::Text,
            None => Kind::Message,
        }
    }
}

/// A message's identifier: any text of 1 to [`MESSAGE_ID_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageId(String);

impl MessageId {
    /// Takes any text up to the bound that is not empty.
    pub fn parse(text: String) -> Result<MessageId, Refusal> {
        if text.is_empty() {
            return Err(Refusal { kind: "string_too_short", msg: "String should have at least 1 character" });
        }
        if text.len() > MESSAGE_ID_BYTES_MAX {
            return Err(Refusal { kind: "string_too_long", msg: "String should have at most 1024 bytes in UTF-8" });
        }
        Ok(MessageId(text))
    }

    /// The identifier as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A telephone number in E.164 form: `+` and 1 to 15 digits (ITU-T E.164, section 6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msisdn(String);

impl Msisdn {
    /// Takes `+` followed by 1 to 15 ASCII digits, and nothing around them.
    pub fn parse(text: String) -> Result<Msisdn, Refusal> {
        let digits = text.strip_prefix('+').unwrap_or_default();
        if (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Msisdn(text));
        }
        Err(Refusal {
            kind: "string_pattern_mismatch",
            msg: "String should be an E.164 number: + followed by 1 to 15 digits, for example +919876543210",
        })
    }

    /// The number with its `+`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who wrote a message, or to whom: an E.164 number, or what a provider calls a person who shows no number. A text of 1
/// to [`PARTY_BYTES_MAX`] bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party(String);

impl Party {
    /// Takes any text up to the bound that is not empty.
    pub fn named(text: String) -> Option<Party> {
        (1..=PARTY_BYTES_MAX).contains(&text.len()).then_some(Party(text))
    }

    /// Someone of whom nothing is known.
    pub fn unknown() -> Party {
        Party("unknown".to_owned())
    }

    /// The number with its `+`, or the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Msisdn> for Party {
    fn from(number: Msisdn) -> Party {
        Party(number.0)
    }
}

/// The text of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The text of a message whose provider has its own bounds.
    pub fn unbounded(text: String) -> Text {
        Text(text)
    }

    /// Takes any text up to [`TEXT_CHARS_MAX`] characters, the empty one included.
    pub fn parse(text: String) -> Result<Text, Refusal> {
        if text.chars().count() <= TEXT_CHARS_MAX {
            return Ok(Text(text));
        }
        Err(Refusal { kind: "string_too_long", msg: "String should have at most 4096 characters" })
    }

    /// The text as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_plus_and_one_to_fifteen_ascii_digits() {
        for (text, right) in [
            ("+1", true),
            ("+123456789012345", true),
            ("+1234567890123456", false),
            ("+", false),
            ("", false),
            ("1", false),
            ("++1", false),
            ("+1\n", false),
            (" +1", false),
            ("+1 2", false),
            ("+९१", false),
            ("+１", false),
            ("+12a", false),
        ] {
            assert_eq!(Msisdn::parse(text.to_owned()).is_ok(), right, "{text:?}");
        }
    }

    #[test]
    fn any_number_made_by_the_rule_is_taken_and_any_other_byte_in_it_is_refused() {
        fastrand::seed(164);
        for _ in 0..20_000 {
            let digits: String = (0..fastrand::usize(1..=15)).map(|_| fastrand::digit(10)).collect();
            let number = format!("+{digits}");
            assert_eq!(Msisdn::parse(number.clone()).unwrap().as_str(), number);
            let mut other: Vec<char> = number.chars().collect();
            let at = fastrand::usize(1..other.len());
            other[at] = std::iter::repeat_with(|| fastrand::char(..)).find(|c| !c.is_ascii_digit()).unwrap();
            let other = String::from_iter(other);
            assert!(Msisdn::parse(other.clone()).is_err(), "{other:?}");
        }
    }

    #[test]
    fn text_is_bounded_in_characters_and_not_in_bytes() {
        for character in ["a", "é", "नि", "🦀"] {
            let scalars = character.chars().count();
            let longest = character.repeat(TEXT_CHARS_MAX / scalars);
            assert!(Text::parse(longest.clone()).is_ok(), "{character}");
            assert!(Text::parse(longest + "b" + &"b".repeat(scalars)).is_err(), "{character}");
        }
    }

    #[test]
    fn an_identifier_is_bounded_in_bytes_and_not_in_characters() {
        for character in ["a", "é", "🦀"] {
            let longest = character.repeat(MESSAGE_ID_BYTES_MAX / character.len());
            assert_eq!(MessageId::parse(longest.clone()).unwrap().as_str(), longest);
            assert_eq!(MessageId::parse(longest + "b").unwrap_err().kind, "string_too_long", "{character}");
        }
    }

    #[test]
    fn a_party_is_bounded_in_bytes_and_not_empty() {
        for (bytes, right) in [(0, false), (1, true), (PARTY_BYTES_MAX, true), (PARTY_BYTES_MAX + 1, false)] {
            assert_eq!(Party::named("x".repeat(bytes)).is_some(), right, "{bytes}");
        }
    }

    #[test]
    fn an_empty_identifier_is_refused_and_an_empty_text_is_not() {
        assert!(MessageId::parse(String::new()).is_err());
        assert!(MessageId::parse(" ".to_owned()).is_ok());
        assert!(Text::parse(String::new()).is_ok());
    }
}
