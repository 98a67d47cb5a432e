//! Values as the database has them.
//!
//! PostgreSQL's text has no U+0000, and an index entry no more than 2,704 bytes; the contract has both. So U+0000 becomes
//! U+0001 U+0001, and U+0001 becomes U+0001 U+0002, which keeps the order of bytes; and keys are hashes.

use crate::query::{Needle, fold};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// A key: the beginning of a hash, or random. With 16 bytes, two texts with the same hash cannot be found.
pub(super) type Key = [u8; 16];

/// The text as it is stored.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', '\u{1}']) {
        return Cow::Borrowed(text);
    }
    // Not in the other order: the second would change what the first has written.
    Cow::Owned(text.replace('\u{1}', "\u{1}\u{2}").replace('\0', "\u{1}\u{1}"))
}

/// The text as it was sent.
pub(super) fn unescaped(text: String) -> String {
    if !text.contains('\u{1}') {
        return text;
    }
    let mut sent = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1}' => sent.push(if characters.next() == Some('\u{1}') { '\0' } else { '\u{1}' }),
            other => sent.push(other),
        }
    }
    sent
}

/// What a search looks at. No character folds to a capital letter, so `A` can stand for U+0000.
/// No version of the Unicode tables is stored with it: between two versions only letters differ that one of them does not
/// have, or has in one case (docs/growing.md, "Operation").
pub(super) fn folded(text: &str) -> String {
    let mut folded = Vec::new();
    fold(text.as_bytes(), &mut folded);
    text_of(folded)
}

/// Folded bytes as text.
fn text_of(folded: Vec<u8>) -> String {
    String::from_utf8(folded).expect("each character folds to characters").replace('\0', "A")
}

/// A pattern of LIKE for texts that hold the needle.
pub(super) fn pattern(needle: &Needle) -> String {
    let mut pattern = "%".to_owned();
    for character in text_of(needle.bytes().to_vec()).chars() {
        if matches!(character, '\\' | '%' | '_') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern + "%"
}

/// The key of a message.
pub(super) fn message_key(message_id: &str) -> Key {
    key(&[message_id])
}

/// The key of a status.
pub(super) fn status_key(message_id: &str, status: &str, recipient: &str) -> Key {
    key(&[message_id, status, recipient])
}

/// Of several texts each but the first has the length of the one before in front, so that no two lists read alike.
fn key(texts: &[&str]) -> Key {
    let mut hash = Sha256::new();
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            hash.update((texts[index - 1].len() as u64).to_be_bytes());
        }
        hash.update(text);
    }
    let hash: [u8; 32] = hash.finalize().into();
    *hash.first_chunk().expect("a hash has 32 bytes")
}

/// A key that no other row has.
pub(super) fn random_key() -> Key {
    fastrand::u128(..).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_comes_back_and_keeps_its_order() {
        fastrand::seed(30);
        let random = || -> String {
            (0..fastrand::usize(0..5)).filter_map(|_| fastrand::choice(['\0', '\u{1}', '\u{2}', 'a', 'é'])).collect()
        };
        for _ in 0..50_000 {
            let (a, b) = (random(), random());
            assert!(!escaped(&a).contains('\0'), "{a:?}");
            assert_eq!(unescaped(escaped(&a).into_owned()), a);
            assert_eq!(escaped(&a).cmp(&escaped(&b)), a.as_str().cmp(&b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn no_character_folds_to_a_capital_letter() {
        let folds = |character: &char| folded(&character.to_string()).contains(|c: char| c.is_ascii_uppercase());
        assert_eq!(('\u{1}'..=char::MAX).find(folds), None);
    }

    #[test]
    fn two_statuses_have_two_keys() {
        assert_ne!(status_key("ab", "c", "d"), status_key("a", "bc", "d"));
        assert_ne!(status_key("a", "bc", "d"), status_key("a", "b", "cd"));
        assert_eq!(message_key("m1"), message_key("m1"));
    }
}
