//! `X-Signature`: hex of HMAC-SHA256 over the raw body (RFC 2104, FIPS 198-1).

use crate::metrics::MatchedSecret;
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

/// Why a signature is not right. The sender is not told which: the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// The field is not there, or empty.
    Missing,
    /// The field is there more than once.
    Repeated,
    /// It holds something other than hex digits.
    NotHex,
    /// It has more or fewer than 64 hex digits.
    Length,
    /// It is the signature of another body, or made with another secret.
    Mismatch,
}

impl SignatureFault {
    /// For the log.
    pub fn reason(self) -> &'static str {
        match self {
            SignatureFault::Missing => "missing",
            SignatureFault::Repeated => "given twice",
            SignatureFault::NotHex => "not hex",
            SignatureFault::Length => "wrong length",
            SignatureFault::Mismatch => "mismatch",
        }
    }
}

/// A body whose signature matched. [`Secrets::verify`] is the only maker, so no parser ever sees anything else.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a>(&'a [u8]);

impl Secret {
    /// None for an empty secret, with which anybody could sign.
    pub fn new(secret: &[u8]) -> Option<Secret> {
        // HMAC takes keys of any length (RFC 2104, section 3), so only the empty one is ever refused.
        (!secret.is_empty()).then(|| Hmac::new_from_slice(secret).ok().map(Secret)).flatten()
    }

    /// The signature of a body, as a sender puts it into `X-Signature`: 64 lower-case hex digits.
    pub fn sign(&self, body: &[u8]) -> String {
        hex::encode(self.0.clone().chain_update(body).finalize().into_bytes())
    }

    /// Whether that is the body's tag. Compares in constant time.
    fn matches(&self, tag: &[u8; 32], body: &[u8]) -> bool {
        self.0.clone().chain_update(body).verify_slice(tag).is_ok()
    }
}

impl Secrets {
    /// The body as verified, and by which secret, if there is exactly one signature and it is right. Otherwise why not.
    ///
    /// The tag is compared with that of each secret, in constant time, whichever matches: how long it takes tells what
    /// anybody may know, the length of the body and whether the signature is one by its form.
    pub fn verify<'a>(
        &self,
        signatures: &[&str],
        body: &'a [u8],
    ) -> Result<(Verified<'a>, MatchedSecret), SignatureFault> {
        let tag = match signatures {
            [] => return Err(SignatureFault::Missing),
            [signature] => parse(signature)?,
            _ => return Err(SignatureFault::Repeated),
        };
        let current = self.current.matches(&tag, body);
        let previous = self.previous.as_ref().is_some_and(|previous| previous.matches(&tag, body));
        let matched = match (current, previous) {
            (true, _) => MatchedSecret::Current,
            (false, true) => MatchedSecret::Previous,
            (false, false) => return Err(SignatureFault::Mismatch),
        };
        Ok((Verified(body), matched))
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

/// 64 hex digits in either case, with `sha256=` before them or not.
fn parse(signature: &str) -> Result<[u8; 32], SignatureFault> {
    let signature = signature.trim_matches([' ', '\t']); // OWS, RFC 9110 section 5.6.3
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

    fn secrets(current: &[u8], previous: Option<&[u8]>) -> Secrets {
        Secrets { current: Secret::new(current).unwrap(), previous: previous.and_then(Secret::new) }
    }

    fn verifies(signatures: &[&str]) -> bool {
        secrets(KEY, None).verify(signatures, DATA).is_ok()
    }

    #[test]
    fn either_secret_verifies_and_which_it_was_is_told() {
        use MatchedSecret::{Current, Previous};
        for (current, previous, matched) in [
            (KEY, None, Some(Current)),
            (KEY, Some(&b"old"[..]), Some(Current)),
            (KEY, Some(KEY), Some(Current)),
            (b"new", Some(KEY), Some(Previous)),
            (b"new", Some(b"old"), None),
            (b"new", None, None),
        ] {
            let verified = secrets(current, previous).verify(&[TAG], DATA);
            assert_eq!(verified.ok().map(|(_, matched)| matched), matched, "{current:?} {previous:?}");
        }
    }

    #[test]
    fn the_right_signature_is_taken_in_each_of_its_forms() {
        let (upper, prefixed) = (TAG.to_uppercase(), format!("sha256={TAG}"));
        for signature in [TAG, &upper, &prefixed, &format!(" \t{TAG}\t "), &format!(" {prefixed} ")] {
            assert!(verifies(&[signature]), "{signature:?}");
        }
    }

    #[test]
    fn signing_gives_the_signature_of_the_rfc() {
        assert_eq!(Secret::new(KEY).unwrap().sign(DATA), TAG);
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
            assert_eq!(secrets(KEY, None).verify(signatures, DATA).err(), Some(fault), "{signatures:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_tag_or_body_is_noticed() {
        let secrets = secrets(KEY, None);
        for bit in 0..256 {
            let mut tag = hex::decode(TAG).unwrap();
            tag[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies(&[&hex::encode(tag)]));
        }
        for bit in 0..DATA.len() * 8 {
            let mut data = DATA.to_vec();
            data[bit / 8] ^= 1 << (bit % 8);
            assert!(secrets.verify(&[TAG], &data).is_err());
        }
    }

    #[test]
    fn an_empty_secret_is_no_secret() {
        assert!(Secret::new(b"").is_none());
        assert_eq!(format!("{:?}", Secret::new(KEY).unwrap()), "Secret(…)");
    }
}
