//! A message and the types of its fields, each with the only constructor that can make one.

use crate::reply::Refusal;
use crate::timestamp::Timestamp;

/// Most bytes of a message_id in UTF-8. A cursor carries it, percent-encoded in at most three times as many, within the
/// 16 KiB of a request's head; and a page or a search holds many of them in memory.
pub const MESSAGE_ID_BYTES_MAX: usize = 1024;

/// Most characters (Unicode scalar values, not bytes) of a message's text.
pub const TEXT_CHARS_MAX: usize = 4096;

/// One message as a sender described it, every field checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender's identifier of the message; the same one again is the same message.
    pub id: MessageId,
    /// Who wrote it.
    pub from: Msisdn,
    /// To whom.
    pub to: Msisdn,
    /// When, by the sender's clock.
    pub ts: Timestamp,
    /// What, if it has text.
    pub text: Option<Text>,
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

/// The text of a message, at most [`TEXT_CHARS_MAX`] characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Takes any text up to the bound, the empty one included.
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
    fn an_empty_identifier_is_refused_and_an_empty_text_is_not() {
        assert!(MessageId::parse(String::new()).is_err());
        assert!(MessageId::parse(" ".to_owned()).is_ok());
        assert!(Text::parse(String::new()).is_ok());
    }
}
