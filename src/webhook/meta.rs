//! Meta's WhatsApp Cloud API: `X-Hub-Signature-256` over the raw body, in which one envelope holds any number of messages
//! and statuses, and a handshake by which Meta asks whether this is the right address.
//!
//! Whatever is in an authentic delivery, it is accepted: Meta would send a refused one again for seven days, and no operator
//! can change it. What is not understood is kept as it came.

mod handshake;

mod mapping;

mod json;

pub use handshake::VerifyToken;

use super::signature::{MatchedSecret, Secret, Secrets, SignatureFault, Verified, hex_tag, only};
use crate::closed_set::closed_set;
use crate::delivery::{Delivery, Raw, Source};
use crate::metrics::{Counter, metrics};
use crate::timestamp::Timestamp;
use json::Object;
use mapping::Place;
use serde_json::value::RawValue;

/// The field of the signature.
pub const FIELD: &str = "X-Hub-Signature-256";

metrics! {
    static ITEMS_IGNORED: Counter = Counter::new(
        "inbox_items_ignored_total",
        "Messages and statuses without an id of 1 to 1,024 bytes, kept only as a part of their delivery.",
    );
}

/// What there is to know of Meta, where it is configured.
#[derive(Clone, Debug)]
pub struct Meta {
    /// `META_APP_SECRET` and `META_APP_SECRET_PREVIOUS`.
    pub secrets: Secrets,
    /// `META_VERIFY_TOKEN`.
    pub verify_token: Option<VerifyToken>,
    /// `META_STATUSES`.
    pub statuses: Statuses,
}

closed_set! {
    /// What is done with the statuses of outgoing messages.
    #[expect(missing_docs, reason = "each is the word of the setting")]
    pub enum Statuses;
    /// The value of the setting.
    pub fn label() -> &'static str;
    Keep = "keep",
    Drop = "drop",
}

impl Statuses {
    /// The one that a setting names.
    pub fn named(text: &str) -> Option<Statuses> {
        Statuses::ALL.into_iter().find(|statuses| statuses.label() == text)
    }
}

/// The value of `X-Hub-Signature-256` for a body.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    format!("sha256={}", hex::encode(secret.tag(b"", body)))
}

/// The body as verified, and by which secret, if there is exactly one `X-Hub-Signature-256` and it is right.
pub fn verify<'a>(
    secrets: &Secrets,
    fields: &[(&str, &str)],
    body: &'a [u8],
) -> Result<(Verified<'a>, MatchedSecret), SignatureFault> {
    secrets.verify(&[hex_tag(only(fields, FIELD)?)?], b"", body)
}

/// Reads a verified body. What has no usable time gets that of its arrival.
pub(super) fn parse(body: Verified<'_>, fields: &[(&str, &str)], statuses: Statuses, arrived: &Timestamp) -> Delivery {
    let body = body.bytes();
    let mut delivery = read(body, arrived);
    let has_messages = !delivery.messages.is_empty();
    if statuses == Statuses::Drop && !std::mem::take(&mut delivery.statuses).is_empty() && !has_messages {
        return delivery; // statuses are all that was in it
    }
    let lines = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(FIELD));
    let lines: Vec<String> = lines.map(|(_, value)| format!("{FIELD}: {}", value.trim())).collect();
    delivery.raw = Some(Raw { fields: lines.join("\n"), body: body.to_vec() });
    delivery
}

/// The messages and statuses in a body.
fn read(body: &[u8], arrived: &Timestamp) -> Delivery {
    let mut delivery = Delivery::empty(Source::Meta);
    let Some((text, envelope)) = std::str::from_utf8(body).ok().and_then(|text| Some((text, Object::parse(text)?)))
    else {
        return delivery;
    };
    if envelope.text("object").as_deref() != Some("whatsapp_business_account") {
        return delivery;
    }
    let entries = envelope.items("entry").into_iter().filter_map(Object::of);
    let changes = entries.flat_map(|entry| entry.items("changes")).filter_map(Object::of);
    let changes = changes.filter(|change| change.text("field").as_deref() == Some("messages"));
    for value in changes.filter_map(|change| change.object("value")) {
        let place = Place::of(&value, arrived);
        let items = value.items("messages");
        let messages = items.iter().filter_map(|item| counted(place.message(item, range_of(item, text))));
        delivery.messages.extend(messages);
        let statuses = value.items("statuses");
        delivery.statuses.extend(statuses.iter().filter_map(|item| counted(place.status(item))));
    }
    delivery
}

/// Counts an item that could not be read.
fn counted<T>(item: Option<T>) -> Option<T> {
    if item.is_none() {
        ITEMS_IGNORED.count();
    }
    item
}

/// Where a part of the text lies in it.
fn range_of(part: &RawValue, text: &str) -> std::ops::Range<usize> {
    let part = part.get();
    let start = part.as_ptr() as usize - text.as_ptr() as usize; // it was borrowed from the text
    start..start + part.len()
}

#[cfg(test)]
mod tests;
