//! Replies: a status, header fields and a body, in the forms that the contract fixes, and how they become bytes.

use crate::closed_set::closed_set;
use serde::Serialize;
use std::io::Write;
use std::time::SystemTime;

closed_set! {
    /// The statuses that this service sends. A closed set, so that each has its counter from the start.
    #[expect(missing_docs, reason = "the names are HTTP's own, RFC 9110 section 15")]
    pub enum Status;
    /// The three digits.
    pub fn code() -> u16;
    Ok = 200,
    SeeOther = 303,
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    Gone = 410,
    LengthRequired = 411,
    ContentTooLarge = 413,
    ExpectationFailed = 417,
    MisdirectedRequest = 421,
    UnprocessableContent = 422,
    RequestHeaderFieldsTooLarge = 431,
    NotImplemented = 501,
    ServiceUnavailable = 503,
    HttpVersionNotSupported = 505,
}

/// Fields of every reply: no browser guesses a type, and none lets a page of another origin embed an answer
/// (<https://fetch.spec.whatwg.org/#cross-origin-resource-policy-header>). There is no CORS field on purpose.
const EVERY_REPLY: [(&str, &str); 2] =
    [("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin")];

/// A whole reply, except for the fields that every reply carries (`X-Request-ID`, `Date`, `Content-Length`).
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: Status,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further fields; the values hold visible ASCII only.
    pub headers: Vec<(&'static str, String)>,
    /// The body, whole.
    pub body: Vec<u8>,
}

impl Reply {
    /// A JSON body with 200.
    pub fn json(body: &impl Serialize) -> Reply {
        Reply::json_with(Status::Ok, body)
    }

    /// A JSON body with any status.
    pub fn json_with(status: Status, body: &impl Serialize) -> Reply {
        let body = serde_json::to_vec(body).expect("the reply types have string keys and no failing Serialize");
        Reply { status, content_type: "application/json", headers: Vec::new(), body }
    }

    /// Plain text with 200.
    pub fn text(text: String) -> Reply {
        let content_type = "text/plain; charset=utf-8";
        Reply { status: Status::Ok, content_type, headers: Vec::new(), body: text.into_bytes() }
    }

    /// Bytes to be saved as a file of that name, which is a token (RFC 9110 section 5.6.2).
    pub fn attachment(body: Vec<u8>, name: &str) -> Reply {
        let reply = Reply { status: Status::Ok, content_type: "application/octet-stream", headers: Vec::new(), body };
        reply.with("Content-Disposition", format!("attachment; filename={name}"))
    }

    /// `{"detail":"…"}`, the form of every refusal but 422.
    pub fn detail(status: Status, detail: &str) -> Reply {
        #[derive(Serialize)]
        struct Detail<'a> {
            detail: &'a str,
        }
        Reply::json_with(status, &Detail { detail })
    }

    /// 422 with one entry per fault.
    pub fn faults(faults: &[Fault]) -> Reply {
        #[derive(Serialize)]
        struct Detail<'a> {
            detail: &'a [Fault],
        }
        Reply::json_with(Status::UnprocessableContent, &Detail { detail: faults })
    }

    /// 503 that asks the client to come again: whatever was sent may not have been kept.
    pub fn unavailable(detail: &str) -> Reply {
        Reply::detail(Status::ServiceUnavailable, detail).with("Retry-After", "1".to_owned())
    }

    /// Appends the reply to `out` as a whole response. `connection` is a whole `Connection` field or nothing; without a
    /// body, as HEAD wants it, `Content-Length` is still that of the body.
    pub fn write(&self, request_id: &str, no_body: bool, connection: &str, out: &mut Vec<u8>) {
        let code = self.status.code();
        let phrase = tiny_http::StatusCode(code).default_reason_phrase();
        let date = httpdate::fmt_http_date(SystemTime::now());
        let written = write!(
            out,
            "HTTP/1.1 {code} {phrase}\r\nDate: {date}\r\nContent-Type: {}\r\nX-Request-ID: {request_id}\r\n",
            self.content_type
        );
        let fields = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let written = EVERY_REPLY
            .into_iter()
            .chain(fields)
            .fold(written, |written, (name, value)| written.and_then(|()| write!(out, "{name}: {value}\r\n")));
        let length = self.body.len();
        let written = written.and_then(|()| write!(out, "Content-Length: {length}\r\n{connection}\r\n"));
        written.expect("a Vec takes every write");
        if !no_body {
            out.extend_from_slice(&self.body);
        }
    }

    /// The same reply with one field more.
    pub fn with(mut self, name: &'static str, value: String) -> Reply {
        self.headers.push((name, value));
        self
    }
}

/// Why a value was refused, in the vocabulary of the original service (pydantic's error types).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs: `missing`, `string_type`, `string_pattern_mismatch` …
    pub kind: &'static str,
    /// For people: what would be right.
    pub msg: &'static str,
}

/// A [`Refusal`] and where in the request the value stood: one entry of a 422 body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    loc: Vec<&'static str>,
    msg: String,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Fault {
    /// The whole body is not what it has to be: `loc` is `["body"]`.
    pub fn body(msg: String) -> Fault {
        Fault { loc: vec!["body"], msg, kind: "json_invalid" }
    }

    /// A field of the body.
    pub fn field(name: &'static str, refusal: Refusal) -> Fault {
        Fault { loc: vec!["body", name], msg: refusal.msg.to_owned(), kind: refusal.kind }
    }

    /// Where it is and of which type, without the value: `from: missing`.
    pub fn name(&self) -> String {
        format!("{}: {}", self.loc.last().copied().unwrap_or_default(), self.kind)
    }

    /// Where it is and what would be right: `body.from: Field required`.
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.loc.join("."), self.msg)
    }

    /// A parameter of the query string.
    pub fn parameter(name: &'static str, refusal: Refusal) -> Fault {
        Fault { loc: vec!["query", name], msg: refusal.msg.to_owned(), kind: refusal.kind }
    }
}

/// A fresh version 4 UUID (RFC 9562 section 5.4) for `X-Request-ID`: unique, not secret.
pub fn request_id() -> String {
    let bits = fastrand::u128(..);
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | (4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_statuses_is_in_the_order_of_the_declaration() {
        for (index, status) in Status::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, index);
        }
    }

    #[test]
    fn a_request_id_is_a_version_4_uuid_and_never_the_same() {
        let mut seen = std::collections::HashSet::new();
        for _ in 0..10_000 {
            let id = request_id();
            assert_eq!(id.len(), 36, "{id}");
            for (index, byte) in id.bytes().enumerate() {
                match index {
                    8 | 13 | 18 | 23 => assert_eq!(byte, b'-', "{id}"),
                    14 => assert_eq!(byte, b'4', "{id}"),
                    19 => assert!(b"89ab".contains(&byte), "{id}"),
                    _ => assert!(byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte), "{id}"),
                }
            }
            assert!(seen.insert(id));
        }
    }
}
