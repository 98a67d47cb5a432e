//! `verify`: whether a signature matches a body, and if not, what has probably gone wrong.
//!
//! The service says no more than 401. Here whoever has the secret may know everything: the usual mistakes are made on
//! purpose, one by one, until the signature matches.

mod rewritten;
mod standard;

use crate::command::{Failure, print, read_all};
use crate::config::Config;
use crate::webhook::standard::{BASE64, clock_s};
use crate::webhook::{Secret, Secrets, Source, native};
use base64::Engine;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::path::Path;

/// `signature` is the value or the header line of the native source, or the header lines of Standard Webhooks.
pub(super) fn verify(source: Source, signature: &str, file: Option<&Path>) -> Result<(), Failure> {
    let (current, text) = Config::secret(source)?;
    let previous = Config::previous_secret(source)?;
    let body = read_all(file)?;
    let fields = match source {
        Source::Native => vec![(native::FIELD, value(signature))],
        Source::Standard => standard::fields(signature),
    };
    let verified = |secret: &Secret| {
        let secrets = Secrets { current: secret.clone(), previous: None };
        let verified = match source {
            Source::Native => native::verify(&secrets, &fields, &body),
            Source::Standard => crate::webhook::standard::verify(&secrets, &fields, &body, clock_s()),
        };
        verified.map(|_| ())
    };
    let Err(fault) = verified(&current) else { return print("the signature matches\n") };
    // The service takes this too.
    if let Some((name, previous)) = previous
        && verified(&previous).is_ok()
    {
        return print(&format!("the signature matches, by {name}\n"));
    }
    let reason = match source {
        Source::Native => reason(&text, value(signature), &body),
        Source::Standard => standard::reason(fault, &current, &text, &fields, &body),
    };
    Err(Failure::failed(format!("the signature does not match: {reason}")))
}

/// The signature out of a header line, or as it is.
fn value(given: &str) -> &str {
    let given = given.trim_matches(['\r', '\n']);
    match given.split_once(':') {
        Some((name, value)) if name.eq_ignore_ascii_case(native::FIELD) => value,
        _ => given,
    }
}

fn matches(secret: &[u8], signature: &str, body: &[u8]) -> bool {
    let secrets = Secret::new(secret).map(|current| Secrets { current, previous: None });
    secrets.is_some_and(|secrets| native::verify(&secrets, &[(native::FIELD, signature)], body).is_ok())
}

fn reason(secret: &[u8], signature: &str, body: &[u8]) -> String {
    if let Some(reason) = form(secret, signature, body) {
        return reason;
    }
    for (reason, changed) in secrets(secret) {
        if matches(&changed, signature, body) {
            return format!("the sender signs with another secret: {reason}.");
        }
    }
    for (reason, changed) in bodies(body) {
        if matches(secret, signature, &changed) {
            return format!("the body is not the one that was signed: {reason}. Sign exactly the bytes that are sent.");
        }
    }
    let bare = signature.trim().trim_start_matches("sha256=").to_ascii_lowercase();
    let digest = |parts: &[&[u8]]| {
        hex::encode(parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part)).finalize())
    };
    for (reason, digest) in [
        ("the plain SHA-256 of the body, without the secret", digest(&[body])),
        ("the SHA-256 of secret and body one after the other", digest(&[secret, body])),
        ("the SHA-256 of body and secret one after the other", digest(&[body, secret])),
    ] {
        if bare == digest {
            return format!("it is {reason}. HMAC-SHA256 is what is asked for (RFC 2104).");
        }
    }
    "it has the right form, so secret or body differ from those that were used, and in none of the usual ways. Compare \
     the secret on both sides, and the body byte by byte (sha256sum)."
        .to_owned()
}

/// What is wrong with the signature before body and secret matter.
fn form(secret: &[u8], signature: &str, body: &[u8]) -> Option<String> {
    let right = |signature: &str| matches(secret, signature, body);
    let otherwise = |right: bool| if right { "; otherwise it is right" } else { "" };
    let trimmed = signature.trim();
    let unquoted = trimmed.trim_matches(['"', '\'']);
    if unquoted != trimmed {
        return Some(format!("it is in quotes{}.", otherwise(right(unquoted))));
    }
    let digits = trimmed.strip_prefix("sha256=").unwrap_or(trimmed);
    if digits.is_empty() {
        return Some("it is empty.".to_owned());
    }
    if let Some((name, rest)) = digits.split_once('=').filter(|(_, rest)| !rest.trim_matches('=').is_empty()) {
        let right = otherwise(right(rest));
        return Some(match name.to_ascii_lowercase().as_str() {
            "sha256" if digits.len() < trimmed.len() => format!("`sha256=` stands there twice{right}."),
            "sha256" => format!("the prefix has to be `sha256=` in lower case{right}."),
            _ => format!("it begins with {name:?}, and only `sha256=` may stand before the digits{right}."),
        });
    }
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return match digits.len() {
            64 => None,
            32 => Some("it has 32 hex digits, as MD5 has. HMAC-SHA256 has 64.".to_owned()),
            40 => Some("it has 40 hex digits, as SHA-1 has. HMAC-SHA256 has 64.".to_owned()),
            96 => Some("it has 96 hex digits, as SHA-384 has. HMAC-SHA256 has 64.".to_owned()),
            128 => Some("it has 128 hex digits, as SHA-512 has. HMAC-SHA256 has 64.".to_owned()),
            count => Some(format!("it has {count} hex digits, and has to have 64.")),
        };
    }
    if let Some(tag) = base64(digits).filter(|tag| tag.len() == 32) {
        let right = otherwise(right(&hex::encode(tag)));
        return Some(format!("it is base64 in place of hex{right}."));
    }
    let odd = digits.chars().find(|character| !character.is_ascii_hexdigit()).unwrap_or_default();
    Some(format!("it has to be 64 hex digits, and {odd:?} is none."))
}

/// Secrets that are like this one.
fn secrets(secret: &[u8]) -> Vec<(&'static str, Cow<'_, [u8]>)> {
    let with = |end: &[u8]| Cow::Owned([secret, end].concat());
    let mut secrets = vec![
        ("this one has white space around it and that has none", Cow::Borrowed(secret.trim_ascii())),
        ("that one has a newline at its end", with(b"\n")),
        ("that one has CR and LF at its end", with(b"\r\n")),
        ("that one has a space at its end", with(b" ")),
    ];
    for quote in [b'"', b'\''] {
        let quoted = [&[quote], secret, &[quote]].concat();
        secrets.push(("that one is in quotes", Cow::Owned(quoted)));
        let unquoted = secret.trim_ascii().strip_prefix(&[quote]).and_then(|rest| rest.strip_suffix(&[quote]));
        secrets.extend(unquoted.map(|unquoted| ("this one is in quotes", Cow::Borrowed(unquoted))));
    }
    let text = String::from_utf8_lossy(secret.trim_ascii()).into_owned();
    if let Ok(bytes) = hex::decode(&text) {
        secrets.push(("that one is the bytes for which this one is the hex", Cow::Owned(bytes)));
    }
    if let Some(bytes) = base64(text.strip_prefix("whsec_").unwrap_or(&text)) {
        secrets.push(("that one is the bytes for which this one is the base64", Cow::Owned(bytes)));
    }
    secrets.push(("that one is the hex of this one", Cow::Owned(hex::encode(secret).into_bytes())));
    secrets
}

/// Bodies that are like this one.
fn bodies(body: &[u8]) -> Vec<(Cow<'static, str>, Vec<u8>)> {
    let mut bodies: Vec<(Cow<'static, str>, Vec<u8>)> = Vec::new();
    let mut add = |reason: &'static str, body: Vec<u8>| bodies.push((reason.into(), body));
    add("this one has white space at its end, such as a newline", body.trim_ascii_end().to_vec());
    for (reason, end) in [
        ("that one has a newline at its end", &b"\n"[..]),
        ("that one has CR and LF at its end", b"\r\n"),
        ("that one has a space at its end", b" "),
    ] {
        add(reason, [body, end].concat());
    }
    if let Some(rest) = body.strip_suffix(b"\n") {
        add("this one has a newline at its end", rest.to_vec());
    }
    add("this one has white space at its ends", body.trim_ascii().to_vec());
    add("that one is empty", Vec::new());
    let without_cr: Vec<u8> = body.iter().copied().filter(|&byte| byte != b'\r').collect();
    let with_cr = without_cr.iter().flat_map(|&byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] });
    add("its line ends are CR and LF here, and LF there", without_cr.clone());
    add("its line ends are LF here, and CR and LF there", with_cr.collect());
    // What `curl -d @file` makes of a file.
    add("line ends were taken out", body.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect());
    const BOM: &[u8] = b"\xef\xbb\xbf";
    add("this one begins with a byte order mark", body.strip_prefix(BOM).unwrap_or(body).to_vec());
    add("that one begins with a byte order mark", [BOM, body].concat());
    for (how, text) in rewritten::all(body) {
        let reason = format!("its JSON was written anew on its way; that one was {how}");
        bodies.push((format!("{reason}, with a newline at its end").into(), [&text[..], b"\n"].concat()));
        bodies.push((reason.into(), text));
    }
    bodies
}

/// Decodes base64, the standard alphabet or that for URLs, padded or not (RFC 4648).
fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.replace('-', "+").replace('_', "/")).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, bytes) in [
            ("Zg==", &b"f"[..]),
            ("Zg", b"f"),
            ("Zm9v", b"foo"),
            ("Zm9vYmE=", b"fooba"),
            ("-_-_", b"\xfb\xff\xbf"),
            ("+/+/", b"\xfb\xff\xbf"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["", "=", "Zm9v!", "é"] {
            assert_eq!(base64(text), None, "{text}");
        }
    }

    #[test]
    fn the_value_is_found_in_a_header_line() {
        for given in ["ab", "X-Signature:ab", "x-signature: ab\r\n", " ab"] {
            assert_eq!(value(given).trim(), "ab", "{given:?}");
        }
    }
}
