//! One POST to the target, on a connection of its own.

use crate::command::client::{Answer, Url, connect};
use memchr::memmem;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

/// For the head of the answer as a whole, and for each write that makes no progress.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest head of an answer. Its body is not read.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Why the target has not taken what was posted.
pub(super) struct Refusal {
    pub(super) why: String,
    /// There was a connection, so it is perhaps the message that the target cannot take.
    pub(super) reached: bool,
    /// How long the target wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Posts a body with these header lines. Only an answer of 2xx is success.
pub(super) fn post(url: &Url, fields: &str, body: &[u8]) -> Result<(), Refusal> {
    let (authority, path, length) = (url.authority(), url.path_or("/"), body.len());
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n{fields}\
         Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    let refusal = |reached, error: Error| {
        let why = format!("the target {authority} does not answer: {error}");
        Refusal { why, reached, retry_after: None }
    };
    let mut stream = connect(url.address()).map_err(|error| refusal(false, error))?;
    let answer = exchange(&mut stream, &[head.as_bytes(), body].concat()).map_err(|error| refusal(true, error))?;
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    let why = match answer.status {
        0 => format!("the target {authority} does not speak HTTP"),
        status => format!("the target {authority} answered {status}"),
    };
    Err(Refusal { why, reached: true, retry_after: answer.field("Retry-After").and_then(retry_after) })
}

/// Sends the request and reads the head of the final answer.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<Answer> {
    stream.set_write_timeout(Some(PATIENCE))?;
    // A refusal may come before all is sent; then the answer says more than the error.
    let sent = stream.write_all(request);
    match read_head(stream) {
        Err(error) => Err(sent.err().unwrap_or(error)),
        answer => answer,
    }
}

fn read_head(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let deadline = Instant::now() + PATIENCE;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(end) = memmem::find(&bytes, b"\r\n\r\n") {
            let answer = Answer::parse(&bytes[..end + 4]);
            if !(100..200).contains(&answer.status) {
                return Ok(answer);
            }
            bytes.drain(..end + 4); // an interim answer, such as 103
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(ErrorKind::TimedOut, format!("no answer in {} s", PATIENCE.as_secs())));
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(Error::new(ErrorKind::InvalidData, format!("its head has more than {HEAD_BYTES_MAX} bytes")));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            // The loop looks at the clock.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    let until = || httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok();
    value.parse().ok().map(Duration::from_secs).or_else(until)
}
