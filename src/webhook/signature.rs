//! `X-Signature`: hex of HMAC-SHA256 over the raw body (RFC 2104, FIPS 198-1).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// The shared secret. It is not printed, and there is nothing to do with it but to check.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// A body whose signature matched. [`Secret::verify`] is the only maker, so no parser ever sees anything else.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a>(&'a [u8]);

impl Secret {
    /// None for an empty secret, with which anybody could sign.
    pub fn new(secret: &[u8]) -> Option<Secret> {
        // HMAC takes keys of any length (RFC 2104, section 3), so only the empty one is ever refused.
        (!secret.is_empty()).then(|| Hmac::new_from_slice(secret).ok().map(Secret)).flatten()
    }

    /// The body as verified, if there is exactly one signature and it is right. Compares in constant time.
    pub fn verify<'a>(&self, signatures: &[&str], body: &'a [u8]) -> Option<Verified<'a>> {
        let [signature] = signatures else { return None };
        let tag = parse(signature)?;
        self.0.clone().chain_update(body).verify_slice(&tag).ok()?;
        Some(Verified(body))
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
fn parse(signature: &str) -> Option<[u8; 32]> {
    let signature = signature.trim_matches([' ', '\t']); // OWS, RFC 9110 section 5.6.3
    let digits = signature.strip_prefix("sha256=").unwrap_or(signature);
    let mut tag = [0; 32];
    hex::decode_to_slice(digits, &mut tag).ok()?;
    Some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    const KEY: &[u8] = b"Jefe";
    const DATA: &[u8] = b"what do ya want for nothing?";
    const TAG: &str = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";

    fn verifies(signatures: &[&str]) -> bool {
        Secret::new(KEY).unwrap().verify(signatures, DATA).is_some()
    }

    #[test]
    fn the_right_signature_is_taken_in_each_of_its_forms() {
        let (upper, prefixed) = (TAG.to_uppercase(), format!("sha256={TAG}"));
        for signature in [TAG, &upper, &prefixed, &format!(" \t{TAG}\t "), &format!(" {prefixed} ")] {
            assert!(verifies(&[signature]), "{signature:?}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let half = &TAG[..32];
        let doubled = format!("sha256=sha256={TAG}");
        let longer = format!("{TAG}00");
        let other_case = format!("SHA256={TAG}");
        for signatures in [
            &[][..],
            &[""],
            &["sha256="],
            &[half],
            &[&longer],
            &[&TAG[1..]],
            &["zz"],
            &[&doubled],
            &[&other_case],
            &[&TAG.replace('5', "６")],
            &[TAG, TAG],
        ] {
            assert!(!verifies(signatures), "{signatures:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_tag_or_body_is_noticed() {
        let secret = Secret::new(KEY).unwrap();
        for bit in 0..256 {
            let mut tag = hex::decode(TAG).unwrap();
            tag[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies(&[&hex::encode(tag)]));
        }
        for bit in 0..DATA.len() * 8 {
            let mut data = DATA.to_vec();
            data[bit / 8] ^= 1 << (bit % 8);
            assert!(secret.verify(&[TAG], &data).is_none());
        }
    }

    #[test]
    fn an_empty_secret_is_no_secret() {
        assert!(Secret::new(b"").is_none());
        assert_eq!(format!("{:?}", Secret::new(KEY).unwrap()), "Secret(…)");
    }
}
