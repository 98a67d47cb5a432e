//! Who may read: whoever has the read token, when there is one.
//!
//! Messages are other people's. It leaves to [`api`](crate::api) which endpoints read, and says only whether a request
//! shows the token (RFC 6750, section 2.1).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;

/// What every token is hashed under. It is no secret: hashing only makes tokens of any length equally long.
const KEY: &[u8] = b"webhook-inbox read token";

/// The token that a reader has to show. Only its hash is kept, and nothing is printed.
#[derive(Clone)]
pub struct ReadToken {
    tag: [u8; 32],
}

impl ReadToken {
    /// None for what a client could not send in `Authorization: Bearer …`: `b64token` of RFC 6750 is one or more
    /// letters, digits and `-._~+/`, and then any number of `=`.
    pub fn new(token: &[u8]) -> Option<ReadToken> {
        let end = token.iter().rposition(|&byte| byte != b'=')? + 1;
        let right = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        token[..end].iter().all(right).then(|| ReadToken { tag: hash(token).finalize().into_bytes().into() })
    }

    /// Whether there is exactly one `Authorization`, with this token. Compares in constant time.
    pub fn is_in(&self, authorizations: &[&str]) -> bool {
        let [authorization] = authorizations else { return false };
        let Some((scheme, token)) = authorization.split_once(' ') else { return false };
        let is_bearer = scheme.eq_ignore_ascii_case("Bearer"); // RFC 9110 section 11.1
        is_bearer && hash(token.trim_matches([' ', '\t']).as_bytes()).verify_slice(&self.tag).is_ok()
    }
}

fn hash(token: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(KEY).expect("HMAC takes keys of any length").chain_update(token)
}

impl fmt::Debug for ReadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_can_be_sent_as_one() {
        for token in ["t", "aZ09-._~+/", "dG9rZW4=", "dG9rZQ==", &"0123456789abcdef".repeat(16)] {
            assert!(ReadToken::new(token.as_bytes()).is_some(), "{token:?}");
        }
        for token in ["", "=", "==", "a=b", "two words", "line\n", " t", "t ", "t,u", "é", "\"t\""] {
            assert!(ReadToken::new(token.as_bytes()).is_none(), "{token:?}");
        }
        assert_eq!(format!("{:?}", ReadToken::new(b"t").unwrap()), "ReadToken(…)");
    }
}
