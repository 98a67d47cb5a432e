//! One HTTP exchange, for the commands that ask a service.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// For each step of the exchange. Shorter than the 30 s that container engines allow a check by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// The answers of this service are far shorter.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What came back.
pub(super) struct Answer {
    /// 0 when it is no HTTP.
    pub(super) status: u16,
    /// The first line, whatever it says.
    pub(super) status_line: String,
    pub(super) body: String,
}

/// Sends a whole request and reads the answer to the end of the connection.
pub(super) fn exchange(address: impl ToSocketAddrs, request: &[u8]) -> std::io::Result<Answer> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status_line = head.lines().next().unwrap_or_default().to_owned();
    let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok()).unwrap_or(0);
    Ok(Answer { status, status_line, body: body.to_owned() })
}

/// Tries every address that a name stands for.
fn connect(address: impl ToSocketAddrs) -> std::io::Result<TcpStream> {
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
