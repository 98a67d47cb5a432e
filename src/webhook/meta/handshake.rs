//! The handshake: a GET by which Meta asks whether this address is the right one, with a token that the operator chose.
//!
//! It comes whenever the address or the token is set in Meta's dashboard, and carries no signature.

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// Most bytes of a challenge, which the answer repeats. Meta's have ten digits.
const CHALLENGE_BYTES_MAX: usize = 256;

/// What every token is hashed under. It is not secret: hashing only makes tokens of any length equally long.
const KEY: &[u8] = b"webhook-inbox verify token";

/// The token that Meta has to show. Only its hash is kept, and nothing is printed.
#[derive(Clone)]
pub struct VerifyToken(CtOutput<Hmac<Sha256>>);

impl VerifyToken {
    /// None for an empty token. White space around it, such as the newline of a file, is not part of it.
    pub fn new(token: &[u8]) -> Option<VerifyToken> {
        let token = token.trim_ascii();
        (!token.is_empty()).then(|| VerifyToken(hash(token)))
    }

    /// The challenge to answer with, if the query is that of a handshake with this token, or what is wrong with it.
    /// Compares in constant time.
    pub fn challenge(&self, query: &str) -> Result<String, &'static str> {
        let value = |name: &str| {
            let mut parameters = form_urlencoded::parse(query.as_bytes());
            parameters.find_map(|(known, value)| (known == name).then_some(value))
        };
        if value("hub.mode").as_deref() != Some("subscribe") {
            return Err("hub.mode is not subscribe");
        }
        if !value("hub.verify_token").is_some_and(|token| hash(token.as_bytes()) == self.0) {
            return Err("hub.verify_token is not META_VERIFY_TOKEN");
        }
        let challenge = value("hub.challenge").unwrap_or_default();
        if challenge.is_empty() || challenge.len() > CHALLENGE_BYTES_MAX || challenge.chars().any(char::is_control) {
            return Err("hub.challenge cannot be repeated");
        }
        Ok(challenge.into_owned())
    }
}

fn hash(token: &[u8]) -> CtOutput<Hmac<Sha256>> {
    Hmac::<Sha256>::new_from_slice(KEY).expect("HMAC takes keys of any length").chain_update(token).finalize()
}

impl fmt::Debug for VerifyToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_repeated_only_for_the_right_token_and_mode() {
        let token = VerifyToken::new(b" vibe coding+\n").unwrap();
        let right = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=vibe%20coding%2B";
        assert_eq!(token.challenge(right), Ok("1158201444".to_owned()));
        assert_eq!(token.challenge(&right.replace("%20", "+")), Ok("1158201444".to_owned()));
        assert_eq!(token.challenge(&right.replace("1158201444", "%C3%A9")), Ok("é".to_owned()));
        for (part, other) in [
            ("subscribe", "unsubscribe"),
            ("hub.mode", "mode"),
            ("coding", "codinG"),
            ("vibe", "%20vibe"),
            ("vibe%20coding%2B", ""),
            ("vibe%20coding%2B", "vibe%20coding%2B%00"),
            ("hub.verify_token", "hub.token"),
            ("1158201444", ""),
            ("hub.challenge", "challenge"),
            ("1158201444", "1%0A2"),
            ("1158201444", "%00"),
        ] {
            assert!(token.challenge(&right.replace(part, other)).is_err(), "{part}: {other}");
        }
        assert!(token.challenge("").is_err());
    }

    #[test]
    fn a_challenge_has_at_most_256_bytes() {
        let token = VerifyToken::new(b"t").unwrap();
        for (bytes, right) in [(256, true), (257, false)] {
            let challenge = "1".repeat(bytes);
            let query = format!("hub.mode=subscribe&hub.verify_token=t&hub.challenge={challenge}");
            assert_eq!(token.challenge(&query).is_ok(), right, "{bytes}");
        }
    }

    #[test]
    fn a_token_is_not_empty_and_not_printed() {
        assert!(VerifyToken::new(b" \n").is_none());
        assert_eq!(format!("{:?}", VerifyToken::new(b"t").unwrap()), "VerifyToken(…)");
    }
}
