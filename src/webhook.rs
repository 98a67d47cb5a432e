//! A delivery: is it from who it says, and what is in it.
//!
//! The order is the contract's: the signature is checked over the raw bytes before anything looks into them, and the
//! types hold it, since only a [`Verified`] body can be parsed. Each [`Source`] has a file of its own, which alone knows
//! its header fields and its format.

pub mod diagnosis;

pub mod standard;

pub mod native;

pub mod meta;

mod signature;

pub use signature::{MatchedSecret, Secret, Secrets, SignatureFault, Verified};

use crate::delivery::{Delivery, Source};
use crate::metrics::{Counters, metrics};
use crate::path::Path;
use crate::reply::Fault;
use crate::timestamp::Timestamp;
use diagnosis::Lookalikes;
use meta::{Meta, Statuses};

metrics! {
    static MATCHES: Counters<MatchedSecret, { MatchedSecret::ALL.len() }> =
        Counters::new("inbox_signature_matches_total", "Deliveries with a right signature, by secret.", "secret");
}

/// The secrets of each source that is configured.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `WEBHOOK_SECRET` and `WEBHOOK_SECRET_PREVIOUS`.
    pub native: Option<Secrets>,
    /// `STANDARD_WEBHOOKS_SECRET` and `STANDARD_WEBHOOKS_SECRET_PREVIOUS`.
    pub standard: Option<Secrets>,
    /// `META_APP_SECRET` and what goes with it.
    pub meta: Option<Meta>,
    /// What can be taken for each of these secrets, in the order of [`Source::ALL`].
    pub lookalikes: [Lookalikes; Source::ALL.len()],
}

/// Why a delivery was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No signature, more than one, or a wrong one.
    InvalidSignature(SignatureFault),
    /// The body is signed, but not what it has to be; all faults at once.
    Invalid(Vec<Fault>),
}

impl Source {
    /// The one that delivers to a path; of several, the native one.
    pub fn at(path: Path) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.path() == path)
    }

    /// Where it delivers to.
    pub fn path(self) -> Path {
        match self {
            Source::Native | Source::Standard => Path::Webhook,
            Source::Meta => Path::WebhookMeta,
        }
    }

    /// The header fields that its signature is in.
    pub fn fields(self) -> &'static [&'static str] {
        match self {
            Source::Native => &[native::FIELD],
            Source::Standard => standard::FIELDS,
            Source::Meta => &[meta::FIELD],
        }
    }

    /// Reads a secret as the operator sets it. `Err` says what is wrong with it, and quotes nothing.
    pub fn secret(self, value: &[u8]) -> Result<Secret, String> {
        match self {
            Source::Native => Secret::new(value)
                .ok_or_else(|| "it is empty. Set it to the secret that the sender signs with".to_owned()),
            Source::Standard => standard::secret(value),
            // It is printable text, so white space around it comes from a file or from copying.
            Source::Meta => Secret::new(value.trim_ascii())
                .ok_or_else(|| "it is empty. Set it to the app secret of Meta's dashboard".to_owned()),
        }
    }
}

impl Sources {
    /// Whose a delivery to [`Path::Webhook`] is. `X-Signature` decides alone: no other scheme rescues a wrong one. The
    /// fields of Standard Webhooks are not looked at while it is not configured.
    pub fn at_webhook(&self, fields: &[(&str, &str)]) -> Source {
        let is_native = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(native::FIELD));
        if is_native || self.standard.is_none() { Source::Native } else { Source::Standard }
    }

    /// The secrets of a source, if it is configured.
    pub fn secrets(&self, source: Source) -> Option<&Secrets> {
        match source {
            Source::Native => self.native.as_ref(),
            Source::Standard => self.standard.as_ref(),
            Source::Meta => self.meta.as_ref().map(|meta| &meta.secrets),
        }
    }
}

/// The usual spelling of a header field, if it belongs to the signature of some source.
pub fn signature_field(name: &str) -> Option<&'static str> {
    let mut fields = Source::ALL.into_iter().flat_map(Source::fields);
    fields.find(|field| field.eq_ignore_ascii_case(name)).copied()
}

/// Those of some header fields that belong to signatures, a line `name: value` each. No other may be kept of a request.
pub fn signature_lines<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let lines = fields.filter_map(|(name, value)| Some(format!("{}: {}", signature_field(name)?, value.trim())));
    lines.collect::<Vec<_>>().join("\n")
}

/// The body as verified, and by which secret.
fn verify<'a>(
    source: Source,
    secrets: &Secrets,
    fields: &[(&str, &str)],
    body: &'a [u8],
) -> Result<(Verified<'a>, MatchedSecret), SignatureFault> {
    match source {
        Source::Native => native::verify(secrets, fields, body),
        Source::Standard => standard::verify(secrets, fields, body, standard::clock_s()),
        Source::Meta => meta::verify(secrets, fields, body),
    }
}

/// Checks the signature of a delivery in its header fields, counts which secret it was made with, and parses the body.
pub fn receive(source: Source, sources: &Sources, fields: &[(&str, &str)], body: &[u8]) -> Result<Delivery, Rejection> {
    const NO_SECRET: Rejection = Rejection::InvalidSignature(SignatureFault::NoSecret);
    let secrets = sources.secrets(source).ok_or(NO_SECRET)?;
    let (verified, matched) = verify(source, secrets, fields, body).map_err(Rejection::InvalidSignature)?;
    MATCHES.count(matched);
    match source {
        Source::Native | Source::Standard => {
            let message = native::parse(verified).map_err(Rejection::Invalid)?;
            Ok(Delivery { messages: vec![message], ..Delivery::empty(source) })
        }
        Source::Meta => {
            let statuses = sources.meta.as_ref().map_or(Statuses::Keep, |meta| meta.statuses);
            Ok(meta::parse(verified, fields, statuses, &Timestamp::now()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_delivers_to_a_path_for_deliveries() {
        for source in Source::ALL {
            assert!(source.path().is_delivery("POST"), "{source:?}");
        }
    }

    #[test]
    fn a_signature_field_gets_its_usual_spelling() {
        for field in Source::ALL.into_iter().flat_map(Source::fields) {
            assert_eq!(signature_field(&field.to_uppercase()), Some(*field));
        }
        assert_eq!(signature_field("X-Signature-2"), None);
    }
}
