//! What the gate answers in its own name, and how that is counted and logged.

use super::Shared;
use crate::log::{Level, RequestLine};
use crate::metrics::{Rejection, WebhookResult};
use crate::path::Path;
use crate::reply::{EVERY_REPLY, Reply, Status, request_id};
use crate::server::clock_us;
use std::time::{Duration, SystemTime};

/// The status and the sentence for the client.
fn reply(rejection: Rejection) -> Reply {
    let (status, detail) = match rejection {
        Rejection::BadByte => (Status::BadRequest, "control character in the request head"),
        Rejection::BadLineEnd => (Status::BadRequest, "line feed without carriage return in the request head"),
        Rejection::BadRequestLine => (Status::BadRequest, "malformed request line"),
        Rejection::BadTarget => (Status::BadRequest, "malformed request target"),
        Rejection::BadField => (Status::BadRequest, "malformed header field"),
        Rejection::BadHost => (Status::BadRequest, "Host missing, repeated or malformed"),
        Rejection::BadContentLength => (Status::BadRequest, "Content-Length repeated or not a number"),
        Rejection::AmbiguousFraming => (Status::BadRequest, "ambiguous Transfer-Encoding"),
        Rejection::BadChunk => (Status::BadRequest, "malformed chunk"),
        Rejection::Incomplete => (Status::BadRequest, "the request ended before it was whole"),
        Rejection::HeadTime => (Status::RequestTimeout, "the request head took too long"),
        Rejection::BodyTime => (Status::RequestTimeout, "the request body took too long"),
        Rejection::LengthRequired => (Status::LengthRequired, "Content-Length required"),
        Rejection::BodyBytesMax => (Status::ContentTooLarge, "request body too large"),
        Rejection::Expectation => (Status::ExpectationFailed, "only 100-continue can be expected"),
        Rejection::HeadBytesMax => (Status::RequestHeaderFieldsTooLarge, "request head too large"),
        Rejection::FieldsMax => (Status::RequestHeaderFieldsTooLarge, "too many header fields"),
        Rejection::TransferCoding => (Status::NotImplemented, "the only transfer coding understood is chunked"),
        Rejection::Version => (Status::HttpVersionNotSupported, "only HTTP/1.0 and HTTP/1.1 are supported"),
        Rejection::ConnectionsMax | Rejection::NoThread => return Reply::unavailable("too many connections"),
        Rejection::HeldBytesMax => return Reply::unavailable("too many requests in memory"),
        Rejection::UpstreamBusy => return Reply::unavailable("all workers are busy"),
        Rejection::UpstreamFailed => return Reply::unavailable("the request could not be processed"),
    };
    Reply::detail(status, detail)
}

/// Counts and logs the refusal of a request that arrived at `arrived_us`, and returns the answer's bytes, after which
/// the connection is closed. `request` is what is known of it: it begins with the request line, or is empty.
pub(super) fn refuse(shared: &Shared, rejection: Rejection, arrived_us: u64, client: &str, request: &[u8]) -> Vec<u8> {
    let reply = reply(rejection);
    let request_id = request_id();
    let line = request.split(|&byte| byte == b'\r').next().and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.into_iter().flat_map(|line| line.split(' ')).filter(|word| !word.is_empty());
    let method = words.next();
    let path = words.next().and_then(|target| target.split('?').next());

    let webhook = method == Some("POST") && path == Some("/webhook");
    let result = match reply.status {
        Status::ContentTooLarge if webhook => Some(WebhookResult::TooLarge),
        Status::ServiceUnavailable if webhook => Some(WebhookResult::Unavailable),
        _ => None,
    };
    let latency = Duration::from_micros(clock_us().saturating_sub(arrived_us));
    shared.metrics.rejection(rejection);
    shared.metrics.request(Path::of(path.unwrap_or_default()), reply.status, latency);
    if let Some(result) = result {
        shared.metrics.webhook(result);
    }
    shared.log.request(&RequestLine {
        level: match reply.status.code() {
            500.. => Level::Error,
            _ if webhook => Level::Warning,
            _ => Level::Info,
        },
        request_id: &request_id,
        method,
        path,
        status: reply.status.code(),
        latency_ms: latency.as_micros() as f64 / 1e3,
        client: Some(client),
        message_id: None,
        dup: None,
        result: result.map(WebhookResult::label),
        reason: Some(rejection.label()),
    });
    bytes(&reply, &request_id, method == Some("HEAD"))
}

fn bytes(reply: &Reply, request_id: &str, no_body: bool) -> Vec<u8> {
    let code = reply.status.code();
    let phrase = tiny_http::StatusCode(code).default_reason_phrase();
    let date = httpdate::fmt_http_date(SystemTime::now());
    let further = reply.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let further: String =
        EVERY_REPLY.into_iter().chain(further).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "HTTP/1.1 {code} {phrase}\r\nDate: {date}\r\nContent-Type: {}\r\nX-Request-ID: {request_id}\r\n{further}\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        reply.content_type,
        reply.body.len(),
    );
    let body = if no_body { &[] } else { reply.body.as_slice() };
    [head.as_bytes(), body].concat()
}
