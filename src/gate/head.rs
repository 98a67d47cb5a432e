//! A request's head: from bytes that trickle in to what is forwarded of it.
//!
//! Every line is looked at once, when it is whole, so that garbage is refused at its first wrong byte and a client that
//! writes byte by byte costs no more than another. What is forwarded is written from the checked parts: nothing
//! that this file did not understand can reach the parser behind it.

use super::Limits;
use super::refusal::Rejection;
use crate::path::Path;
use crate::webhook;

/// What the gate has to know of a whole head to continue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the head in the input, the empty line included.
    pub(super) bytes: usize,
    pub(super) framing: Framing,
    /// The `Connection` field for an answer after which the connection stays open; `None`: it does not.
    pub(super) keep_alive: Option<&'static str>,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
    /// Of a delivery.
    pub(super) is_delivery: bool,
    /// The answer has no body, whatever its length.
    pub(super) is_head: bool,
    /// A proxy says that the client came by TLS, which counts if the proxy is trusted.
    pub(super) is_https: bool,
}

/// Where the body ends (RFC 9112 section 6.3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none, and none was declared.
    Absent,
    /// `Content-Length`, within `body_bytes_max`.
    Length(usize),
    Chunked,
}

/// Fields that the service reads beside those of signatures: a token, or what a browser says.
const PASSED: [&str; 4] = ["Authorization", "Cookie", "Origin", "Sec-Fetch-Site"];

/// How far a head has been read.
#[derive(Default)]
pub(super) struct Parser {
    /// Bytes looked at so far.
    seen: usize,
    /// Where the line begins that is not whole yet.
    line: usize,
    request_line: Option<RequestLine>,
    fields: usize,
    /// The values of `X-Forwarded-For` as one list (RFC 9110 section 5.3), once the fields could be parsed, even where
    /// they are refused for something else.
    pub(super) forwarded_for: Vec<u8>,
}

struct RequestLine {
    /// Where the field lines begin.
    end: usize,
    /// HTTP/1.0 or HTTP/1.1.
    minor: u8,
    /// Of a delivery, whose body must have a length (RFC 9110 section 8.6).
    is_delivery: bool,
    is_head: bool,
    /// The path exists and has the method.
    is_routed: bool,
    /// The authority of an absolute-form target, which counts instead of `Host` (RFC 9112 section 3.2.2).
    authority: Option<Vec<u8>>,
}

impl Parser {
    /// Looks at what has come since the last call; `input` begins where the request does. Once the head is whole,
    /// `forward` holds its request line and fields. The request line is there as soon as it has been read.
    ///
    /// However the input is cut into calls, the outcome is the same.
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        limits: &Limits,
        forward: &mut Vec<u8>,
    ) -> Result<Option<Head>, Rejection> {
        let window = &input[..input.len().min(limits.head_bytes_max)];
        while let Some(at) = memchr::memchr(b'\n', &window[self.seen..]) {
            let end = self.seen + at;
            refuse_controls(&window[self.seen..end])?;
            let line = window[self.line..end].strip_suffix(b"\r").ok_or(Rejection::BadLineEnd)?;
            (self.seen, self.line) = (end + 1, end + 1);
            match &self.request_line {
                None if line.is_empty() && end == 1 => {} // one empty line before the request, RFC 9112 section 2.2
                None => self.request_line = Some(request_line(line, end + 1, forward)?),
                Some(request_line) if line.is_empty() => {
                    let fields = &window[request_line.end..=end];
                    let forwarded_for = &mut self.forwarded_for;
                    return finish(request_line, fields, self.fields, limits, forward, forwarded_for).map(Some);
                }
                Some(_) => {
                    self.fields += 1;
                    if self.fields > limits.fields_max {
                        return Err(Rejection::FieldsMax);
                    }
                }
            }
        }
        refuse_controls(&window[self.seen..])?;
        self.seen = window.len();
        if input.len() > limits.head_bytes_max { Err(Rejection::HeadBytesMax) } else { Ok(None) }
    }
}

/// No control byte may stand in a head but HTAB and the CR of a line's end, which the field parser finds elsewhere.
fn refuse_controls(bytes: &[u8]) -> Result<(), Rejection> {
    let control = |&byte: &u8| byte < b' ' && byte != b'\t' && byte != b'\r' || byte == 0x7f;
    if bytes.iter().any(control) { Err(Rejection::BadByte) } else { Ok(()) }
}

/// `method SP target SP HTTP/1.x`, and the same with an origin-form target into `forward`.
fn request_line(line: &[u8], end: usize, forward: &mut Vec<u8>) -> Result<RequestLine, Rejection> {
    let parts: Vec<&[u8]> = line.splitn(4, |&byte| byte == b' ').collect();
    let &[method, target, version] = parts.as_slice() else { return Err(Rejection::BadRequestLine) };
    if method.is_empty() || !method.iter().all(is_token) {
        return Err(Rejection::BadRequestLine);
    }
    let minor = match version {
        b"HTTP/1.0" => 0,
        b"HTTP/1.1" => 1,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            return Err(Rejection::Version);
        }
        _ => return Err(Rejection::BadRequestLine),
    };
    let (authority, path) = origin_form(method, target)?;
    let slash: &[u8] = if path.starts_with(b"/") || path == b"*" { b"" } else { b"/" };
    for part in [method, b" ", slash, path, b" HTTP/1.1\r\n"] {
        forward.extend_from_slice(part);
    }
    let (method, is_head) = (std::str::from_utf8(method).unwrap_or_default(), method == b"HEAD");
    let path = std::str::from_utf8(path).unwrap_or_default().split('?').next().unwrap_or_default();
    let route = Path::route(method, path);
    let (is_routed, is_delivery) = (route.is_ok(), route.is_ok_and(|path| path.is_delivery(method)));
    Ok(RequestLine { end, minor, is_delivery, is_head, is_routed, authority: authority.map(<[u8]>::to_vec) })
}

/// Splits a target (RFC 9112 section 3.2) into the authority of the absolute form, and path and query, where the path
/// may be empty. The authority form belongs to CONNECT, which only proxies answer.
fn origin_form<'a>(method: &[u8], target: &'a [u8]) -> Result<(Option<&'a [u8]>, &'a [u8]), Rejection> {
    let visible = target.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#');
    match target {
        _ if !visible || method == b"CONNECT" => Err(Rejection::BadTarget),
        [b'/', ..] => Ok((None, target)),
        b"*" if method == b"OPTIONS" => Ok((None, target)),
        _ => {
            let scheme = memchr::memmem::find(target, b"://").ok_or(Rejection::BadTarget)?;
            let rest = &target[scheme + 3..];
            let (authority, path) = rest.split_at(memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len()));
            let http =
                target[..scheme].eq_ignore_ascii_case(b"http") || target[..scheme].eq_ignore_ascii_case(b"https");
            if http && is_host(authority) { Ok((Some(authority), path)) } else { Err(Rejection::BadTarget) }
        }
    }
}

/// Reads the fields, whose last line is the empty one, and writes those that the service reads into `forward`.
fn finish(
    request_line: &RequestLine,
    lines: &[u8],
    count: usize,
    limits: &Limits,
    forward: &mut Vec<u8>,
    forwarded_for: &mut Vec<u8>,
) -> Result<Head, Rejection> {
    // httparse refuses anything other than a token before the colon, a folded line and a lone CR. That it takes a bare LF and
    // more than one empty line is of no matter here: neither is left in `lines`.
    let mut fields = vec![httparse::EMPTY_HEADER; count];
    httparse::parse_headers(lines, &mut fields).map_err(|_| Rejection::BadField)?;

    let hops = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("X-Forwarded-For"));
    *forwarded_for = hops.map(|field| field.value).collect::<Vec<_>>().join(&b',');

    let (mut host, mut length, mut codings) = (None, None, Codings::default());
    let (mut close, mut keep_alive, mut expects_continue, mut is_https) = (false, false, false, false);
    for httparse::Header { name, value } in fields {
        if name.eq_ignore_ascii_case("Host") {
            if host.replace(value).is_some() || !is_host(value) {
                return Err(Rejection::BadHost);
            }
        } else if name.eq_ignore_ascii_case("Content-Length") {
            if length.replace(content_length(value)?).is_some() {
                return Err(Rejection::BadContentLength);
            }
        } else if name.eq_ignore_ascii_case("Transfer-Encoding") {
            codings.add(value);
        } else if name.eq_ignore_ascii_case("Connection") {
            close |= elements(value).any(|option| option.eq_ignore_ascii_case(b"close"));
            keep_alive |= elements(value).any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
        } else if name.eq_ignore_ascii_case("Expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(Rejection::Expectation);
            }
            expects_continue = request_line.minor == 1; // HTTP/1.0 knows no 1xx, RFC 9110 section 10.1.1
        } else if let Some(name) = PASSED.iter().find(|passed| name.eq_ignore_ascii_case(passed)) {
            write_field(forward, name, value);
        } else if name.eq_ignore_ascii_case("X-Forwarded-Proto") {
            is_https = value == b"https";
        } else if let Some(name) = webhook::signature_field(name) {
            write_field(forward, name, value);
        }
    }
    if host.is_none() && request_line.minor == 1 {
        return Err(Rejection::BadHost);
    }
    if let Some(host) = request_line.authority.as_deref().or(host) {
        write_field(forward, "Host", host);
    }
    let keep_alive = match request_line.minor {
        _ if close => None,
        1 => Some(""),
        _ => keep_alive.then_some("Connection: keep-alive\r\n"),
    };
    let framing = match (codings.present, length) {
        (true, Some(_)) => return Err(Rejection::AmbiguousFraming),
        (true, None) => codings.framing(request_line.minor)?,
        (false, Some(length)) if length <= limits.body_bytes_max as u64 => Framing::Length(length as usize),
        (false, Some(_)) => return Err(Rejection::BodyBytesMax),
        // Without a length a request has no body (RFC 9112 section 6.3), and the one endpoint that needs one says so.
        (false, None) if request_line.is_delivery => return Err(Rejection::LengthRequired),
        (false, None) => Framing::Absent,
    };
    if !request_line.is_routed && !matches!(framing, Framing::Absent | Framing::Length(0)) {
        return Err(Rejection::Unrouted); // before a body is read that no endpoint wants
    }
    let RequestLine { is_delivery, is_head, .. } = *request_line;
    let bytes = request_line.end + lines.len();
    Ok(Head { bytes, framing, keep_alive, expects_continue, is_delivery, is_head, is_https })
}

/// Digits and nothing else: a sign, a list and the empty value are how requests are smuggled. A number beyond 64 bits
/// is a number all the same, and larger than any bound.
fn content_length(value: &[u8]) -> Result<u64, Rejection> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Rejection::BadContentLength);
    }
    Ok(value.iter().fold(0, |length: u64, digit| length.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

/// The transfer codings of all fields together (RFC 9112 section 6.1).
#[derive(Default)]
struct Codings {
    present: bool,
    /// One that is not `chunked`.
    unknown: bool,
    chunked: usize,
    /// `chunked` comes last, as it has to.
    chunked_last: bool,
    malformed: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        self.present = true;
        for coding in elements(value) {
            self.chunked_last = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.chunked_last);
            self.unknown |= !self.chunked_last;
            self.malformed |= coding.is_empty();
        }
    }

    fn framing(&self, minor: u8) -> Result<Framing, Rejection> {
        match self {
            _ if minor == 0 || self.malformed || self.chunked > 1 => Err(Rejection::AmbiguousFraming),
            Codings { chunked: 1, chunked_last: false, .. } => Err(Rejection::AmbiguousFraming),
            Codings { unknown: true, .. } => Err(Rejection::TransferCoding),
            _ => Ok(Framing::Chunked),
        }
    }
}

/// The elements of a comma-separated list, white space trimmed.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Bytes beyond ASCII may stand in a value (RFC 9110 section 5.5), but tiny_http would drop the connection over them. A
/// `?` is as wrong in a signature or a credential, and gets the right answer for that.
fn write_field(forward: &mut Vec<u8>, name: &str, value: &[u8]) {
    forward.extend_from_slice(name.as_bytes());
    forward.extend_from_slice(b": ");
    forward.extend(value.iter().map(|&byte| if byte.is_ascii() { byte } else { b'?' }));
    forward.extend_from_slice(b"\r\n");
}

/// A byte of a token (RFC 9110 section 5.6.2).
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Host and port by their alphabet (RFC 3986 section 3.2): no user information, no path, no space.
fn is_host(value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte);
    !value.is_empty() && value.iter().all(allowed)
}
