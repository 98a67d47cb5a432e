//! The JSON of a body as the three usual printers write it.
//!
//! A proxy or a framework that parses a body and prints it again changes spaces and escapes. Then a signature over the
//! original bytes no longer matches.

use serde::de::IgnoredAny;

/// The body as each printer writes it, with what to say of it. Empty when the body is not JSON.
pub(super) fn all(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let printers = [
        ("The signed body was JSON without spaces, as JSON.stringify prints it.", [",", ":"], char::MAX, false),
        (r"The signed body was JSON with \u and spaces, as Python's json.dumps prints it.", [", ", ": "], '~', false),
        (r"The signed body was JSON with \u and \/, as PHP's json_encode prints it.", [",", ":"], '\u{7f}', true),
    ];
    let print = |(said, separators, max, slashes)| Some((said, print(body, separators, max, slashes)?.into_bytes()));
    printers.into_iter().filter_map(print).collect()
}

/// Keeps the order of the fields and the numbers as they are. Characters above `max` become `\u` and UTF-16, and,
/// with `slashes`, `/` becomes `\/`.
fn print(body: &[u8], [comma, colon]: [&str; 2], max: char, slashes: bool) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(body).ok()?;
    let (mut rest, mut out) = (std::str::from_utf8(body).ok()?, String::new());
    while let Some(first) = rest.chars().next() {
        let mut end = first.len_utf8();
        match first {
            ',' => out.push_str(comma),
            ':' => out.push_str(colon),
            '"' => {
                let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                let text = strings.next()?.ok()?;
                end = strings.byte_offset();
                for character in serde_json::to_string(&text).ok()?.chars() {
                    match character {
                        '/' if slashes => out.push_str(r"\/"),
                        _ if character > max => {
                            out.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
                        }
                        _ => out.push(character),
                    }
                }
            }
            _ if first.is_ascii_whitespace() => {}
            _ => out.push(first),
        }
        rest = &rest[end..];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Node, Python 3 and PHP print, copied from them: JSON.stringify, json.dumps and json_encode.
    #[test]
    fn the_forms_are_those_of_the_three_printers() {
        let body = r#" {"b" : "é/\"\n\u007f🦀", "a":[1,2.5,[],{}],"c":{"d":null}}"#;
        let texts = all(body.as_bytes()).into_iter().map(|(_, text)| String::from_utf8(text).unwrap());
        assert_eq!(
            texts.collect::<Vec<_>>(),
            [
                "{\"b\":\"é/\\\"\\n\u{7f}🦀\",\"a\":[1,2.5,[],{}],\"c\":{\"d\":null}}",
                "{\"b\": \"\\u00e9/\\\"\\n\\u007f\\ud83e\\udd80\", \"a\": [1, 2.5, [], {}], \"c\": {\"d\": null}}",
                "{\"b\":\"\\u00e9\\/\\\"\\n\u{7f}\\ud83e\\udd80\",\"a\":[1,2.5,[],{}],\"c\":{\"d\":null}}",
            ]
        );
        assert!(all(b"{").is_empty());
    }
}
