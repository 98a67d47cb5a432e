//! `verify`: whether a signature matches a body, and if not, what has probably gone wrong.
//!
//! The service answers 401 and no more. The operator has the secret and may know everything. So this command makes the
//! usual mistakes on purpose, one by one, until the signature matches.

mod printed;
mod standard;

use crate::command::{Failure, print, read_all};
use crate::config::Config;
use crate::delivery::Source;
use crate::webhook::standard::{BASE64, clock_s};
use crate::webhook::{Secret, Secrets, meta, native};
use base64::Engine;
use std::path::Path;

/// `signature` is the value or the header line of the native source or of Meta, or the header lines of Standard Webhooks.
pub(super) fn verify(source: Source, signature: &str, file: Option<&Path>) -> Result<(), Failure> {
    let (current, text) = Config::secret(source)?;
    let previous = Config::previous_secret(source)?;
    let body = read_all(file)?;
    let fields = match source {
        Source::Native => vec![(native::FIELD, value(signature))],
        Source::Meta => vec![(meta::FIELD, value(signature))],
        Source::Standard => standard::fields(signature),
    };
    let verified = |secret: &Secret| {
        let secrets = Secrets { current: secret.clone(), previous: None };
        let verified = match source {
            Source::Native => native::verify(&secrets, &fields, &body),
            Source::Meta => meta::verify(&secrets, &fields, &body),
            Source::Standard => crate::webhook::standard::verify(&secrets, &fields, &body, clock_s()),
        };
        verified.map(|_| ())
    };
    let Err(fault) = verified(&current) else { return print("the signature matches\n") };
    // The service accepts this secret too.
    if let Some((name, previous)) = previous
        && verified(&previous).is_ok()
    {
        return print(&format!("the signature matches, by {name}\n"));
    }
    let reason = match source {
        Source::Native | Source::Meta => reason(&text, value(signature), &body),
        Source::Standard => standard::reason(fault, &current, &text, &fields, &body),
    };
    Err(Failure::failed(format!("the signature does not match: {reason}")))
}

/// The signature out of a header line, or as it is.
fn value(given: &str) -> &str {
    let given = given.trim_matches(['\r', '\n']);
    match given.split_once(':') {
        Some((name, value)) if [native::FIELD, meta::FIELD].iter().any(|field| field.eq_ignore_ascii_case(name)) => {
            value
        }
        _ => given,
    }
}

fn matches(secret: &[u8], signature: &str, body: &[u8]) -> bool {
    let secrets = Secret::new(secret).map(|current| Secrets { current, previous: None });
    secrets.is_some_and(|secrets| native::verify(&secrets, &[(native::FIELD, signature)], body).is_ok())
}

fn reason(secret: &[u8], signature: &str, body: &[u8]) -> String {
    if let Some(reason) = form(signature.trim(), |signature| matches(secret, signature, body)) {
        return reason;
    }
    for (difference, changed) in secrets(secret) {
        if matches(&changed, signature, body) {
            return format!("the sender signs with another secret. {difference}");
        }
    }
    for (difference, changed) in bodies(body) {
        if matches(secret, signature, &changed) {
            return format!(
                "this body is not the one that was signed. {difference} Sign exactly the bytes that are sent."
            );
        }
    }
    "it has the right form, so the secret or the body differs, and not in one of the usual ways. Compare the secret on \
     both sides, and the body byte by byte (sha256sum)."
        .to_owned()
}

/// What is wrong with the signature before body and secret matter. `right` is whether another form of it matches.
fn form(signature: &str, right: impl Fn(&str) -> bool) -> Option<String> {
    let otherwise = |signature: &str| if right(signature) { "; otherwise it is right" } else { "" };
    let unquoted = signature.trim_matches(['"', '\'']);
    if unquoted != signature {
        return Some(format!("it is in quotes{}.", otherwise(unquoted)));
    }
    let digits = signature.strip_prefix("sha256=").unwrap_or(signature);
    if let Some((name, rest)) = digits.split_once('=').filter(|(_, rest)| !rest.trim_matches('=').is_empty()) {
        return Some(format!("{name:?} is before its digits. Only `sha256=` may be, once{}.", otherwise(rest)));
    }
    match (digits.len(), digits.chars().find(|character| !character.is_ascii_hexdigit())) {
        (0, _) => Some("it is empty.".to_owned()),
        (64, None) => None,
        (count, None) => Some(format!("it has {count} hex digits. HMAC-SHA256 has 64, SHA-1 40, SHA-512 128.")),
        (_, Some(odd)) => Some(match base64(digits).filter(|tag| tag.len() == 32) {
            Some(tag) => format!("it is base64 instead of hex{}.", otherwise(&hex::encode(tag))),
            None => format!("{odd:?} is not a hex digit. HMAC-SHA256 has 64 of them."),
        }),
    }
}

/// Secrets that are easily taken for this one.
fn secrets(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("This secret has white space around it; the sender's has none.", secret.trim_ascii().to_vec()),
        ("The sender's secret has a newline at its end.", [secret, b"\n"].concat()),
        ("The sender decodes the secret from hex.", hex::decode(secret.trim_ascii()).unwrap_or_default()),
        ("The sender encodes the secret in hex.", hex::encode(secret).into_bytes()),
    ]
}

/// Bodies that are easily taken for this one.
fn bodies(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let lf: Vec<u8> = body.iter().copied().filter(|&byte| byte != b'\r').collect();
    let crlf = lf.iter().flat_map(|&byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] }).collect();
    let one_line = lf.iter().copied().filter(|&byte| byte != b'\n').collect();
    let mut bodies = vec![
        ("This body has white space at its end; the signed one had none.", body.trim_ascii_end().to_vec()),
        ("The signed body had a newline at its end.", [body, b"\n"].concat()),
        ("The signed body had CR and LF at its end.", [body, b"\r\n"].concat()),
        ("This body has CRLF line endings; the signed one had LF.", lf),
        ("This body has LF line endings; the signed one had CRLF.", crlf),
        ("The signed body had no line ends: `curl -d @file` removes them, `--data-binary` keeps them.", one_line),
    ];
    bodies.extend(printed::all(body));
    bodies
}

/// Decodes base64, the standard alphabet or that for URLs, padded or not (RFC 4648).
fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.replace('-', "+").replace('_', "/")).ok().filter(|bytes| !bytes.is_empty())
}
