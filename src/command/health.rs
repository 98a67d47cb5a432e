//! `health`: asks the service on this machine whether it is ready. For HEALTHCHECK in an image without curl.

use crate::command::{CONFIG, FAILED, Failure};
use crate::config::{Config, ConfigError};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// For each step of the exchange. Shorter than the 30 s that container engines allow a check by default.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn health() -> Result<(), Failure> {
    let listen = Config::listen_address();
    let listen = listen.map_err(|error: ConfigError| Failure { status: CONFIG, text: error.to_string() })?;
    let address = reachable(listen);
    let answer = ask(address).map_err(|error| Failure {
        status: FAILED,
        text: format!("nothing answers at {address}: {error}. Is the service running, with the same LISTEN_ADDR?"),
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        println!("{body}");
        return Ok(());
    }
    let status_line = head.lines().next().unwrap_or_default();
    Err(Failure { status: FAILED, text: format!("{address} says {status_line}: {body}") })
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(16 << 10).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The address to connect to for one that was listened on: an unspecified one means every interface.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
