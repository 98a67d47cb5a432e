//! Who the client is when a proxy stands in front: what `X-Forwarded-For` says, as far as it can be believed.
//!
//! Each proxy appends the address that it was connected from, so the field is read from the right, and only for as long
//! as it is a trusted proxy that wrote: whatever stands left of that, the client may have made up.

use std::net::{IpAddr, SocketAddr};

/// The proxies whose `X-Forwarded-For` is believed. None by default: then the field is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Net>);

/// Addresses that begin with the same bits. IPv4 is in here as IPv6-mapped (::ffff:0:0/96).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Net {
    bits: u128,
    /// How many bits count, from the left; 0 to 128.
    prefix: u32,
}

impl TrustedProxies {
    /// Parses addresses and nets, separated by commas: `127.0.0.1, 10.0.0.0/8, fd00::/8`. An empty text is none at all.
    pub fn parse(text: &str) -> Option<TrustedProxies> {
        if text.trim().is_empty() {
            return Some(TrustedProxies::default());
        }
        text.split(',').map(|net| Net::parse(net.trim())).collect::<Option<_>>().map(TrustedProxies)
    }

    /// The client of a request that came from `peer` with these values of `X-Forwarded-For`, as one list: the right-most
    /// address that is not a trusted proxy's, or the left-most of all where each is. None: the peer itself.
    pub(super) fn client(&self, peer: SocketAddr, forwarded_for: &[u8]) -> Option<IpAddr> {
        let mut nearest = None;
        for hop in forwarded_for.rsplit(|&byte| byte == b',') {
            if !self.trust(nearest.unwrap_or(peer.ip())) {
                break;
            }
            // A trusted proxy may have passed on garbage; then the last that is known counts.
            let Some(hop) = std::str::from_utf8(hop).ok().and_then(|hop| address(hop.trim())) else { break };
            nearest = Some(hop);
        }
        nearest
    }

    pub(super) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(address))
    }
}

impl Net {
    fn parse(text: &str) -> Option<Net> {
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = match prefix {
            None => width,
            // str::parse takes a sign.
            Some(digits) => digits.parse().ok().filter(|&bits| bits <= width && !digits.starts_with('+'))?,
        };
        let net = Net { bits: bits(address), prefix: 128 - width + prefix };
        // 10.1.2.3/8 is more likely a slip than 10.0.0.0/8 in another form, and trust is nothing to guess about.
        (net.bits & !net.mask() == 0).then_some(net)
    }

    fn mask(&self) -> u128 {
        u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0)
    }

    fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask() == self.bits
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// An address as proxies write it: alone, with a port, or IPv6 in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || hop.parse().ok().map(|address: SocketAddr| address.ip());
    hop.parse().ok().or_else(with_port).or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_addresses_and_nets_is_taken_and_anything_else_refused() {
        for text in ["", " ", "127.0.0.1", "::1", "10.0.0.0/8, 127.0.0.1 ,fd00::/8", "0.0.0.0/0", "::/0", "1.2.3.4/32"]
        {
            assert!(TrustedProxies::parse(text).is_some(), "{text:?}");
        }
        for text in [
            "localhost",
            "127.0.0.1:80",
            "127.0.0.1,",
            ",",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "/8",
            "10/8",
            "fd00::/129",
            "fd00::1/8",
            "10.0.0.0/8 127.0.0.1",
            "127.0.0.01",
        ] {
            assert_eq!(TrustedProxies::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_net_has_the_addresses_that_begin_with_its_bits() {
        for (net, address, right) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("0.0.0.0/0", "203.0.113.7", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe00::1", false),
            ("::1", "::1", true),
        ] {
            let proxies = TrustedProxies::parse(net).unwrap();
            assert_eq!(proxies.trust(address.parse().unwrap()), right, "{net} {address}");
        }
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_not_a_trusted_proxys() {
        const PROXY: &str = "127.0.0.1:5000";
        for (trusted, peer, forwarded_for, client) in [
            ("", PROXY, "203.0.113.7", None),
            ("127.0.0.1", "192.0.2.1:5000", "203.0.113.7", None),
            ("127.0.0.1", PROXY, "", None),
            ("127.0.0.1", PROXY, "203.0.113.7", Some("203.0.113.7")),
            ("127.0.0.1", "[::ffff:127.0.0.1]:5000", "203.0.113.7", Some("203.0.113.7")),
            ("127.0.0.1", PROXY, "198.51.100.1, 203.0.113.7", Some("203.0.113.7")), // the left one may be made up
            ("127.0.0.1,10.0.0.0/8", PROXY, "198.51.100.1,203.0.113.7,10.1.1.1", Some("203.0.113.7")),
            ("127.0.0.1,10.0.0.0/8", PROXY, "10.2.2.2, 10.1.1.1", Some("10.2.2.2")),
            ("127.0.0.1,10.0.0.0/8", PROXY, "unknown, 10.1.1.1", Some("10.1.1.1")),
            ("127.0.0.1", PROXY, "203.0.113.7, \u{fffd}", None),
            ("127.0.0.1", PROXY, "203.0.113.7:4711", Some("203.0.113.7")),
            ("127.0.0.1", PROXY, "2001:db8::1", Some("2001:db8::1")),
            ("127.0.0.1", PROXY, "[2001:db8::1]", Some("2001:db8::1")),
            ("127.0.0.1", PROXY, "[2001:db8::1]:4711", Some("2001:db8::1")),
            ("127.0.0.1", PROXY, "::ffff:203.0.113.7", Some("203.0.113.7")),
        ] {
            let found = TrustedProxies::parse(trusted).unwrap().client(peer.parse().unwrap(), forwarded_for.as_bytes());
            assert_eq!(found, client.map(|client| client.parse().unwrap()), "{trusted:?} {peer} {forwarded_for:?}");
        }
    }
}
