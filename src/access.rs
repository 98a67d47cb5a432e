//! Who may read: a client that shows the read token or, without one, a client that asks for a name of this service.
//!
//! Messages are other people's. It leaves to [`api`](crate::api) which endpoints read. With a token, a request has to
//! show it (RFC 6750, section 2.1). Without one, the network is the only protection, and a browser is inside of it: a
//! web page whose own name resolves to this service's address (DNS rebinding) could read every message. The `Host` field
//! then still holds the name of the page, so a name that no operator has allowed is refused.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The rule for reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// `READ_TOKEN` is set.
    Token(ReadToken),
    /// `READ_TOKEN` is not set.
    Hosts(AllowedHosts),
}

/// Why a request may not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The read token is missing or wrong.
    Token,
    /// The request asks for a name that this service may not be read under.
    Host,
    /// Another site has made a browser ask, with the session of this service's page.
    CrossSite,
}

impl Access {
    /// Whether a request with these `Authorization` and `Host` fields may read.
    pub fn check(&self, authorizations: &[&str], host: Option<&str>) -> Result<(), Denied> {
        match self {
            Access::Token(token) if token.is_in(authorizations) => Ok(()),
            Access::Token(_) => Err(Denied::Token),
            Access::Hosts(_) => self.check_host(host),
        }
    }

    /// Whether a request with this `Host` may read what no token protects. With a token the name does not matter.
    pub fn check_host(&self, host: Option<&str>) -> Result<(), Denied> {
        match (self, host) {
            (Access::Hosts(hosts), Some(host)) if !hosts.allow(host) => Err(Denied::Host),
            _ => Ok(()), // without a Host (HTTP/1.0) no browser has asked
        }
    }
}

/// `ALLOWED_HOSTS`: names, in lower case, that reads without a token may use beside those that no web page can have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

impl AllowedHosts {
    /// Reads names separated by commas, without ports. None when one of them is not a host name.
    pub fn parse(text: &str) -> Option<AllowedHosts> {
        if text.trim().is_empty() {
            return Some(AllowedHosts::default());
        }
        let is_name = |name: &&str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        let names = text.split(',').map(str::trim);
        names
            .map(|name| Some(name).filter(is_name).map(str::to_ascii_lowercase))
            .collect::<Option<_>>()
            .map(AllowedHosts)
    }

    /// Whether reads may use this `Host`, with or without a port. An IP address and a name without a dot (`localhost`, a
    /// container's name) are allowed: no web page on the Internet has such an origin.
    fn allow(&self, host: &str) -> bool {
        let bracketed = host.strip_prefix('[').and_then(|host| host.split_once(']'));
        if let Some((address, port)) = bracketed {
            return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.starts_with(':'));
        }
        let name = host.split_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
        !name.contains('.') || name.parse::<Ipv4Addr>().is_ok() || self.0.contains(&name)
    }
}

/// What every token is hashed under. It is not a secret: hashing only makes tokens of any length equally long.
const KEY: &[u8] = b"webhook-inbox read token";

/// The token that a reader has to show. Only its hash is kept, and nothing is printed.
#[derive(Clone, PartialEq, Eq)]
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

    /// The same for the same token, and for no other. Who has it can only guess the token.
    pub fn tag(&self) -> &[u8; 32] {
        &self.tag
    }

    /// Whether it is this token. Compares in constant time.
    pub fn is(&self, token: &[u8]) -> bool {
        hash(token).verify_slice(&self.tag).is_ok()
    }

    /// Whether there is exactly one `Authorization`, with this token.
    pub fn is_in(&self, authorizations: &[&str]) -> bool {
        let [authorization] = authorizations else { return false };
        let Some((scheme, token)) = authorization.split_once(' ') else { return false };
        let is_bearer = scheme.eq_ignore_ascii_case("Bearer"); // RFC 9110 section 11.1
        is_bearer && self.is(token.trim_matches([' ', '\t']).as_bytes())
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

    #[test]
    fn a_host_is_allowed_when_no_web_page_can_have_it_or_the_operator_named_it() {
        let hosts = AllowedHosts::parse("inbox.example.com, Inbox.Internal").unwrap();
        for host in [
            "127.0.0.1",
            "127.0.0.1:8000",
            "192.0.2.7:80",
            "[::1]",
            "[::1]:8000",
            "localhost",
            "LOCALHOST:8000",
            "inbox",
            "inbox:8000",
            "inbox.example.com",
            "INBOX.example.com:443",
            "inbox.internal",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "rebind.attacker.example",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example:8000",
            "localhost.",
            "127.0.0.1.",
            "0x7f.1",
            "[::1].attacker.example",
            "[attacker.example]",
            "inbox.example.com.",
            "x.inbox.example.com",
            "xinbox.example.com",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
    }

    #[test]
    fn allowed_hosts_are_names_separated_by_commas() {
        for text in ["", " ", "a", "inbox.example.com,other.example", "a_b.example"] {
            assert!(AllowedHosts::parse(text).is_some(), "{text:?}");
        }
        for text in ["a,", ",", "http://a.example", "a.example:8000", "a b", "*.example.com", "é.example"] {
            assert_eq!(AllowedHosts::parse(text), None, "{text:?}");
        }
    }
}
