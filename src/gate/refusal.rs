//! What the gate answers in its own name.

use crate::answer::{Answer, Asked, Delivered, WebhookResult};
use crate::closed_set::closed_set;
use crate::delivery::Source;
use crate::path::Path;
use crate::refusals::Sent;
use crate::reply::{Reply, Status};

closed_set! {
    /// The `reason` label of `inbox_gate_rejections_total`: why the gate answered a request itself.
    pub(super) enum Rejection;
    /// The label, which the log uses too.
    pub(super) fn label() -> &'static str;
    BadByte = "bad_byte",
    BadLineEnd = "bad_line_end",
    BadRequestLine = "bad_request_line",
    BadTarget = "bad_target",
    BadField = "bad_field",
    BadHost = "bad_host",
    BadContentLength = "bad_content_length",
    AmbiguousFraming = "ambiguous_framing",
    BadChunk = "bad_chunk",
    Incomplete = "incomplete",
    HeadTime = "head_time",
    BodyTime = "body_time",
    LengthRequired = "length_required",
    Unrouted = "unrouted",
    BodyBytesMax = "body_bytes_max",
    Expectation = "expectation",
    HeadBytesMax = "head_bytes_max",
    FieldsMax = "fields_max",
    TransferCoding = "transfer_coding",
    ConnectionsMax = "connections_max",
    HeldBytesMax = "held_bytes_max",
    WaitersMax = "waiters_max",
    UpstreamBusy = "upstream_busy",
    UpstreamFailed = "upstream_failed",
    Version = "version",
}

/// The answer to a request that is not passed on, as far as it is known.
pub(super) fn answer(rejection: Rejection, asked: Asked<'_>, sent: Sent) -> Answer {
    let (method, path) = (asked.method.unwrap_or_default(), asked.path.unwrap_or_default());
    let route = Path::route(method, path);
    let source = route.as_ref().ok().filter(|path| path.is_delivery(method)).and_then(|path| Source::at(*path));
    let (status, detail) = words(rejection);
    let reply = match (rejection, route) {
        (Rejection::Unrouted, Err(reply)) => reply,
        (Rejection::WaitersMax, _) => Reply::detail(status, detail).with("Retry-After", "2".to_owned()),
        _ if status == Status::ServiceUnavailable => Reply::unavailable(detail),
        _ => Reply::detail(status, detail),
    };
    let result = match reply.status {
        Status::ContentTooLarge => Some(WebhookResult::TooLarge),
        Status::ServiceUnavailable => Some(WebhookResult::Unavailable),
        _ => None,
    };
    let delivery = result.zip(source).map(|(result, source)| Delivered { source, result, message_id: None });
    // A client that may not wait for messages is not a sender.
    let sent = Some(sent.at_gate(detail)).filter(|_| rejection != Rejection::WaitersMax);
    Answer { reply, delivery, reason: Some(rejection.label().to_owned()), sent }
}

/// The status and the sentence for the client.
fn words(rejection: Rejection) -> (Status, &'static str) {
    match rejection {
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
        Rejection::Unrouted => (Status::NotFound, "nothing is at this path, or nothing with this method"),
        Rejection::BodyBytesMax => (Status::ContentTooLarge, "request body too large"),
        Rejection::Expectation => (Status::ExpectationFailed, "only 100-continue can be expected"),
        Rejection::HeadBytesMax => (Status::RequestHeaderFieldsTooLarge, "request head too large"),
        Rejection::FieldsMax => (Status::RequestHeaderFieldsTooLarge, "too many header fields"),
        Rejection::TransferCoding => (Status::NotImplemented, "the only transfer coding understood is chunked"),
        Rejection::Version => (Status::HttpVersionNotSupported, "only HTTP/1.0 and HTTP/1.1 are supported"),
        Rejection::ConnectionsMax => (Status::ServiceUnavailable, "too many connections"),
        Rejection::HeldBytesMax => (Status::ServiceUnavailable, "too many requests in memory"),
        Rejection::WaitersMax => (Status::ServiceUnavailable, "too many requests wait; ask without wait"),
        Rejection::UpstreamBusy => (Status::ServiceUnavailable, "all workers are busy"),
        Rejection::UpstreamFailed => (Status::ServiceUnavailable, "the request could not be processed"),
    }
}
