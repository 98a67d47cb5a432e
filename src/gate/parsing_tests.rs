//! The parsers of head and body against tables, and random requests against an independent reading of the result.

use super::Limits;
use super::body::Chunked;
use super::head::{Framing, Head, Parser};
use super::refusal::Rejection::{self, *};

/// What became of a head: how much was forwarded and how it continues, or why not. `None`: more is needed.
type Outcome = Result<Option<(Head, Vec<u8>)>, Rejection>;

/// Gives the parser the input in pieces that end at `cuts`, and then the whole of it.
fn head(input: &[u8], cuts: &[usize], limits: &Limits) -> Outcome {
    let (mut parser, mut forward) = (Parser::default(), Vec::new());
    for &cut in cuts.iter().chain([&input.len()]) {
        if let Some(head) = parser.advance(&input[..cut], limits, &mut forward)? {
            return Ok(Some((head, forward)));
        }
    }
    Ok(None)
}

fn body(input: &[u8], cuts: &[usize], max: usize) -> Result<Option<(usize, Vec<u8>)>, Rejection> {
    let (mut chunked, mut body, mut at) = (Chunked::new(max), Vec::new(), 0);
    for &cut in cuts.iter().chain([&input.len()]) {
        let (done, whole) = chunked.advance(&input[at..cut.max(at)], &mut body)?;
        at += done;
        if whole {
            return Ok(Some((at, body)));
        }
    }
    Ok(None)
}

#[test]
fn each_malformed_or_ambiguous_head_is_refused_for_its_reason() {
    let limits = Limits::DEFAULT;
    for (input, reason) in [
        ("GET /\r\n", BadRequestLine),
        ("GET\r\n", BadRequestLine),
        ("\r\n\r\nGET / HTTP/1.1\r\n", BadRequestLine),
        ("GET  / HTTP/1.1\r\n", BadRequestLine),
        ("GET / HTTP/1.1 \r\n", BadRequestLine),
        (" GET / HTTP/1.1\r\n", BadRequestLine),
        ("GET / http/1.1\r\n", BadRequestLine),
        ("GET / HTTP/1.10\r\n", BadRequestLine),
        ("GET / HTTP/1.1\rx\r\n", BadRequestLine),
        ("G(T / HTTP/1.1\r\n", BadRequestLine),
        ("GÉT / HTTP/1.1\r\n", BadRequestLine),
        ("GET / HTTP/0.9\r\n", Version),
        ("GET / HTTP/1.2\r\n", Version),
        ("PRI * HTTP/2.0\r\n", Version),
        ("GET / HTTP/3.0\r\n", Version),
        ("GET /é HTTP/1.1\r\n", BadTarget),
        ("GET /#x HTTP/1.1\r\n", BadTarget),
        ("GET x HTTP/1.1\r\n", BadTarget),
        ("GET * HTTP/1.1\r\n", BadTarget),
        ("CONNECT a:80 HTTP/1.1\r\n", BadTarget),
        ("CONNECT / HTTP/1.1\r\n", BadTarget),
        ("GET ftp://a/ HTTP/1.1\r\n", BadTarget),
        ("GET http:///x HTTP/1.1\r\n", BadTarget),
        ("GET http://u@a/ HTTP/1.1\r\n", BadTarget),
        ("GET / HTTP/1.1\n", BadLineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n", BadLineEnd),
        ("\n", BadLineEnd),
        ("\x16\x03\x01", BadByte),
        ("GET /\0", BadByte),
        ("GET / HTTP/1.1\r\nHost: a\x0b", BadByte),
        ("GET / HTTP/1.1\r\nHost: a\x7f", BadByte),
        ("GET / HTTP/1.1\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: é\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", BadHost),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", BadHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n", BadField),
        ("GET / HTTP/1.1\r\nHost: a\r\nÄ: b\r\n\r\n", BadField),
        ("POST /webhook HTTP/1.1\r\nHost: a\r\n\r\n", LengthRequired),
        ("POST /webhook?a=b HTTP/1.0\r\n\r\n", LengthRequired),
        ("POST http://a/webhook HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", LengthRequired),
        ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", Expectation),
    ] {
        assert_eq!(head(input.as_bytes(), &[], &limits), Err(reason), "{input:?}");
    }
    for (fields, outcome) in [
        ("Content-Length: 4194304", Ok(Framing::Length(4_194_304))),
        ("Content-Length: 4194305", Err(BodyBytesMax)),
        ("Content-Length: 999999999999999", Err(BodyBytesMax)),
        ("Content-Length: 9223372036854775807", Err(BodyBytesMax)),
        ("Content-Length: 18446744073709551616", Err(BodyBytesMax)),
        ("Content-Length: 340282366920938463463374607431768211461", Err(BodyBytesMax)),
        ("Content-Length: 00000000000000000000000000000000000000007", Ok(Framing::Length(7))),
        ("Content-Length: ", Err(BadContentLength)),
        ("Content-Length: -1", Err(BadContentLength)),
        ("Content-Length: +5", Err(BadContentLength)),
        ("Content-Length: 0x5", Err(BadContentLength)),
        ("Content-Length: 5.0", Err(BadContentLength)),
        ("Content-Length: 5, 5", Err(BadContentLength)),
        ("Content-Length: 5 5", Err(BadContentLength)),
        ("Content-Length: ٥", Err(BadContentLength)),
        ("Content-Length: 5\r\ncontent-length: 5", Err(BadContentLength)),
        ("Content-Length: 5\r\nContent-Length: 6", Err(BadContentLength)),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", Err(AmbiguousFraming)),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", Err(AmbiguousFraming)),
        ("Content-Length: 5\r\nTransfer-Encoding: gzip", Err(AmbiguousFraming)),
        ("Transfer-Encoding: chunked", Ok(Framing::Chunked)),
        ("transfer-encoding:\tCHUNKED \t", Ok(Framing::Chunked)),
        ("Transfer-Encoding: ", Err(AmbiguousFraming)),
        ("Transfer-Encoding: chunked, chunked", Err(AmbiguousFraming)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Err(AmbiguousFraming)),
        ("Transfer-Encoding: chunked, gzip", Err(AmbiguousFraming)),
        ("Transfer-Encoding: chunked,", Err(AmbiguousFraming)),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Err(AmbiguousFraming)),
        ("Transfer-Encoding: gzip, chunked", Err(TransferCoding)),
        ("Transfer-Encoding: identity", Err(TransferCoding)),
        ("Transfer-Encoding: xchunked", Err(TransferCoding)),
        ("Transfer-Encoding: chunked;q=1", Err(TransferCoding)),
        ("Transfer-Encoding: \"chunked\"", Err(TransferCoding)),
    ] {
        let input = format!("POST /webhook HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let framing = head(input.as_bytes(), &[], &limits).map(|whole| whole.unwrap().0.framing);
        assert_eq!(framing, outcome, "{fields}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(head(old.as_bytes(), &[], &limits), Err(AmbiguousFraming));
}

#[test]
fn what_is_unusual_but_right_is_forwarded_in_the_usual_form() {
    for (input, forwarded) in [
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n"),
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\n"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
        ("GET HTTP://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: b:1\r\n"),
        ("GET https://[::1] HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]\r\n"),
        ("M-SEARCH /?a://b HTTP/1.1\r\nhOST:\t a \r\n\r\n", "M-SEARCH /?a://b HTTP/1.1\r\nHost: a\r\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX-Signature:\r\nX:é\r\n\r\n", "GET / HTTP/1.1\r\nX-Signature: \r\nHost: a\r\n"),
    ] {
        let (head, forward) = head(input.as_bytes(), &[], &Limits::DEFAULT).unwrap().unwrap();
        assert_eq!(String::from_utf8(forward).unwrap(), forwarded, "{input:?}");
        assert_eq!((head.bytes, head.framing), (input.len(), Framing::Absent), "{input:?}");
    }
}

#[test]
fn only_the_fields_that_the_service_reads_are_forwarded() {
    let input = "POST /webhook HTTP/1.1\r\nHost: a\r\nx-signature: one\r\nX-SIGNATURE: two\r\nAuthorization: Basic abc\r\n\
                 X-Inbox-Passed: 0 1 forged\r\nWEBHOOK-ID: i\r\nsvix-timestamp: 1\r\nCookie: c\r\nTE: trailers\r\nUpgrade: h2c\r\n\
                 Connection: close, x-signature\r\nContent-Length: 005\r\n\r\n";
    let (head, forward) = head(input.as_bytes(), &[], &Limits::DEFAULT).unwrap().unwrap();
    let forwarded = "POST /webhook HTTP/1.1\r\nX-Signature: one\r\nX-Signature: two\r\nAuthorization: Basic abc\r\n\
                     webhook-id: i\r\nsvix-timestamp: 1\r\nCookie: c\r\nHost: a\r\n";
    assert_eq!((String::from_utf8(forward).unwrap().as_str(), head.framing), (forwarded, Framing::Length(5)));
}

#[test]
fn the_connection_stays_open_as_version_and_field_say() {
    const EXPLICIT: Option<&str> = Some("Connection: keep-alive\r\n");
    for (version, field, keep_alive) in [
        ("1.1", "X: y", Some("")),
        ("1.1", "Connection: close", None),
        ("1.1", "Connection: keep-alive, CLOSE", None),
        ("1.1", "Connection: keep-alive\r\nConnection: close", None),
        ("1.0", "X: y", None),
        ("1.0", "Connection: Keep-Alive", EXPLICIT),
        ("1.0", "Connection: x, keep-alive", EXPLICIT),
        ("1.0", "Connection: keep-alive, close", None),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{field}\r\n\r\n");
        let head = head(input.as_bytes(), &[], &Limits::DEFAULT).unwrap().unwrap().0;
        assert_eq!(head.keep_alive, keep_alive, "{input}");
    }
}

#[test]
fn a_head_may_have_as_many_bytes_and_fields_as_the_limits_say_and_no_more() {
    let limits = Limits { head_bytes_max: 100, fields_max: 3, ..Limits::DEFAULT };
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    let of_bytes = |bytes: usize| format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4));
    assert!(head(of_bytes(100).as_bytes(), &[], &limits).unwrap().is_some());
    assert_eq!(head(of_bytes(101).as_bytes(), &[], &limits), Err(HeadBytesMax));
    assert_eq!(head("G".repeat(101).as_bytes(), &[], &limits), Err(HeadBytesMax));
    assert_eq!(head("G".repeat(100).as_bytes(), &[], &limits), Ok(None));
    let of_fields = |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1));
    assert!(head(of_fields(3).as_bytes(), &[], &limits).unwrap().is_some());
    assert_eq!(head(of_fields(4).as_bytes(), &[], &limits), Err(FieldsMax));
}

#[test]
fn chunks_are_read_strictly_and_within_bounds() {
    let long = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(bytes));
    for (input, max, outcome) in [
        ("0\r\n\r\n".to_owned(), 0, Ok("")),
        ("3\r\nabc\r\n2;x=\"y\"\r\nde\r\n000\r\nTrailer: t\r\n\r\n".to_owned(), 5, Ok("abcde")),
        ("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".to_owned(), 4, Err(BodyBytesMax)),
        ("a\r\n0123456789\r\n0\r\n\r\n".to_owned(), 10, Ok("0123456789")),
        ("000000000000000A\r\n0123456789\r\n0\r\n\r\n".to_owned(), 10, Ok("0123456789")),
        ("0000000000000000A\r\n".to_owned(), 10, Err(BadChunk)),
        ("ffffffffffffffff\r\n".to_owned(), 10, Err(BodyBytesMax)),
        ("10000000000000000\r\n".to_owned(), 10, Err(BadChunk)),
        ("\r\n".to_owned(), 10, Err(BadChunk)),
        (";x\r\n".to_owned(), 10, Err(BadChunk)),
        ("-1\r\n".to_owned(), 10, Err(BadChunk)),
        ("+1\r\n".to_owned(), 10, Err(BadChunk)),
        ("0x1\r\n".to_owned(), 10, Err(BadChunk)),
        ("1_0\r\n".to_owned(), 10, Err(BadChunk)),
        (" 1\r\n".to_owned(), 10, Err(BadChunk)),
        ("1 \r\n".to_owned(), 10, Err(BadChunk)),
        ("1 ;x\r\n".to_owned(), 10, Err(BadChunk)),
        ("1\na\r\n".to_owned(), 10, Err(BadChunk)),
        ("1;\0\r\n".to_owned(), 10, Err(BadChunk)),
        ("1;x\ry\r\n".to_owned(), 10, Err(BadChunk)),
        ("1\r\nab".to_owned(), 10, Err(BadChunk)),
        ("1\r\na\n0\r\n\r\n".to_owned(), 10, Err(BadChunk)),
        ("0\r\n\n".to_owned(), 10, Err(BadChunk)),
        (long(252), 10, Ok("a")),
        (long(253), 10, Err(BadChunk)),
        ("0\r\n".to_owned() + &("t".repeat(126) + "\r\n").repeat(511) + "\r\n", 10, Ok("")),
        ("0\r\n".to_owned() + &("t".repeat(126) + "\r\n").repeat(512) + "\r\n", 10, Err(BadChunk)),
    ] {
        let decoded = body(input.as_bytes(), &[], max).map(|whole| whole.unwrap());
        let expected = outcome.map(|text| (input.len(), text.as_bytes().to_vec()));
        assert_eq!(decoded, expected, "{:?} of {} bytes", &input[..input.len().min(60)], input.len());
    }
}

/// Pieces of requests, right and wrong, from which random ones are put together.
const PIECES: [&[u8]; 48] = [
    b"GET",
    b"POST",
    b" ",
    b"  ",
    b"/",
    b"/webhook",
    b"http://a",
    b"*",
    b"?q=1",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b" HTTP/2.0",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\r\n ",
    b"Host: a\r\n",
    b"Host: a\r\n",
    b"Host:\r\n",
    b"Host",
    b":",
    b": ",
    b"\t",
    b",",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: +5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"X-Signature: ab\r\n",
    b"X-Signature: \xff\r\n",
    b"Authorization: Basic x\r\n",
    b"X-Inbox-Client: me\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"5;x=y\r\n",
    b"-1\r\n",
    b"hello",
    b"\0",
    b"\x7f",
    b"\xc3\xa9",
];

fn random_request() -> Vec<u8> {
    let mut bytes = Vec::new();
    if fastrand::bool() {
        // Nearly right: a real request with some of its bytes or pieces changed.
        bytes.extend_from_slice(b"POST /webhook HTTP/1.1\r\nHost: a\r\nX-Signature: ab\r\n");
        for _ in 0..fastrand::usize(0..4) {
            bytes.extend_from_slice(PIECES[fastrand::usize(19..40)]);
        }
        bytes.extend_from_slice(b"\r\n5\r\nhello\r\n0\r\n\r\n");
        for _ in 0..fastrand::usize(0..3) {
            let at = fastrand::usize(0..bytes.len());
            match fastrand::u8(0..3) {
                0 => bytes[at] = fastrand::u8(..),
                1 => drop(bytes.remove(at)),
                _ => drop(bytes.splice(at..at, PIECES[fastrand::usize(..PIECES.len())].iter().copied())),
            }
        }
    } else {
        for _ in 0..fastrand::usize(0..16) {
            bytes.extend_from_slice(PIECES[fastrand::usize(..PIECES.len())]);
        }
    }
    bytes
}

fn random_cuts(length: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..fastrand::usize(0..6)).map(|_| fastrand::usize(0..=length)).collect();
    if fastrand::u8(0..8) == 0 {
        cuts = (0..length).collect(); // byte by byte
    }
    cuts.sort_unstable();
    cuts
}

/// Reads what was forwarded as the strictest reader would, with nothing of the gate's own code.
fn forwarded_fields(forward: &[u8]) {
    let text = std::str::from_utf8(forward).expect("ASCII");
    assert!(text.bytes().all(|byte| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~')), "{text:?}");
    let lines: Vec<&str> = text.strip_suffix("\r\n").expect("whole lines").split("\r\n").collect();
    assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])), "{text:?}");
    let words: Vec<&str> = lines[0].split(' ').collect();
    assert!(words.len() == 3 && words[2] == "HTTP/1.1" && !words[0].is_empty(), "{text:?}");
    assert!(words[1].starts_with('/') || words[1] == "*", "{text:?}");
    let mut hosts = 0;
    for line in &lines[1..] {
        let (name, value) = line.split_once(": ").expect("a field");
        assert!(["Host", "X-Signature", "Authorization"].contains(&name), "{text:?}");
        assert_eq!(value, value.trim(), "{text:?}");
        hosts += usize::from(name == "Host");
    }
    assert!(hosts <= 1, "{text:?}");
}

#[test]
fn whatever_is_forwarded_is_one_request_however_the_input_is_cut() {
    let seed = 20_261_123;
    fastrand::seed(seed);
    let limits = Limits { body_bytes_max: 1000, head_bytes_max: 400, fields_max: 8, ..Limits::DEFAULT };
    let (mut heads, mut bodies) = (0, 0);
    for round in 0..200_000 {
        let input = random_request();
        let cuts = random_cuts(input.len());
        let outcome = head(&input, &[], &limits);
        let context = || format!("seed {seed} round {round}: {:?}", String::from_utf8_lossy(&input));
        assert_eq!(head(&input, &cuts, &limits), outcome, "{} cut at {cuts:?}", context());
        let Ok(Some((head, forward))) = outcome else { continue };
        heads += 1;
        forwarded_fields(&forward);
        assert!(head.bytes <= input.len() && input[..head.bytes].ends_with(b"\r\n\r\n"), "{}", context());
        // The first empty line ends a head for every parser.
        let first = memchr::memmem::find(&input, b"\r\n\r\n").map(|at| at + 4);
        assert_eq!(Some(head.bytes), first, "{}", context());
        let mut fields = [httparse::EMPTY_HEADER; 8];
        let mut other = httparse::Request::new(&mut fields);
        let status = other.parse(&input);
        assert_eq!(status.map(|status| status.unwrap()), Ok(head.bytes), "httparse agrees: {}", context());
        let count = |name: &str| other.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
        match head.framing {
            Framing::Absent => {
                assert_eq!((count("Content-Length"), count("Transfer-Encoding")), (0, 0), "{}", context())
            }
            Framing::Length(_) => {
                assert_eq!((count("Content-Length"), count("Transfer-Encoding")), (1, 0), "{}", context());
            }
            Framing::Chunked => {
                assert_eq!((count("Content-Length"), count("Transfer-Encoding")), (0, 1), "{}", context());
                let input = &input[head.bytes..];
                let cuts = random_cuts(input.len());
                let outcome = body(input, &[], limits.body_bytes_max);
                assert_eq!(body(input, &cuts, limits.body_bytes_max), outcome, "{} cut at {cuts:?}", context());
                bodies += usize::from(matches!(outcome, Ok(Some(_))));
            }
        }
    }
    assert!(heads > 3_000 && bodies > 500, "the input is worth its time: {heads} heads, {bodies} bodies");
}

#[test]
fn random_bytes_make_no_parser_panic_and_random_chunks_come_out_as_they_went_in() {
    let seed = 9112;
    fastrand::seed(seed);
    for round in 0..50_000 {
        let noise: Vec<u8> = (0..fastrand::usize(0..300)).map(|_| fastrand::u8(..)).collect();
        let _ = head(&noise, &random_cuts(noise.len()), &Limits::DEFAULT); // only that it returns is asserted
        let _ = body(&noise, &random_cuts(noise.len()), 100); // likewise

        let mut encoded = Vec::new();
        let mut original = Vec::new();
        for _ in 0..fastrand::usize(0..5) {
            let chunk = &noise[..fastrand::usize(0..=noise.len())];
            if !chunk.is_empty() {
                let extension = [";", ";a=b", "", ""][fastrand::usize(0..4)];
                encoded.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                encoded.extend_from_slice(chunk);
                encoded.extend_from_slice(b"\r\n");
                original.extend_from_slice(chunk);
            }
        }
        encoded.extend_from_slice(b"0\r\n\r\n");
        let whole = encoded.len();
        encoded.extend_from_slice(b"GET / HTTP/1.1"); // what follows is left alone
        let decoded = body(&encoded, &random_cuts(encoded.len()), original.len());
        assert_eq!(decoded, Ok(Some((whole, original))), "seed {seed} round {round}");
    }
}
