//! Texts of strangers, and tables of them, as a terminal can show them without harm.

use crate::log::is_hostile;

/// A text with marks for what a terminal would obey: `⏎` for a line's end, and the code point for the rest.
pub(super) fn marked(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => marked.push('⏎'),
            _ if character.is_ascii_control() || is_hostile(character) => {
                marked.push_str(&format!("[U+{:04X}]", u32::from(character)));
            }
            _ => marked.push(character),
        }
    }
    marked
}

/// JSON of the service as one line, with escapes for what a terminal would obey, which only strings can hold.
pub(super) fn json_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.trim_end().chars() {
        match character {
            // All of them are below U+FFFF, so none needs a pair of surrogates.
            _ if is_hostile(character) => line.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => line.push(character),
        }
    }
    line + "\n"
}

/// Rows in columns, two spaces apart; a column of numbers is aligned on the right.
pub(super) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let is_number = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let numbers: Vec<bool> = (0..N).map(|column| rows.iter().all(|row| is_number(&row[column]))).collect();
    let rows: Vec<Vec<String>> = [head.map(str::to_owned)]
        .into_iter()
        .chain(rows)
        .map(|row| row.iter().map(|cell| marked(cell)).collect())
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).zip(&numbers).map(|((cell, &width), is_number)| match is_number {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Counts as bars of one character each, the highest of which fills its line; `·` is none.
pub(super) fn bars(counts: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let max = counts.iter().copied().max().unwrap_or(0);
    let bar = |&count: &u64| match count {
        0 => '·',
        _ => BARS[(u128::from(count) * 8).div_ceil(u128::from(max)) as usize - 1],
    };
    counts.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        assert_eq!(marked("a\nb\u{1b}[2J\u{202e}c\u{7}\u{9b}é🦀"), "a⏎b[U+001B][2J[U+202E]c[U+0007][U+009B]é🦀");
        fastrand::seed(51);
        for _ in 0..20_000 {
            let text: String = (0..8).map(|_| char::from_u32(fastrand::u32(0..0x2100)).unwrap_or('x')).collect();
            let marked = marked(&text);
            assert!(!marked.chars().any(|character| character.is_control() || is_hostile(character)), "{text:?}");
            let json = serde_json::to_string(&text).unwrap();
            let line = json_line(&json);
            let harmful = |character: char| (character.is_control() && character != '\n') || is_hostile(character);
            assert!(!line.chars().any(harmful), "{text:?}");
            assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }

    #[test]
    fn a_table_is_aligned() {
        let rows = vec![["+919876543210", "2", "é"], ["+1", "10", ""]].into_iter();
        let text = table(["sender", "messages", "x"], rows.map(|row| row.map(str::to_owned)).collect());
        assert_eq!(text, "sender         messages  x\n+919876543210         2  é\n+1                   10\n");
        assert_eq!(table(["a", "b"], Vec::new()), "a  b\n");
    }

    #[test]
    fn bars_show_zero_and_the_highest_and_all_between() {
        assert_eq!(bars(&[0, 1, 50, 100, 25, 99]), "·▁▄█▂█");
        assert_eq!(bars(&[0, 0]), "··");
        assert_eq!(bars(&[u64::MAX, 1]), "█▁");
        assert_eq!(bars(&[]), "");
    }
}
