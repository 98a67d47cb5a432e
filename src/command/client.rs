//! One HTTP exchange, for the commands that ask a service, and the URL to ask.

use memchr::memmem;
use std::borrow::Cow;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For each step of the exchange. Shorter than the 30 s that container engines allow a check by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer of this service is a delivery, and MAX_BODY_BYTES is at most 1 GiB.
const ANSWER_BYTES_MAX: u64 = (1 << 30) + (1 << 20);

/// What came back.
pub(super) struct Answer {
    /// 0 when it is not HTTP.
    pub(super) status: u16,
    /// The first line, whatever it says.
    pub(super) status_line: String,
    /// The header fields, a line each.
    pub(super) fields: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Takes the bytes of a connection apart. Without an end of the head, all of it is head.
    pub(super) fn parse(bytes: &[u8]) -> Answer {
        let (head, body) = match memmem::find(bytes, b"\r\n\r\n") {
            Some(end) => (&bytes[..end], &bytes[end + 4..]),
            None => (bytes, &[][..]),
        };
        let head = String::from_utf8_lossy(head);
        let (status_line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()).unwrap_or(0);
        Answer { status, status_line: status_line.to_owned(), fields: fields.to_owned(), body: body.to_owned() }
    }

    /// The value of the first header field of that name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(super) fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

/// Sends a whole request and reads the answer to the end of the connection.
pub(super) fn exchange(address: impl ToSocketAddrs, request: &[u8]) -> std::io::Result<Answer> {
    exchange_after(Duration::ZERO, address, request)
}

/// The same for an answer that comes after a time.
pub(super) fn exchange_after(time: Duration, address: impl ToSocketAddrs, request: &[u8]) -> std::io::Result<Answer> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(time + PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(Answer::parse(&answer))
}

/// Tries every address that a name stands for.
pub(super) fn connect(address: impl ToSocketAddrs) -> std::io::Result<TcpStream> {
    let mut outcome = Err(Error::new(ErrorKind::NotFound, "the name stands for no address"));
    for address in address.to_socket_addrs()? {
        outcome = TcpStream::connect_timeout(&address, PATIENCE);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The address to connect to for one that was listened on: an unspecified one means every interface.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// An `http` URL of a service, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Url {
    /// Takes an `http` URL; the error is why another text is none that can be asked.
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        if text.starts_with("https://") {
            return Err(
                "this program does not speak TLS; name a proxy or a tunnel on this machine that does, or use curl, \
                        with `webhook-inbox sign --header` for a delivery",
            );
        }
        let rest = text.strip_prefix("http://").ok_or("it does not begin with http://")?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err("it contains a byte that must be percent-encoded");
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains(['@', '?']) {
            return Err("it needs a / after the host, and takes no user name");
        }
        // An IPv6 address has colons of its own, in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| "its port is not a number")?),
            _ => (authority, 80),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err("it names no host");
        }
        Ok(Url { host: host.to_owned(), port, authority: authority.to_owned(), path: path.to_owned() })
    }

    /// The service at an address.
    pub(super) fn of(address: SocketAddr) -> Url {
        let (host, authority) = (address.ip().to_string(), address.to_string());
        Url { host, port: address.port(), authority, path: String::new() }
    }

    /// Host and port, to connect to.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Host and port as they were written, for `Host`.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The path, or that of the endpoint that is meant where the URL has none.
    pub(super) fn path_or<'a>(&'a self, endpoint: &'a str) -> &'a str {
        if matches!(self.path.as_str(), "" | "/") { endpoint } else { &self.path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (text, host, port, path) in [
            ("http://127.0.0.1:8000/webhook", "127.0.0.1", 8000, "/webhook"),
            ("http://localhost", "localhost", 80, "/endpoint"),
            ("http://localhost:81/", "localhost", 81, "/endpoint"),
            ("http://[::1]:8000/in?x=1", "::1", 8000, "/in?x=1"),
            ("http://[::1]", "::1", 80, "/endpoint"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.address(), url.path_or("/endpoint")), ((host, port), path), "{text}");
        }
        for text in [
            "",
            "localhost:8000",
            "https://x/",
            "ftp://x/",
            "http://",
            "http://:80/",
            "http://x:y/",
            "http://x/ä",
            "http://x/\r\n",
            "http://x/#y",
            "http://x?y=1",
            "http://user:password@x/",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }
}
