//! What all signatures have in common: HMAC-SHA256 (RFC 2104, FIPS 198-1) under a shared secret, of which a sender may
//! have two.

use crate::closed_set::closed_set;
use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// A shared secret. It is not printed, and there is nothing to do with it but to check and to sign.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// The secrets that a sender may sign with: one, or two while it changes from one to the other.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The one that senders have, or are to have.
    pub current: Secret,
    /// The one that it replaces; none when no sender signs with it any more.
    pub previous: Option<Secret>,
}

closed_set! {
    /// The `secret` label of `inbox_signature_matches_total`: which of the two secrets a right signature was made with.
    #[expect(missing_docs, reason = "Secrets says what each is")]
    pub enum MatchedSecret;
    /// The label.
    pub fn label() -> &'static str;
    Current = "current",
    Previous = "previous",
}

/// Why a signature is not right. The log says which; the answer does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// No secret is set for its source.
    NoSecret,
    /// A field of it is not there, or empty.
    Missing,
    /// A field of it is there more than once.
    Repeated,
    /// It holds something other than hex digits.
    NotHex,
    /// It has more or fewer than 64 hex digits.
    Length,
    /// The id is empty, holds a full stop, or something other than visible ASCII.
    Id,
    /// The timestamp is not a number of seconds.
    Timestamp,
    /// The timestamp is too far before this machine's clock.
    TooOld,
    /// The timestamp is too far after this machine's clock.
    TooNew,
    /// There is no signature of a version that is known here.
    Version,
    /// No signature is the base64 of 32 bytes.
    NotBase64,
    /// It is the signature of another body, or made with another secret.
    Mismatch,
}

impl SignatureFault {
    /// For the log.
    pub fn reason(self) -> &'static str {
        match self {
            SignatureFault::NoSecret => "no secret is set",
            SignatureFault::Missing => "missing",
            SignatureFault::Repeated => "given twice",
            SignatureFault::NotHex => "not hex",
            SignatureFault::Length => "wrong length",
            SignatureFault::Id => "malformed id",
            SignatureFault::Timestamp => "timestamp not a number",
            SignatureFault::TooOld => "timestamp too old",
            SignatureFault::TooNew => "timestamp in the future",
            SignatureFault::Version => "no v1 signature",
            SignatureFault::NotBase64 => "not base64 of 32 bytes",
            SignatureFault::Mismatch => "mismatch",
        }
    }
}

/// A body whose signature matched. [`Secrets::verify`] is the only maker, so no parser ever sees anything else.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a>(&'a [u8]);

impl Secret {
    /// None for an empty secret, with which every client could sign.
    pub fn new(secret: &[u8]) -> Option<Secret> {
        // HMAC takes keys of any length (RFC 2104, section 3), so only the empty one is ever refused.
        (!secret.is_empty()).then(|| Hmac::new_from_slice(secret).ok().map(Secret)).flatten()
    }

    /// The tag of a body, with what is signed before it.
    pub(super) fn tag(&self, before: &[u8], body: &[u8]) -> [u8; 32] {
        self.output(before, body).into_bytes().into()
    }

    fn output(&self, before: &[u8], body: &[u8]) -> CtOutput<Hmac<Sha256>> {
        self.0.clone().chain_update(before).chain_update(body).finalize()
    }
}

impl Secrets {
    /// The body as verified, and by which secret, if one of the tags is right for it with what is signed before it.
    ///
    /// The tags are compared with that of each secret, in constant time, whichever matches: the time depends only
    /// on the length of the body and the number of tags, which the client knows.
    pub(super) fn verify<'a>(
        &self,
        tags: &[[u8; 32]],
        before: &[u8],
        body: &'a [u8],
    ) -> Result<(Verified<'a>, MatchedSecret), SignatureFault> {
        let matches = |secret: &Secret| {
            let right = secret.output(before, body);
            // Without a shortcut: that a tag is right is known from the answer, but not which.
            tags.iter().fold(false, |matched, tag| matched | (right == CtOutput::new((*tag).into())))
        };
        match (matches(&self.current), self.previous.as_ref().is_some_and(matches)) {
            (true, _) => Ok((Verified(body), MatchedSecret::Current)),
            (false, true) => Ok((Verified(body), MatchedSecret::Previous)),
            (false, false) => Err(SignatureFault::Mismatch),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'a> Verified<'a> {
    /// The raw bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The value of the only field of that name, without white space around it (OWS, RFC 9110 section 5.6.3).
pub(super) fn only<'a>(fields: &[(&str, &'a str)], name: &str) -> Result<&'a str, SignatureFault> {
    let mut values = fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    match (values.next(), values.next()) {
        (Some((_, value)), None) => {
            Some(value.trim_matches([' ', '\t'])).filter(|value| !value.is_empty()).ok_or(SignatureFault::Missing)
        }
        (Some(_), Some(_)) => Err(SignatureFault::Repeated),
        (None, _) => Err(SignatureFault::Missing),
    }
}

/// 64 hex digits in either case, with `sha256=` before them or not.
pub(super) fn hex_tag(signature: &str) -> Result<[u8; 32], SignatureFault> {
    let digits = signature.strip_prefix("sha256=").unwrap_or(signature);
    let mut tag = [0; 32];
    match hex::decode_to_slice(digits, &mut tag) {
        Ok(()) => Ok(tag),
        Err(_) if digits.is_empty() => Err(SignatureFault::Missing),
        Err(_) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => Err(SignatureFault::Length),
        Err(_) => Err(SignatureFault::NotHex),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    const KEY: &[u8] = b"Jefe";
    const DATA: &[u8] = b"what do ya want for nothing?";
    const TAG: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    fn tag() -> [u8; 32] {
        hex::decode(TAG).unwrap().try_into().unwrap()
    }

    fn secrets(current: &[u8], previous: Option<&[u8]>) -> Secrets {
        Secrets { current: Secret::new(current).unwrap(), previous: previous.and_then(Secret::new) }
    }

    #[test]
    fn either_secret_verifies_and_which_it_was_is_reported() {
        use MatchedSecret::{Current, Previous};
        for (current, previous, matched) in [
            (KEY, None, Some(Current)),
            (KEY, Some(&b"old"[..]), Some(Current)),
            (KEY, Some(KEY), Some(Current)),
            (b"new", Some(KEY), Some(Previous)),
            (b"new", Some(b"old"), None),
            (b"new", None, None),
        ] {
            let verified = secrets(current, previous).verify(&[tag()], b"", DATA);
            assert_eq!(verified.ok().map(|(_, matched)| matched), matched, "{current:?} {previous:?}");
        }
    }

    #[test]
    fn one_right_tag_among_others_is_enough() {
        let others = [[0; 32], [255; 32]];
        let verified = |tags: &[[u8; 32]]| secrets(KEY, None).verify(tags, b"", DATA).is_ok();
        assert!(verified(&[others[0], tag(), others[1]]));
        assert!(!verified(&others));
        assert!(!verified(&[]));
    }

    #[test]
    fn a_tag_is_that_of_the_rfc_wherever_the_signed_bytes_are_cut() {
        for cut in 0..=DATA.len() {
            let (before, body) = DATA.split_at(cut);
            assert_eq!(Secret::new(KEY).unwrap().tag(before, body), tag());
            assert!(secrets(KEY, None).verify(&[tag()], before, body).is_ok());
        }
    }

    #[test]
    fn every_flipped_bit_of_tag_or_body_is_noticed() {
        let secrets = secrets(KEY, None);
        for bit in 0..256 {
            let mut tag = tag();
            tag[bit / 8] ^= 1 << (bit % 8);
            assert!(secrets.verify(&[tag], b"", DATA).is_err());
        }
        for bit in 0..DATA.len() * 8 {
            let mut data = DATA.to_vec();
            data[bit / 8] ^= 1 << (bit % 8);
            assert!(secrets.verify(&[tag()], b"", &data).is_err());
        }
    }

    #[test]
    fn an_empty_secret_is_no_secret() {
        assert!(Secret::new(b"").is_none());
        assert_eq!(format!("{:?}", Secret::new(KEY).unwrap()), "Secret(…)");
    }
}
