//! Why the header fields of Standard Webhooks do not match.

use super::{Fields, Lookalikes, TOLERANCE_S};
use crate::delivery::Source;
use crate::webhook::standard::{self, clock_s, names};
use crate::webhook::{Secret, Secrets, SignatureFault, native};

/// Texts that are easily used as the key.
pub(super) fn secrets(text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let said =
        "the sender uses the text of the secret as the key. The key is what the base64 after `whsec_` decodes to.";
    let text = text.trim_ascii();
    [text, text.strip_prefix(b"whsec_").unwrap_or(text)].map(|key| (said, key.to_vec())).into()
}

/// What is wrong, and what is probably to be done about it.
pub(super) fn reason(
    fault: SignatureFault,
    secret: &Secret,
    lookalikes: &Lookalikes,
    fields: &Fields<'_>,
    body: &[u8],
) -> String {
    let Some([id, timestamp, signature]) = names(fields) else {
        let known = Source::Standard.fields().join(", ");
        return format!("none of the fields is one of Standard Webhooks. Its fields are {known}.");
    };
    let value = |name: &str| {
        let field = fields.iter().find(|(known, value)| known.eq_ignore_ascii_case(name) && !value.is_empty());
        field.map(|(_, value)| *value)
    };
    match fault {
        SignatureFault::Missing => {
            let missing = [id, timestamp, signature].into_iter().filter(|name| value(name).is_none());
            format!("missing or empty: {}.", missing.copied().collect::<Vec<_>>().join(", "))
        }
        SignatureFault::Repeated => "a field is given twice.".to_owned(),
        SignatureFault::Id => format!("{id} may hold only visible ASCII characters, and no full stop."),
        SignatureFault::Timestamp => format!("{timestamp} must be a whole number of seconds since 1970."),
        SignatureFault::TooOld | SignatureFault::TooNew => {
            let timestamp_s = value(timestamp).and_then(|value| value.parse().ok()).unwrap_or(0);
            let (now_s, way) = (clock_s(), if fault == SignatureFault::TooOld { "behind" } else { "ahead of" });
            let right = matches(secret, fields, body);
            let otherwise =
                if right { " The signature itself is right." } else { " The signature itself is wrong too." };
            let milliseconds = if timestamp_s / 1000 > now_s / 2 { " It seems to be in milliseconds." } else { "" };
            format!(
                "{timestamp} is {} s {way} this machine's clock; at most {TOLERANCE_S} s are accepted.{milliseconds}{otherwise}",
                timestamp_s.abs_diff(now_s)
            )
        }
        SignatureFault::Version => format!("{signature} has no signature that begins with `v1,`."),
        SignatureFault::NotBase64 => {
            format!("{signature} has nothing after `v1,` that is the base64 of 32 bytes; hex is not accepted here.")
        }
        SignatureFault::Mismatch => mismatch(secret, lookalikes, fields, body, value(signature).unwrap_or_default()),
        SignatureFault::NoSecret | SignatureFault::NotHex | SignatureFault::Length => fault.reason().to_owned(),
    }
}

/// Whether the signature is right, whenever it was made.
fn matches(secret: &Secret, fields: &Fields<'_>, body: &[u8]) -> bool {
    let secrets = Secrets { current: secret.clone(), previous: None };
    let timestamp = names(fields).and_then(|names| fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(names[1])));
    let signed_s = timestamp.and_then(|(_, value)| value.parse().ok());
    signed_s.is_some_and(|signed_s| standard::verify(&secrets, fields, body, signed_s).is_ok())
}

/// Makes the usual mistakes one by one, until the signature matches.
fn mismatch(
    secret: &Secret,
    Lookalikes(lookalikes): &Lookalikes,
    fields: &Fields<'_>,
    body: &[u8],
    signatures: &str,
) -> String {
    if let Some((said, _)) = lookalikes.iter().find(|(_, key)| matches(key, fields, body)) {
        return (*said).to_owned();
    }
    if let Some(reason) = super::other_body(body, |changed| matches(secret, fields, changed)) {
        return reason;
    }
    let secrets = Secrets { current: secret.clone(), previous: None };
    let tags = signatures.split(' ').filter_map(|signature| super::base64(signature.strip_prefix("v1,")?));
    for tag in tags.map(hex::encode) {
        if native::verify(&secrets, &[(native::FIELD, &tag)], body).is_ok() {
            return "the body alone was signed. Sign id, timestamp and body, with a full stop between them.".to_owned();
        }
    }
    "it has the right form, so secret, id, timestamp or body differ from those that were signed. Compare each on both sides."
        .to_owned()
}
