//! What `q` looks for: a substring, in any script, without regard to case.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// A text to look for. Not empty.
#[derive(Clone, Debug)]
pub struct Needle {
    finder: Finder<'static>,
    is_ascii: bool,
}

impl PartialEq for Needle {
    fn eq(&self, other: &Needle) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Needle {
    /// None for the empty text, which is in every text and so no filter.
    pub fn new(text: &str) -> Option<Needle> {
        let mut folded = Vec::new();
        fold_into(text, &mut folded);
        let finder = Finder::new(&folded).into_owned();
        (!folded.is_empty()).then(|| Needle { finder, is_ascii: folded.is_ascii() })
    }

    /// The folded text that it looks for.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.finder.needle()
    }

    /// Whether the text, in UTF-8 or what another program took for it, holds the needle. `scratch` is room that one
    /// caller's many calls share.
    pub(crate) fn is_in(&self, text: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        if self.is_ascii {
            // The common case, a quarter of the time: every other character folds to itself or to others that are not
            // in the needle, except those few that hide ASCII.
            scratch.extend_from_slice(text);
            scratch.make_ascii_lowercase();
            if self.finder.find(scratch).is_some() {
                return true;
            }
            if !may_hide_ascii(text) {
                return false;
            }
            scratch.clear();
        } else if text.is_ascii() {
            return false; // it folds to ASCII
        }
        fold(text, scratch);
        self.finder.find(scratch).is_some()
    }
}

/// Appends what a needle is looked for in: the text, in UTF-8 or what another program took for it, without differences of
/// case.
pub(crate) fn fold(text: &[u8], folded: &mut Vec<u8>) {
    fold_into(&String::from_utf8_lossy(text), folded);
}

/// Appends the text with differences of case removed, character by character: the lower case of a whole word depends on
/// the neighbours (the Greek final sigma), and a substring has others.
fn fold_into(text: &str, folded: &mut Vec<u8>) {
    folded.reserve(text.len());
    let single = SINGLE.as_ref();
    for character in text.chars() {
        if character.is_ascii() {
            folded.push(character.to_ascii_lowercase() as u8);
            continue;
        }
        let mut push = |character: char| folded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        match single.get(character as usize) {
            Some(&single) if single != NOT_SINGLE => push(single),
            _ => fold_one(character).for_each(&mut push),
        }
    }
}

/// Whether a character beyond ASCII may be in the text that folds to ASCII or to something with ASCII in it: the Kelvin
/// sign to `k`, `ß` to `ss`, the ligature `ﬁ` to `fi`. No such character may be missed; others may be taken for one.
fn may_hide_ascii(text: &[u8]) -> bool {
    !text.is_ascii() && text.windows(2).any(|pair| HIDES_ASCII[usize::from(pair[0])] >> (pair[1] & 63) & 1 == 1)
}

/// By the first byte of a character's UTF-8, the set of those second bytes (their lower 6 bits) with which a character
/// begins that hides ASCII.
static HIDES_ASCII: LazyLock<[u64; 256]> = LazyLock::new(|| {
    let mut sets = [0; 256];
    for character in ('\u{80}'..='\u{ffff}').filter(|&character| fold_one(character).any(|folded| folded.is_ascii())) {
        let mut bytes = [0; 4];
        character.encode_utf8(&mut bytes);
        sets[usize::from(bytes[0])] |= 1 << (bytes[1] & 63);
    }
    sets
});

/// A character in lower case, that in upper, and that in lower case again. By way of upper case, because some have their
/// pair only there: `ς` and `σ`, `ß` and `SS`. By way of lower case before, because `ẞ` has no other pair but `ß`.
fn fold_one(character: char) -> impl Iterator<Item = char> {
    character.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// [`fold_one`] of each character up to U+FFFF, where it is one character: a search folds every text that it looks at, and
/// the three conversions take 60 ns. 256 KiB, made at the first search.
static SINGLE: LazyLock<Box<[char]>> = LazyLock::new(|| {
    let single = |code| {
        let mut folded = fold_one(char::from_u32(code)?);
        folded.next().filter(|_| folded.next().is_none())
    };
    (0..=0xffff).map(|code| single(code).unwrap_or(NOT_SINGLE)).collect()
});

/// In [`SINGLE`]: it folds to more than one character.
const NOT_SINGLE: char = '\0';

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(needle: &str, text: &str) -> bool {
        Needle::new(needle).is_none_or(|needle| needle.is_in(text.as_bytes(), &mut Vec::new()))
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
            ("kelvin", "300 \u{212a}ELVIN", true),
            ("fish", "ﬁsh", true),
            ("i", "İ", true),
            ("s", "ſ", true),
            ("zanzibar", "é ZANZIBAR ß", true),
        ] {
            assert_eq!(finds(needle, text), found, "{needle:?} in {text:?}");
        }
    }

    #[test]
    fn the_short_way_for_ascii_finds_what_folding_everything_finds() {
        fastrand::seed(14);
        let pool: Vec<char> = "abfiklsKS ßẞſİǰﬁﬄ\u{212a}ŉẖéж漢🦀".chars().collect();
        for _ in 0..50_000 {
            let needle: String = (0..fastrand::usize(1..4)).map(|_| fastrand::char('a'..'t')).collect();
            let text: String = (0..fastrand::usize(0..8)).filter_map(|_| fastrand::choice(&pool)).collect();
            let mut folded = Vec::new();
            fold_into(&text, &mut folded);
            let found = String::from_utf8(folded).unwrap().contains(&needle);
            assert_eq!(finds(&needle, &text), found, "{needle:?} in {text:?}");
        }
    }

    #[test]
    fn no_character_beyond_the_table_hides_ascii() {
        let hides = |character: &char| fold_one(*character).any(|folded| folded.is_ascii());
        assert_eq!(('\u{10000}'..=char::MAX).find(hides), None);
    }

    #[test]
    fn what_is_no_utf_8_is_searched_all_the_same() {
        let needle = Needle::new("ok").unwrap();
        assert!(needle.is_in(b"\xff OK \xc3", &mut Vec::new()));
        assert!(!needle.is_in(b"o\xffk", &mut Vec::new()));
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
