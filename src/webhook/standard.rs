//! Standard Webhooks 1.0.0, <https://www.standardwebhooks.com>: a signature over id, timestamp and body. The body itself
//! has the native format.
//!
//! The timestamp bounds how long a recorded delivery can be replayed.

use super::signature::{MatchedSecret, Secret, Secrets, SignatureFault, Verified, only};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::time::SystemTime;

/// Id, timestamp and signature, under the names of the standard, and then under those that Svix sends by default.
pub(super) const FIELDS: &[&str] =
    &["webhook-id", "webhook-timestamp", "webhook-signature", "svix-id", "svix-timestamp", "svix-signature"];

/// How far the timestamp may be from this machine's clock, in either direction. The standard's libraries have this too.
pub const TOLERANCE_S: u64 = 300;

/// What a secret has to be.
const FORM: &str = "Set it to whsec_ and the base64 of 24 to 64 bytes, for example to the output of: \
                    echo whsec_$(openssl rand -base64 32)";

/// The length of a key, by the standard.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Base64 in the standard alphabet. Some senders leave out the padding.
pub(crate) const BASE64: GeneralPurpose = {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::STANDARD, config)
};

/// Reads a secret in the form in which senders show it: `whsec_` and the base64 of the key. The reference libraries
/// accept it without the prefix too, and some senders write `v1,` before it. `Err` says what is wrong, and quotes nothing.
pub fn secret(text: &[u8]) -> Result<Secret, String> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"v1,").unwrap_or(text);
    let key = BASE64.decode(text.strip_prefix(b"whsec_").unwrap_or(text));
    let key = key.map_err(|_| format!("what follows whsec_ is not base64. {FORM}"))?;
    let right = Some(&key).filter(|key| KEY_BYTES.contains(&key.len())).and_then(|key| Secret::new(key));
    right.ok_or_else(|| format!("its base64 has {} bytes. {FORM}", key.len()))
}

/// Whether a text can be an id. Without a full stop, because `id.timestamp.body` would otherwise have two readings.
pub fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.')
}

/// Seconds since 1970 on this machine's clock.
pub fn clock_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The header fields of a delivery, as name and value.
pub fn sign(secret: &Secret, id: &str, timestamp_s: u64, body: &[u8]) -> [(&'static str, String); 3] {
    let signature = BASE64.encode(secret.tag(format!("{id}.{timestamp_s}.").as_bytes(), body));
    [(FIELDS[0], id.to_owned()), (FIELDS[1], timestamp_s.to_string()), (FIELDS[2], format!("v1,{signature}"))]
}

/// The body as verified, and by which secret, if each of the three fields is there once, the timestamp is near `now_s`,
/// and one of the signatures is right.
pub fn verify<'a>(
    secrets: &Secrets,
    fields: &[(&str, &str)],
    body: &'a [u8],
    now_s: u64,
) -> Result<(Verified<'a>, MatchedSecret), SignatureFault> {
    let [id, timestamp, signatures] = names(fields).ok_or(SignatureFault::Missing)?.map(|name| only(fields, name));
    let (id, timestamp, signatures) = (id?, timestamp?, signatures?);
    if !is_id(id) {
        return Err(SignatureFault::Id);
    }
    let timestamp_s = seconds(timestamp).ok_or(SignatureFault::Timestamp)?;
    if now_s.saturating_sub(timestamp_s) > TOLERANCE_S {
        return Err(SignatureFault::TooOld);
    }
    if timestamp_s.saturating_sub(now_s) > TOLERANCE_S {
        return Err(SignatureFault::TooNew);
    }
    secrets.verify(&tags(signatures)?, format!("{id}.{timestamp}.").as_bytes(), body)
}

/// The names that count for a delivery, in the order of [`sign`]: the first set of which it has a field.
pub fn names(fields: &[(&str, &str)]) -> Option<&'static [&'static str; 3]> {
    let is_there = |name: &&str| fields.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    FIELDS.as_chunks().0.iter().find(|names| names.iter().any(is_there))
}

/// Digits and nothing else.
fn seconds(timestamp: &str) -> Option<u64> {
    let digits = timestamp.bytes().all(|byte| byte.is_ascii_digit()); // str::parse takes a sign
    timestamp.parse().ok().filter(|_| digits)
}

/// The tags of version 1 in a list separated by spaces. Those of other versions, such as `v1a` of ed25519, are ignored.
fn tags(signatures: &str) -> Result<Vec<[u8; 32]>, SignatureFault> {
    let encoded: Vec<&str> = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")).collect();
    if encoded.is_empty() {
        return Err(SignatureFault::Version);
    }
    let tags: Vec<_> = encoded.iter().filter_map(|tag| BASE64.decode(tag).ok()?.try_into().ok()).collect();
    if tags.is_empty() { Err(SignatureFault::NotBase64) } else { Ok(tags) }
}

#[cfg(test)]
mod tests {
    use super::SignatureFault::*;
    use super::*;

    /// Of the tests of the standard's libraries for Go and Rust; the last was made for this project.
    const VECTORS: [(&str, &str, u64, &str, &str); 3] = [
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
        ),
        (
            "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
            "msg_test0001",
            1_790_416_800,
            r#"{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"}"#,
            "v1,V8HmevowZxMnm2VCmVvUCCUgQTlMCS+vL+Rv8v1Vv1I=",
        ),
    ];

    /// The first vector, with some of its fields replaced.
    fn outcome(replaced: &[(&str, &str)], now_s: u64) -> Result<MatchedSecret, SignatureFault> {
        let (key, id, timestamp_s, body, signature) = VECTORS[0];
        let timestamp = timestamp_s.to_string();
        let right = [("webhook-id", id), ("webhook-timestamp", &timestamp), ("webhook-signature", signature)];
        let kept = right.into_iter().filter(|(name, _)| replaced.iter().all(|(other, _)| name != other));
        let fields: Vec<_> = kept.chain(replaced.iter().copied()).collect();
        let secrets = Secrets { current: secret(key.as_bytes()).unwrap(), previous: None };
        verify(&secrets, &fields, body.as_bytes(), now_s).map(|(_, matched)| matched)
    }

    const NOW_S: u64 = VECTORS[0].2;
    const RIGHT: &str = VECTORS[0].4;

    #[test]
    fn the_published_vectors_verify_under_both_sets_of_names() {
        for (key, id, timestamp_s, body, signature) in VECTORS {
            let secrets = Secrets { current: secret(key.as_bytes()).unwrap(), previous: None };
            let signed = sign(&secrets.current, id, timestamp_s, body.as_bytes());
            assert_eq!(signed[2], ("webhook-signature", signature.to_owned()));
            for prefix in ["webhook", "svix", "Webhook", "SVIX"] {
                let named: Vec<_> = signed.iter().map(|(name, v)| (name.replace("webhook", prefix), v)).collect();
                let fields: Vec<(&str, &str)> = named.iter().map(|(name, v)| (name.as_str(), v.as_str())).collect();
                assert!(verify(&secrets, &fields, body.as_bytes(), timestamp_s).is_ok(), "{fields:?}");
                let longer = format!("{body} ");
                let other = verify(&secrets, &fields, longer.as_bytes(), timestamp_s).err();
                assert_eq!(other, Some(Mismatch), "{fields:?}");
            }
        }
    }

    #[test]
    fn the_timestamp_may_be_300_seconds_from_the_clock_in_either_direction() {
        for (now_s, fault) in [
            (NOW_S, None),
            (NOW_S + 300, None),
            (NOW_S - 300, None),
            (NOW_S + 301, Some(TooOld)),
            (NOW_S - 301, Some(TooNew)),
            (0, Some(TooNew)),
            (u64::MAX, Some(TooOld)),
        ] {
            assert_eq!(outcome(&[], now_s).err(), fault, "{now_s}");
        }
    }

    #[test]
    fn one_right_signature_of_version_1_among_any_others_is_enough() {
        let zeros = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=";
        let base64 = &RIGHT[3..];
        for (signatures, fault) in [
            (RIGHT.to_owned(), None),
            (format!("{zeros} v1a,{base64} {RIGHT} {zeros}"), None),
            (format!("{zeros}  {RIGHT} "), None),
            (format!("v1, nonsense v1,!! {RIGHT}"), None),
            (RIGHT.trim_end_matches('=').to_owned(), None),
            (zeros.to_owned(), Some(Mismatch)),
            (format!("{zeros} {zeros}"), Some(Mismatch)),
            (format!("{zeros},{RIGHT}"), Some(NotBase64)),
            ("v1,".to_owned(), Some(NotBase64)),
            (format!("v1,{}", hex::encode([7; 32])), Some(NotBase64)),
            ("v1,AAAA".to_owned(), Some(NotBase64)),
            (format!("v2,{base64}"), Some(Version)),
            (format!("v1a,{base64}"), Some(Version)),
            (format!("V1,{base64}"), Some(Version)),
            (base64.to_owned(), Some(Version)),
        ] {
            assert_eq!(outcome(&[("webhook-signature", &signatures)], NOW_S).err(), fault, "{signatures}");
        }
    }

    #[test]
    fn each_field_is_there_once_and_has_its_form() {
        let id = VECTORS[0].1;
        for (name, value, fault) in [
            ("webhook-id", "", Missing),
            ("webhook-timestamp", " ", Missing),
            ("webhook-signature", "", Missing),
            ("webhook-id", "msg_other", Mismatch),
            ("webhook-id", "msg.1", Id),
            ("webhook-id", "msg 1", Id),
            ("webhook-id", "é", Id),
            ("webhook-timestamp", "1614265331", Mismatch),
            ("webhook-timestamp", "01614265330", Mismatch), // as it was received, not the number
            ("webhook-timestamp", "+1614265330", Timestamp),
            ("webhook-timestamp", "-1614265330", Timestamp),
            ("webhook-timestamp", "1614265330.0", Timestamp),
            ("webhook-timestamp", "99999999999999999999", Timestamp),
            ("webhook-timestamp", "now", Timestamp),
            ("webhook-timestamp", "1614265330000", TooNew), // milliseconds
        ] {
            assert_eq!(outcome(&[(name, value)], NOW_S).err(), Some(fault), "{name}: {value:?}");
        }
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let right = match name {
                "webhook-id" => id,
                "webhook-timestamp" => "1614265330",
                _ => RIGHT,
            };
            assert_eq!(outcome(&[(name, right), (name, right)], NOW_S).err(), Some(Repeated), "{name}");
            // What is missing is not taken from the other set of names.
            let svix = name.replace("webhook", "svix");
            assert_eq!(outcome(&[(name, ""), (&svix, right)], NOW_S).err(), Some(Missing), "{name}");
        }
        assert!(verify(&Secrets { current: secret(&[b'A'; 32]).unwrap(), previous: None }, &[], b"", 0).is_err());
    }

    #[test]
    fn a_secret_is_the_base64_of_24_to_64_bytes() {
        for text in [
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "v1,whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            " whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\r\n",
        ] {
            let (_, id, timestamp_s, body, signature) = VECTORS[0];
            let signed = sign(&secret(text.as_bytes()).unwrap(), id, timestamp_s, body.as_bytes());
            assert_eq!(signed[2].1, signature, "{text:?}");
        }
        for (bytes, right) in [(23, false), (24, true), (25, true), (64, true), (65, false), (0, false)] {
            let text = format!("whsec_{}", BASE64.encode(vec![7; bytes]));
            assert_eq!(secret(text.as_bytes()).is_ok(), right, "{bytes}");
            assert_eq!(secret(text.trim_end_matches('=').as_bytes()).is_ok(), right, "{bytes} without padding");
        }
        for text in ["", "whsec_", "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ-r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(secret(text.as_bytes()).is_err(), "{text}");
        }
        let refusal = secret(b"whsec_aHVzaC1odXNo").err().unwrap();
        assert!(refusal.starts_with("its base64 has 9 bytes. Set it to whsec_"), "{refusal}");
    }
}
