//! The forms in which programs write one and the same JSON.
//!
//! A proxy or a framework that parses a body and writes it anew changes spaces, escapes or the order of the fields, and
//! then no signature over the original bytes matches any more.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;
use serde_json::ser::Formatter;
use std::fmt;
use std::io::{Result, Write};

/// A body written in every form that is known here, with a name for the form. None, when it is not JSON.
pub(super) fn all(body: &[u8]) -> Vec<(String, Vec<u8>)> {
    let Ok(mut json) = serde_json::from_slice::<Json>(body) else { return Vec::new() };
    let mut texts = Vec::new();
    for sorted in [false, true] {
        if sorted {
            json.sort();
        }
        for spacing in [Spacing::None, Spacing::Python, Spacing::Lines(2), Spacing::Lines(4)] {
            for escapes in [Escapes::Needed, Escapes::Ascii, Escapes::AsciiAndSlashes] {
                let mut text = Vec::new();
                let mut serializer = serde_json::Serializer::with_formatter(
                    &mut text,
                    Style { spacing, escapes, depth: 0, empty: true },
                );
                if json.serialize(&mut serializer).is_ok() {
                    let order = if sorted { ", its fields sorted" } else { "" };
                    texts.push((format!("{}{}{order}", spacing.name(), escapes.name()), text));
                }
            }
        }
    }
    texts
}

#[derive(Clone, Copy)]
enum Spacing {
    /// JSON.stringify, Go, Rust.
    None,
    /// json.dumps: a space after comma and colon.
    Python,
    /// Indented by so much.
    Lines(usize),
}

#[derive(Clone, Copy)]
enum Escapes {
    Needed,
    /// Python: everything beyond ASCII.
    Ascii,
    /// PHP: slashes too.
    AsciiAndSlashes,
}

impl Spacing {
    fn name(self) -> String {
        match self {
            Spacing::None => "without spaces".to_owned(),
            Spacing::Python => "with a space after comma and colon".to_owned(),
            Spacing::Lines(width) => format!("indented by {width}"),
        }
    }
}

impl Escapes {
    fn name(self) -> &'static str {
        match self {
            Escapes::Needed => "",
            Escapes::Ascii => r", with \u for what is not ASCII",
            Escapes::AsciiAndSlashes => r", with \u for what is not ASCII and \/ for slashes",
        }
    }
}

/// Writes in one form.
struct Style {
    spacing: Spacing,
    escapes: Escapes,
    depth: usize,
    /// Nothing has been written since the last bracket was opened.
    empty: bool,
}

impl Style {
    fn open<W: Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> Result<()> {
        self.depth += 1;
        self.empty = true;
        writer.write_all(bracket)
    }

    fn close<W: Write + ?Sized>(&mut self, writer: &mut W, bracket: &[u8]) -> Result<()> {
        self.depth -= 1;
        if !std::mem::take(&mut self.empty) {
            self.line(writer)?;
        }
        writer.write_all(bracket)
    }

    fn next<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.empty = false;
        match self.spacing {
            Spacing::Python if !first => writer.write_all(b", "),
            _ if !first => writer.write_all(b",").and_then(|()| self.line(writer)),
            _ => self.line(writer),
        }
    }

    fn line<W: Write + ?Sized>(&self, writer: &mut W) -> Result<()> {
        match self.spacing {
            Spacing::Lines(width) => writer.write_all(format!("\n{}", " ".repeat(width * self.depth)).as_bytes()),
            Spacing::None | Spacing::Python => Ok(()),
        }
    }
}

impl Formatter for Style {
    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> Result<()> {
        self.open(writer, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> Result<()> {
        self.close(writer, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.next(writer, first)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> Result<()> {
        self.open(writer, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> Result<()> {
        self.close(writer, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, writer: &mut W, first: bool) -> Result<()> {
        self.next(writer, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> Result<()> {
        match self.spacing {
            Spacing::None => writer.write_all(b":"),
            Spacing::Python | Spacing::Lines(_) => writer.write_all(b": "),
        }
    }

    fn write_string_fragment<W: Write + ?Sized>(&mut self, writer: &mut W, fragment: &str) -> Result<()> {
        let mut units = [0; 2];
        for character in fragment.chars() {
            match (character, self.escapes) {
                ('/', Escapes::AsciiAndSlashes) => writer.write_all(br"\/")?,
                ('\u{7f}'.., Escapes::Ascii | Escapes::AsciiAndSlashes) => {
                    for unit in character.encode_utf16(&mut units) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
                _ => write!(writer, "{character}")?,
            }
        }
        Ok(())
    }
}

/// Any JSON, its fields in the order in which they came. serde_json's own value would sort them.
enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn sort(&mut self) {
        match self {
            Json::Array(items) => items.iter_mut().for_each(Json::sort),
            Json::Object(fields) => {
                fields.iter_mut().for_each(|(_, value)| value.sort());
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(value) => serializer.serialize_bool(*value),
            Json::Number(number) => number.serialize(serializer),
            Json::String(text) => serializer.serialize_str(text),
            Json::Array(items) => serializer.collect_seq(items),
            Json::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Json, D::Error> {
        struct JsonVisitor;
        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E: Error>(self) -> std::result::Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E: Error>(self, value: bool) -> std::result::Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E: Error>(self, number: i64) -> std::result::Result<Json, E> {
                Ok(Json::Number(number.into()))
            }

            fn visit_u64<E: Error>(self, number: u64) -> std::result::Result<Json, E> {
                Ok(Json::Number(number.into()))
            }

            fn visit_f64<E: Error>(self, number: f64) -> std::result::Result<Json, E> {
                Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
            }

            fn visit_str<E: Error>(self, text: &str) -> std::result::Result<Json, E> {
                Ok(Json::String(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Json, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Json, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Json::Object(fields))
            }
        }
        deserializer.deserialize_any(JsonVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Python 3, Node and PHP print, taken down from them: json.dumps, JSON.stringify and json_encode.
    #[test]
    fn the_forms_are_those_of_other_programs() {
        let body = r#" {"b" : "é/\n\u007f🦀", "a":[1,2.5,[],{}],"c":{"d":null}}"#;
        let texts: Vec<String> =
            all(body.as_bytes()).into_iter().map(|(_, text)| String::from_utf8(text).unwrap()).collect();
        for expected in [
            "{\"b\":\"é/\\n\u{7f}🦀\",\"a\":[1,2.5,[],{}],\"c\":{\"d\":null}}",
            "{\"b\": \"\\u00e9/\\n\\u007f\\ud83e\\udd80\", \"a\": [1, 2.5, [], {}], \"c\": {\"d\": null}}",
            "{\"a\": [1, 2.5, [], {}], \"b\": \"\\u00e9/\\n\\u007f\\ud83e\\udd80\", \"c\": {\"d\": null}}",
            "{\n  \"b\": \"é/\\n\u{7f}🦀\",\n  \"a\": [\n    1,\n    2.5,\n    [],\n    {}\n  ],\n  \"c\": {\n    \"d\": null\n  }\n}",
        ] {
            assert!(texts.iter().any(|text| text == expected), "{expected}\n{texts:#?}");
        }
        assert!(all(b"{").is_empty());
    }
}
