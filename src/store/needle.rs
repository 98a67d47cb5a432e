//! What `q` looks for: a substring, in any script, without regard to case.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// A text to look for. Not empty.
#[derive(Clone, Debug)]
pub struct Needle {
    finder: Finder<'static>,
}

impl Needle {
    /// None for the empty text, which is in every text and so no filter.
    pub fn new(text: &str) -> Option<Needle> {
        let mut folded = String::new();
        fold_into(text, &mut folded);
        (!folded.is_empty()).then(|| Needle { finder: Finder::new(folded.as_bytes()).into_owned() })
    }

    /// Whether the text holds the needle. `scratch` is room that one caller's many calls share.
    pub(super) fn is_in(&self, text: &str, scratch: &mut String) -> bool {
        scratch.clear();
        fold_into(text, scratch);
        self.finder.find(scratch.as_bytes()).is_some()
    }
}

/// Appends the text with differences of case removed, character by character: the lower case of a whole word depends on
/// the neighbours (the Greek final sigma), and a substring has others.
fn fold_into(text: &str, folded: &mut String) {
    if text.is_ascii() {
        let start = folded.len();
        folded.push_str(text);
        folded[start..].make_ascii_lowercase();
        return;
    }
    for character in text.chars() {
        match SINGLE.get(character as usize) {
            Some(&single) if single != NOT_SINGLE => folded.push(single),
            _ => folded.extend(fold(character)),
        }
    }
}

/// A character in lower case, that in upper, and that in lower case again. By way of upper case, because some have their
/// pair only there: `ς` and `σ`, `ß` and `SS`. By way of lower case before, because `ẞ` has no other pair but `ß`.
fn fold(character: char) -> impl Iterator<Item = char> {
    character.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// [`fold`] of each character up to U+FFFF, where it is one character: a search folds every text that it looks at, and
/// the three conversions take 60 ns. 256 KiB, made at the first search.
static SINGLE: LazyLock<Box<[char]>> = LazyLock::new(|| {
    let single = |code| {
        let mut folded = fold(char::from_u32(code)?);
        folded.next().filter(|_| folded.next().is_none())
    };
    (0..=0xffff).map(|code| single(code).unwrap_or(NOT_SINGLE)).collect()
});

/// In [`SINGLE`]: it folds to more than one character. (NUL, which folds to itself, goes the same way.)
const NOT_SINGLE: char = '\0';

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(needle: &str, text: &str) -> bool {
        Needle::new(needle).is_none_or(|needle| needle.is_in(text, &mut String::new()))
    }

    #[test]
    fn case_is_ignored_in_every_script_and_nothing_else_is() {
        for (needle, text, found) in [
            ("hello", "Say HELLO!", true),
            ("ОЛЕГ", "это олег", true),
            ("олег", "ОЛЕГ", true),
            ("ΟΔΟΣ", "οδος", true),
            ("οδος", "ΟΔΟΣΑΚΙ", true),
            ("straße", "STRASSE", true),
            ("strasse", "STRAẞE", true),
            ("ẞ", "ß", true),
            ("ÄPFEL", "zwei äpfel", true),
            ("नमस्ते", "नमस्ते दुनिया", true),
            ("🦀", "rust 🦀!", true),
            ("%", "100 %", true),
            ("%", "100", false),
            ("_", "ab", false),
            ("a_c", "abc", false),
            ("it's", "IT'S", true),
            (r"\", r"a\b", true),
            (r"\", "ab", false),
            ("e", "é", false),
            ("abc", "ab", false),
            ("\0", "a\0b", true),
        ] {
            assert_eq!(finds(needle, text), found, "{needle:?} in {text:?}");
        }
    }

    #[test]
    fn a_text_is_found_within_any_surroundings_and_in_the_other_case() {
        fastrand::seed(11);
        let random = || -> String {
            let pool = "abcXYZéÉжЖσΣς%_'\\ 漢字🦀ǅ";
            (0..fastrand::usize(0..6)).filter_map(|_| fastrand::choice(pool.chars().collect::<Vec<_>>())).collect()
        };
        for _ in 0..20_000 {
            let (before, needle, after) = (random(), random(), random());
            let text = format!("{before}{needle}{after}");
            assert!(finds(&needle, &text), "{needle:?} in {text:?}");
            assert!(finds(&needle, &text.to_uppercase()), "{needle:?} in upper case {text:?}");
        }
    }
}
