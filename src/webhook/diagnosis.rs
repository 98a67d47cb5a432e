//! Why a delivery is refused, for the operator.
//!
//! The answer to the sender says only that its signature is invalid. Here the usual mistakes are made on purpose, one by one,
//! until the signature matches. That is dear, so it is done only when an operator asks.

mod printed;

mod standard;

use super::standard::{BASE64, TOLERANCE_S};
use super::{MatchedSecret, Secret, Secrets, SignatureFault, Sources, Verified, meta, native};
use crate::closed_set::ClosedSet;
use crate::delivery::Source;
use base64::Engine;

type Fields<'a> = [(&'a str, &'a str)];

/// What can easily be taken for a secret, and what has happened then.
#[derive(Clone, Debug, Default)]
pub struct Lookalikes(Vec<(&'static str, Secret)>);

impl Lookalikes {
    /// Of the secret of a source, as it is set.
    pub fn of(source: Source, text: &[u8]) -> Lookalikes {
        let texts = match source {
            Source::Native | Source::Meta => secrets(text),
            Source::Standard => standard::secrets(text),
        };
        let secret = |(difference, text): (_, Vec<u8>)| Some((difference, Secret::new(&text)?));
        Lookalikes(texts.into_iter().filter_map(secret).collect())
    }
}

/// What is to be said of a delivery that was refused, a sentence each. Its fields are those of signatures.
pub fn explain(source: Source, sources: &Sources, fields: &Fields<'_>, body: &[u8]) -> Vec<String> {
    let Some(secrets) = sources.secrets(source) else {
        return vec![format!("no secret is set for deliveries of this kind, {}.", source.label())];
    };
    match verify(source, secrets, &sources.lookalikes[source.index()], fields, body) {
        Ok((verified, _)) => {
            let faults = match source {
                Source::Native | Source::Standard => native::parse(verified).err().unwrap_or_default(),
                Source::Meta => Vec::new(), // whatever is in it is accepted
            };
            let faults = faults.iter().map(|fault| format!("{}.", fault.sentence()));
            ["the signature matches.".to_owned()].into_iter().chain(faults).collect()
        }
        Err(reason) => vec![format!("the signature does not match: {reason}")],
    }
}

/// The body as verified, and by which secret, or what has probably gone wrong.
pub fn verify<'a>(
    source: Source,
    secrets: &Secrets,
    lookalikes: &Lookalikes,
    fields: &Fields<'_>,
    body: &'a [u8],
) -> Result<(Verified<'a>, MatchedSecret), String> {
    super::verify(source, secrets, fields, body).map_err(|fault| match source {
        Source::Native | Source::Meta => reason(source, fault, &secrets.current, lookalikes, fields, body),
        Source::Standard => standard::reason(fault, &secrets.current, lookalikes, fields, body),
    })
}

/// The fields of a signature as people copy it: a value or a header line, or several header lines.
pub fn fields(source: Source, signature: &str) -> Vec<(&str, &str)> {
    match source {
        Source::Native => vec![(native::FIELD, value(signature))],
        Source::Meta => vec![(meta::FIELD, value(signature))],
        Source::Standard => lines(signature),
    }
}

/// The fields in header lines.
pub fn lines(lines: &str) -> Vec<(&str, &str)> {
    lines.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim())).collect()
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

fn matches(secret: &Secret, signature: &str, body: &[u8]) -> bool {
    let secrets = Secrets { current: secret.clone(), previous: None };
    native::verify(&secrets, &[(native::FIELD, signature)], body).is_ok()
}

fn reason(
    source: Source,
    fault: SignatureFault,
    secret: &Secret,
    Lookalikes(lookalikes): &Lookalikes,
    fields: &Fields<'_>,
    body: &[u8],
) -> String {
    let known = source.fields()[0];
    let mut signatures = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(known));
    let signature = match (signatures.next(), fault) {
        (None, _) => return missing(source, fields),
        (Some(_), SignatureFault::Repeated) => return format!("{known} is given twice."),
        (Some((_, signature)), _) => *signature,
    };
    if let Some(reason) = form(signature.trim(), |signature| matches(secret, signature, body)) {
        return reason;
    }
    for (difference, changed) in lookalikes {
        if matches(changed, signature, body) {
            return format!("the sender signs with another secret. {difference}");
        }
    }
    if let Some(reason) = other_body(body, |changed| matches(secret, signature, changed)) {
        return reason;
    }
    "it has the right form, so the secret or the body differs, and not in one of the usual ways. Compare the secret on \
     both sides, and the body byte by byte (sha256sum)."
        .to_owned()
}

/// There is no field of the source; perhaps there are those of another.
fn missing(source: Source, fields: &Fields<'_>) -> String {
    let known = source.fields()[0];
    let is_of = |other: &Source| {
        fields.iter().any(|(name, _)| other.fields().iter().any(|field| field.eq_ignore_ascii_case(name)))
    };
    match Source::ALL.iter().find(|other| is_of(other)) {
        Some(Source::Standard) => {
            format!("there is no {known}. The fields are those of Standard Webhooks, whose secret is not set.")
        }
        Some(other) => {
            format!(
                "there is no {known}. The signature is one of {}, which belongs to {}.",
                other.label(),
                other.path().label()
            )
        }
        None => format!("there is no {known}."),
    }
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

/// Texts that are easily taken for the one of a secret.
fn secrets(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("This secret has white space around it; the sender's has none.", secret.trim_ascii().to_vec()),
        ("The sender's secret has a newline at its end.", [secret, b"\n"].concat()),
        ("The sender decodes the secret from hex.", hex::decode(secret.trim_ascii()).unwrap_or_default()),
        ("The sender encodes the secret in hex.", hex::encode(secret).into_bytes()),
    ]
}

/// What is wrong with the body, if the signature `matches` one that is easily taken for it.
fn other_body(body: &[u8], matches: impl Fn(&[u8]) -> bool) -> Option<String> {
    let (difference, _) = bodies(body).into_iter().find(|(_, changed)| matches(changed))?;
    Some(format!("this body is not the one that was signed. {difference} Sign exactly the bytes that are sent."))
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
