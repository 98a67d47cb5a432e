//! The native source: `X-Signature` over the raw body in hex, and one message in one JSON object.

use super::signature::{MatchedSecret, Secret, Secrets, SignatureFault, Verified, hex_tag, only};
use crate::message::{Message, MessageId, Msisdn, Text};
use crate::reply::{Fault, Refusal};
use crate::timestamp::Timestamp;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

const MISSING: Refusal = Refusal { kind: "missing", msg: "Field required" };
const NOT_A_STRING: Refusal = Refusal { kind: "string_type", msg: "Input should be a valid string" };

/// The field of the signature.
pub const FIELD: &str = "X-Signature";

/// The value of `X-Signature` for a body: 64 lower-case hex digits.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    hex::encode(secret.tag(b"", body))
}

/// The body as verified, and by which secret, if there is exactly one `X-Signature` and it is right.
pub fn verify<'a>(
    secrets: &Secrets,
    fields: &[(&str, &str)],
    body: &'a [u8],
) -> Result<(Verified<'a>, MatchedSecret), SignatureFault> {
    secrets.verify(&[hex_tag(only(fields, FIELD)?)?], b"", body)
}

/// Reads a verified body. `Err` lists every field that is wrong, in the order of the contract's table.
pub(super) fn parse(body: Verified<'_>) -> Result<Message, Vec<Fault>> {
    let object: Object = serde_json::from_slice(body.bytes())
        .map_err(|error| vec![Fault::body(format!("JSON decode error: {error}"))])?;
    let mut faults = Vec::new();
    let id = field("message_id", object.message_id, MessageId::parse, &mut faults);
    let from = field("from", object.from, Msisdn::parse, &mut faults);
    let to = field("to", object.to, Msisdn::parse, &mut faults);
    let ts = field("ts", object.ts, |text| Timestamp::parse(&text), &mut faults);
    let text = match object.text {
        Value::Missing | Value::Null => None,
        given => field("text", given, Text::parse, &mut faults),
    };
    match (id, from, to, ts) {
        (Some(id), Some(from), Some(to), Some(ts)) if faults.is_empty() => {
            Ok(Message { id, from: from.into(), to: to.into(), ts, text, details: None })
        }
        _ => Err(faults),
    }
}

fn field<T>(
    name: &'static str,
    value: Value,
    parse: impl FnOnce(String) -> Result<T, Refusal>,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let parsed = match value {
        Value::String(text) => parse(text),
        Value::Missing => Err(MISSING),
        Value::Null | Value::Other => Err(NOT_A_STRING),
    };
    parsed.map_err(|refusal| faults.push(Fault::field(name, refusal))).ok()
}

/// The fields that matter, as they came. Of one given twice the last counts; the others are read and dropped.
#[derive(Default)]
struct Object {
    message_id: Value,
    from: Value,
    to: Value,
    ts: Value,
    text: Value,
}

/// Any JSON value: strings are kept, everything else is read to its end and dropped.
///
/// Not serde's `IgnoredAny`, which skips without looking: it takes lone surrogates, numbers out of range and any depth,
/// and the contract does not. Not `serde_json::Value` either, which makes 30 bytes of memory out of each byte sent.
#[derive(Default)]
enum Value {
    #[default]
    Missing,
    Null,
    String(String),
    Other,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with the fields of a message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut object = Object::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    match key.as_str() {
                        "message_id" => object.message_id = value,
                        "from" => object.from = value,
                        "to" => object.to = value,
                        "ts" => object.ts = value,
                        "text" => object.text = value,
                        _ => {}
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::String(text.to_owned()))
            }

            fn visit_unit<E: Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                while seq.next_element::<Value>()?.is_some() {}
                Ok(Value::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<Value, Value>()?.is_some() {}
                Ok(Value::Other)
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    const KEY: &[u8] = b"Jefe";
    const DATA: &[u8] = b"what do ya want for nothing?";
    const TAG: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    fn verified<'a>(signatures: &[&str], body: &'a [u8]) -> Result<Verified<'a>, SignatureFault> {
        let secrets = Secrets { current: Secret::new(KEY).unwrap(), previous: None };
        let fields: Vec<(&str, &str)> = signatures.iter().map(|signature| ("x-signature", *signature)).collect();
        verify(&secrets, &fields, body).map(|(verified, _)| verified)
    }

    fn parse_bytes(body: &[u8]) -> Result<Message, Vec<Fault>> {
        let signature = sign(&Secret::new(KEY).unwrap(), body);
        parse(verified(&[&signature], body).unwrap())
    }

    #[test]
    fn signing_gives_the_signature_of_the_rfc() {
        assert_eq!(sign(&Secret::new(KEY).unwrap(), DATA), TAG);
    }

    #[test]
    fn the_right_signature_is_taken_in_each_of_its_forms() {
        let (upper, prefixed) = (TAG.to_uppercase(), format!("sha256={TAG}"));
        for signature in [TAG, &upper, &prefixed, &format!(" \t{TAG}\t "), &format!(" {prefixed} ")] {
            assert!(verified(&[signature], DATA).is_ok(), "{signature:?}");
        }
    }

    #[test]
    fn anything_else_is_not_and_why_is_known() {
        use SignatureFault::{Length, Mismatch, Missing, NotHex, Repeated};
        let half = &TAG[..32];
        let doubled = format!("sha256=sha256={TAG}");
        let longer = format!("{TAG}00");
        let other_case = format!("SHA256={TAG}");
        for (signatures, fault) in [
            (&[][..], Missing),
            (&[""], Missing),
            (&["sha256="], Missing),
            (&[half], Length),
            (&[&longer], Length),
            (&[&TAG[1..]], Length),
            (&["zz"], NotHex),
            (&[&doubled], NotHex),
            (&[&other_case], NotHex),
            (&[&TAG.replace('5', "６")], NotHex),
            (&[&TAG.replace('5', "6")], Mismatch),
            (&[TAG, TAG], Repeated),
        ] {
            assert_eq!(verified(signatures, DATA).err(), Some(fault), "{signatures:?}");
        }
    }

    fn faults(body: &str) -> String {
        serde_json::to_string(&parse_bytes(body.as_bytes()).unwrap_err()).unwrap()
    }

    const GOOD: &str =
        r#"{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"}"#;

    #[test]
    fn a_message_is_read_field_by_field() {
        let message = parse_bytes(GOOD.as_bytes()).unwrap();
        assert_eq!(message.id.as_str(), "m1");
        assert_eq!(message.from.as_str(), "+919876543210");
        assert_eq!(message.to.as_str(), "+14155550100");
        assert_eq!(message.ts.as_str(), "2025-01-15T10:00:00Z");
        assert_eq!(message.text.unwrap().as_str(), "Hello");
    }

    #[test]
    fn unknown_fields_are_ignored_and_the_last_of_two_counts() {
        let body = GOOD.replacen('{', r#"{"x":{"y":[1,-2,3.5e3,null,true,"z",[]]},"from":1,"text":"no","#, 1);
        assert_eq!(parse_bytes(body.as_bytes()), parse_bytes(GOOD.as_bytes()));
        let body = GOOD.replace(r#""Hello""#, r#""Hello","text":null"#);
        assert_eq!(parse_bytes(body.as_bytes()).unwrap().text, None);
    }

    #[test]
    fn all_wrong_fields_are_reported_at_once() {
        assert_eq!(faults(r#"{"message_id":"","from":"919","ts":"yesterday","text":5}"#).matches("\"loc\"").count(), 5);
        assert_eq!(
            faults(&GOOD.replace(r#""+14155550100""#, "null")),
            r#"[{"loc":["body","to"],"msg":"Input should be a valid string","type":"string_type"}]"#
        );
        assert_eq!(
            faults(&GOOD.replace(r#""to":"+14155550100","#, "")),
            r#"[{"loc":["body","to"],"msg":"Field required","type":"missing"}]"#
        );
    }

    #[test]
    fn what_is_no_json_object_is_one_fault_of_the_body() {
        let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
        let with = |value: &str| GOOD.replacen('{', &format!("{{\"x\":{value},"), 1).into_bytes();
        for body in [
            b"".to_vec(),
            b" ".to_vec(),
            b"[]".to_vec(),
            b"null".to_vec(),
            b"\"text\"".to_vec(),
            b"{".to_vec(),
            GOOD.as_bytes()[..GOOD.len() - 1].to_vec(),
            format!("{GOOD}x").into_bytes(),
            format!("\u{feff}{GOOD}").into_bytes(),
            GOOD.replace("Hello", "\\ud800").into_bytes(),
            GOOD.replace("Hello", "a\nb").into_bytes(),
            [GOOD.as_bytes(), b"\xff"].concat(),
            GOOD.replace("Hello", "\u{1}").into_bytes(),
            [b"{\"x\":\"\xff\"}".as_slice()].concat(),
            deep("[", "]").into_bytes(),
            with(&deep("[", "]")),
            with(&deep("{\"a\":", "}").replace(":}", ":1}")),
            with("\"\\udc00\""),
            with("{\"\\ud800\":1}"),
            with("1e999"),
            with("-1e999"),
            with("NaN"),
            with("01"),
            with("'a'"),
        ] {
            let text = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let faults = serde_json::to_string(&parse_bytes(&body).unwrap_err()).unwrap();
            assert!(faults.starts_with(r#"[{"loc":["body"],"msg":"JSON decode error"#), "{text}: {faults}");
            assert!(faults.ends_with(r#""type":"json_invalid"}]"#), "{text}: {faults}");
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic_and_what_it_takes_is_json() {
        fastrand::seed(16);
        for _ in 0..50_000 {
            let mut body = GOOD.as_bytes().to_vec();
            for _ in 0..fastrand::usize(0..4) {
                let at = fastrand::usize(0..body.len());
                body[at] = fastrand::u8(..);
            }
            if let Ok(message) = parse_bytes(&body) {
                let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(value["message_id"], message.id.as_str());
                assert_eq!(value["ts"], message.ts.as_str());
            }
        }
    }
}
