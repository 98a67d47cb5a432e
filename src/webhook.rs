//! A delivery: is it from who it says, and what is in it.
//!
//! The order is the contract's: the signature is checked over the raw bytes before anything looks into them, and the
//! types hold it, since only a [`Verified`] body can be parsed.

mod native;
mod signature;

pub use signature::{Secret, Secrets, SignatureFault, Verified};

use crate::message::Message;
use crate::metrics::Metrics;
use crate::reply::Fault;

/// Why a delivery was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No signature, more than one, or a wrong one.
    InvalidSignature(SignatureFault),
    /// The body is signed, but not what it has to be; all faults at once.
    Invalid(Vec<Fault>),
}

/// Checks the signature, counts which secret it was made with, and parses the body: the messages of one delivery, at
/// least one.
pub fn receive(
    secrets: &Secrets,
    signatures: &[&str],
    body: &[u8],
    metrics: &Metrics,
) -> Result<Vec<Message>, Rejection> {
    let (verified, matched) = secrets.verify(signatures, body).map_err(Rejection::InvalidSignature)?;
    metrics.signature_match(matched);
    native::parse(verified).map(|message| vec![message]).map_err(Rejection::Invalid)
}
