//! The gate, from the outside: what it lets through, what it refuses and how, and what it survives.

use crate::harness::{
    Connection, Database, Delivery, Directory, RaisedOnDrop, Reply, SECRET, Server, comes_to_hold, delivery, encoded,
    json, run, sign,
};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: inbox\r\n\r\n";

/// The longest that a test here waits for an answer, an end or a state. It is less than the 30 s after which any idle
/// connection is closed (`IDLE_TIMEOUT_MS`): what only that would bring about has to fail the test.
const SOON: Duration = Duration::from_secs(20);

fn chunked(body: &str, size: usize) -> String {
    let chunks: String =
        body.as_bytes().chunks(size).map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), lossy(chunk))).collect();
    format!("{chunks}0\r\n\r\n")
}

/// A signed POST; `fields` begin and end with what they need.
fn post(id: &str, fields: &str) -> String {
    let body = delivery(id);
    let (signature, length) = (sign(SECRET, &body), body.len());
    format!(
        "POST /webhook HTTP/1.1\r\nHost: inbox\r\nX-Signature: {signature}\r\nContent-Length: {length}\r\n\
         {fields}\r\n{body}"
    )
}

fn connect(server: &Server) -> Connection {
    let connection = Connection::open(server.address()).unwrap();
    connection.socket().set_read_timeout(Some(SOON)).unwrap();
    connection
}

/// Many connections need descriptors in the test too: both ends are on this machine.
fn connect_many(server: &Server, count: usize) -> Vec<Connection> {
    (0..count).map(|_| connect(server)).collect()
}

/// The next answer, be it 100 where none is expected; its length is always declared.
#[track_caller]
fn read_answer(connection: &mut Connection) -> std::io::Result<Reply> {
    let answer = connection.read_any_reply("GET")?;
    assert!(answer.status == 100 || answer.field("Content-Length").is_some(), "{answer:?}");
    Ok(answer)
}

/// The status of the next answer, 0 if the connection ends before.
#[track_caller]
fn read_status(connection: &mut Connection) -> u16 {
    match read_answer(connection) {
        Ok(answer) => answer.status,
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => 0,
        Err(error) => panic!("no answer and no end: {error}"),
    }
}

/// Sends the bytes and reads one answer.
#[track_caller]
fn ask(server: &Server, bytes: &[u8]) -> Reply {
    let mut connection = connect(server);
    let _ = connection.send(bytes); // it may have been refused before its end
    read_answer(&mut connection).unwrap_or_else(|error| panic!("{error} after {:?}\n{}", lossy(bytes), server.log()))
}

/// Sends the bytes and reads all that comes until the service closes the connection. A reset fails the test.
#[track_caller]
fn talk(server: &Server, bytes: &[u8]) -> String {
    let mut connection = connect(server);
    let _ = connection.send(bytes); // it may have been refused before its end
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer);
    read.unwrap_or_else(|error| panic!("{error} after {:?} to {:?}", lossy(&answer), lossy(bytes)));
    lossy(&answer)
}

/// Whether the service closes the connection, without a reset and with nothing more to read.
#[track_caller]
fn is_closed(connection: &mut Connection) -> bool {
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).unwrap();
    rest.is_empty()
}

/// Waits until a condition holds; a failure shows the log.
#[track_caller]
fn until(server: &Server, what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_to_hold(SOON, condition), "waited {SOON:?} in vain until {what}\nlog:\n{}", server.log());
}

/// A number from /proc/PID/status.
fn proc_status(server: &Server, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    value.split_whitespace().next().unwrap().parse().unwrap()
}

fn threads_and_descriptors(server: &Server) -> (usize, usize) {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    (proc_status(server, "Threads"), descriptors)
}

/// Waits until threads and descriptors are no more than they were.
#[track_caller]
fn until_as_before(server: &Server, (threads, descriptors): (usize, usize)) {
    let mut now = (0, 0);
    let back = comes_to_hold(SOON, || {
        now = threads_and_descriptors(server);
        now.0 <= threads && now.1 <= descriptors
    });
    assert!(back, "waited {SOON:?} for {threads} threads and {descriptors} descriptors, but it has {now:?}");
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_malformed_or_ambiguous_is_refused_so_that_the_client_can_read_it() {
    let server = Server::with(&[("WORKERS", "2"), ("HEAD_TIMEOUT_MS", "1000")]);
    let host = "GET /stats HTTP/1.1\r\nHost: a\r\n";
    let send = "POST /webhook HTTP/1.1\r\nHost: a\r\n";
    let chunks = format!("{send}Transfer-Encoding: chunked\r\n\r\n");
    let many_fields: String = (0..10_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]; // the start of a TLS ClientHello
    fastrand::seed(3);
    let noise: Vec<u8> = (0..500).map(|_| fastrand::u8(..)).collect();
    let mut cases: Vec<(&str, Vec<u8>, u16)> = [
        ("a length no one has", format!("{send}Content-Length: 999999999999999\r\n\r\n"), 413),
        ("2^63-1", format!("{send}Content-Length: 9223372036854775807\r\n\r\n"), 413),
        ("2^64", format!("{send}Content-Length: 18446744073709551616\r\n\r\n"), 413),
        ("2^64 on GET", format!("{host}Content-Length: 18446744073709551616\r\n\r\n"), 413),
        ("negative", format!("{send}Content-Length: -1\r\n\r\n"), 400),
        ("with a sign", format!("{send}Content-Length: +5\r\n\r\nhello"), 400),
        ("a list", format!("{send}Content-Length: 5, 5\r\n\r\nhello"), 400),
        ("repeated", format!("{send}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400),
        ("different", format!("{send}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"), 400),
        ("no length", format!("{send}\r\n"), 411),
        ("both", format!("{send}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        ("unknown coding", format!("{send}Transfer-Encoding: gzip\r\n\r\n"), 501),
        ("misspelt coding", format!("{send}Transfer-Encoding: xchunked\r\n\r\n"), 501),
        ("coding with a control byte", format!("{send}Transfer-Encoding: \x0bchunked\r\n\r\n"), 400),
        ("doubled coding", format!("{send}Transfer-Encoding: chunked, chunked\r\n\r\n"), 400),
        ("two codings", format!("{send}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        ("chunked in 1.0", "POST /webhook HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        ("chunk size", format!("{chunks}zz\r\n"), 400),
        ("signed chunk size", format!("{chunks}-5\r\n"), 400),
        ("huge chunk size", format!("{chunks}ffffffffffffffff\r\n"), 413),
        ("chunk too long", format!("{chunks}2\r\nabc"), 400),
        ("bare LF in chunks", format!("{chunks}1\na"), 400),
        ("endless chunk extension", format!("{chunks}1;{}", "x".repeat(100_000)), 400),
        ("obs-fold", format!("{host}X: a\r\n b\r\n\r\n"), 400),
        ("bare LF", "GET / HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("bare LF in fields", format!("{host}X: y\n\r\n"), 400),
        ("NUL", format!("{host}X: \0\r\n\r\n"), 400),
        ("non-ASCII name", format!("{host}Xé: y\r\n\r\n"), 400),
        ("non-ASCII target", "GET /é HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("no colon", format!("{host}X\r\n\r\n"), 400),
        ("space before the colon", format!("{host}X : y\r\n\r\n"), 400),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two Hosts", format!("{host}Host: a\r\n\r\n"), 400),
        ("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n".to_owned(), 400),
        ("HTTP/0.9", "GET /\r\n".to_owned(), 400),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        ("HTTP/3.0", "GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".to_owned(), 400),
        ("a target of 100 kB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000)), 431),
        ("10,000 fields", format!("{host}{many_fields}\r\n"), 431),
        ("one endless line", "x".repeat(1 << 20), 431),
        ("the target that only the gate asks for", "GET probe HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("an unknown expectation", format!("{send}Content-Length: 1\r\nExpect: x\r\n\r\n"), 417),
        ("half a head", "GET / HTTP/1.1\r\nHo".to_owned(), 408),
    ]
    .into_iter()
    .map(|(case, text, status)| (case, text.into_bytes(), status))
    .collect();
    cases.push(("a TLS ClientHello", hello.to_vec(), 400));
    cases.push(("noise", noise, 400));
    for (case, bytes, status) in &cases {
        let answer = talk(&server, bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {status} expected\n{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        for field in ["Connection: close", "Content-Type: application/json", "X-Request-ID: ", "Date: "] {
            assert!(head.contains(&format!("\r\n{field}")), "{case}: {field}\n{answer}");
        }
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{case}: {error}\n{answer}"));
        assert!(body["detail"].is_string() && body.as_object().unwrap().len() == 1, "{case}: {answer}");
        let id = head.split_once("X-Request-ID: ").unwrap().1[..36].to_owned();
        until(&server, &format!("{case} is logged"), || server.log().contains(&id));
    }
    assert_eq!(server.metric(r#"inbox_gate_rejections_total{reason="body_bytes_max"}"#), 5.0);
    assert_eq!(server.metric(r#"webhook_requests_total{result="too_large"}"#), 4.0);
    let line = json(server.log().lines().find(|line| line.contains("body_bytes_max")).unwrap());
    assert_eq!(
        (&line["level"], &line["result"], &line["path"]),
        (&"WARNING".into(), &"too_large".into(), &"/webhook".into())
    );
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn each_bound_holds_at_its_maximum_and_not_one_beyond() {
    let server = Server::with(&[
        ("WORKERS", "2"),
        ("MAX_HEAD_BYTES", "500"),
        ("MAX_HEADER_FIELDS", "8"),
        ("MAX_BODY_BYTES", "1000"),
    ]);
    let start = "GET /health/live HTTP/1.1\r\nHost: a\r\nX: ";
    let head = |bytes: usize| format!("{start}{}\r\n\r\n", "x".repeat(bytes - start.len() - 4));
    let fields = |count: usize| format!("GET /health/live HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    let declared = |bytes: usize| {
        format!("POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
    };
    let chunks = |bytes: usize| {
        let body = chunked(&"x".repeat(bytes), 300);
        format!("POST /webhook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    for (case, request, status) in [
        ("head", head(500), 200),
        ("head", head(501), 431),
        ("fields", fields(8), 200),
        ("fields", fields(9), 431),
        ("declared body, unsigned", declared(1000), 401),
        ("declared body", declared(1001), 413),
        ("chunked body, unsigned", chunks(1000), 401),
        ("chunked body", chunks(1001), 413),
    ] {
        let answer = ask(&server, request.as_bytes());
        assert_eq!(answer.status, status, "{case} of {} bytes: {answer:?}", request.len());
        if status == 413 {
            assert_eq!(answer.text(), r#"{"detail":"request body too large"}"#);
        }
    }
}

/// A signed delivery of so many bytes, without its last one.
fn all_but_the_last_byte(bytes: usize) -> Vec<u8> {
    let mut request = format!("POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
    request.resize(request.len() + bytes - 1, b'x');
    request
}

/// How many of 100 deliveries one after the other are answered 200, each on a connection of its own.
fn served_of_100(server: &Server) -> usize {
    let served = |n: &usize| {
        let mut connection = connect(server);
        connection.send(post(&format!("good-{n}"), "").as_bytes()).is_ok() && read_status(&mut connection) == 200
    };
    (0..100).filter(served).count()
}

#[test]
fn at_the_bound_of_held_bytes_the_body_under_way_longest_is_cut() {
    let bounds = [("MAX_BODY_BYTES", "100000"), ("MAX_HELD_BYTES", "200000"), ("MAX_HEAD_BYTES", "1000")];
    let server = Server::with(&bounds);
    let mut holding = connect_many(&server, 2);
    for (index, connection) in holding.iter_mut().enumerate() {
        connection.send(&all_but_the_last_byte(100_000)).unwrap();
        until(&server, "it is held", || server.metric("inbox_held_bytes") > 99_000.0 * (index + 1) as f64);
    }
    let mut body = all_but_the_last_byte(50_000);
    body.push(b'x');
    assert_eq!(ask(&server, &body).status, 401, "it is read");
    let cut = read_answer(&mut holding[0]).unwrap();
    assert_eq!((cut.status, cut.field("Retry-After")), (503, Some("1")), "{cut:?}");
    holding[1].send(b"x").unwrap();
    assert_eq!(read_status(&mut holding[1]), 401, "the younger one goes on");
    assert_eq!(server.metric(r#"inbox_gate_rejections_total{reason="held_bytes_max"}"#), 1.0);
    assert_eq!(server.metric(r#"webhook_requests_total{result="unavailable"}"#), 1.0);
    drop(holding);
    until(&server, "nothing is held", || server.shown_metric("inbox_held_bytes") == Some(0.0));
}

#[test]
fn bodies_that_lack_their_last_byte_keep_nobody_out() {
    let server = Server::start();
    let request = all_but_the_last_byte(4 << 20);
    let mut holding = connect_many(&server, 18);
    for connection in &mut holding {
        connection.send(&request).unwrap();
    }
    until(&server, "they hold all they can", || server.metric("inbox_held_bytes") > f64::from(60 << 20));
    assert!(served_of_100(&server) >= 99, "{}", server.log());
}

#[test]
fn one_large_body_may_cut_thousands_of_small_ones() {
    let server = Server::with(&[("MAX_BODY_BYTES", "200000"), ("MAX_HELD_BYTES", "200000")]);
    let mut small = connect_many(&server, 1500);
    for connection in &mut small {
        connection.send(&all_but_the_last_byte(20)).unwrap();
    }
    let mut filling = connect_many(&server, 12);
    for connection in &mut filling {
        let _ = connection.send(&all_but_the_last_byte(15_000)); // it may be cut by now
    }
    let mut large = connect(&server);
    large.send(&all_but_the_last_byte(200_000)).unwrap();
    let cut = r#"inbox_gate_rejections_total{reason="held_bytes_max"}"#;
    until(&server, "the older ones are cut", || server.metric(cut) > 1500.0);
    large.send(b"x").unwrap();
    assert_eq!(read_status(&mut large), 401, "{}", server.errors());
}

#[test]
fn clients_that_send_one_byte_and_come_again_keep_nobody_out() {
    let server = Server::with(&[("MAX_CONNECTIONS", "1000")]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stopped_at_the_end = RaisedOnDrop(&stop);
        scope.spawn(|| {
            let mut half_heads = VecDeque::new();
            while !stop.load(Ordering::Relaxed) {
                let mut connection = connect(&server);
                let _ = connection.send(b"P"); // it may be closed by now
                half_heads.push_back(connection);
                if half_heads.len() > 1500 {
                    half_heads.pop_front();
                }
            }
        });
        until(&server, "the bound is reached", || server.metric("inbox_connections_evicted_total") > 100.0);
        assert!(served_of_100(&server) >= 99, "{}", server.log());
    });
    assert!(server.metric("inbox_connections_open") <= 1000.0);
}

#[test]
fn answers_that_nobody_reads_are_held_up_to_the_bound() {
    let bound = 2 << 20;
    let server = Server::with(&[("MAX_HELD_BYTES", "2097152"), ("MAX_BODY_BYTES", "1000000")]);
    let long = |n| delivery(&format!("long-{n}")).replace("Hello", &"x".repeat(4096));
    server.deliver_all(&(0..100).map(long).collect::<Vec<_>>(), 4);
    let page = b"GET /messages?limit=100 HTTP/1.1\r\nHost: a\r\n\r\n"; // 420 kB
    let mut deaf = connect_many(&server, 40);
    for connection in &mut deaf {
        let _ = connection.send(&page.repeat(40)); // it may be cut by now
    }
    until(&server, "some are cut", || server.metric("inbox_connections_cut_total") > 0.0);
    assert!(served_of_100(&server) >= 99, "{}", server.log());
    let held = server.metric("inbox_held_bytes");
    assert!(held <= f64::from(bound + (bound >> 3) + (32 << 10)), "{held} bytes are held");
}

#[test]
fn a_path_that_does_not_exist_is_refused_before_its_body_arrives() {
    let server = Server::start();
    for fields in ["", "Expect: 100-continue\r\n"] {
        for (path, method, status) in [("/nowhere", "POST", 404), ("/stats", "POST", 405), ("/webhook", "PUT", 405)] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n{fields}\r\n");
            let answer = ask(&server, request.as_bytes());
            assert_eq!(answer.status, status, "{request}\n{answer:?}");
            assert_eq!(answer.field("Allow").is_some(), status == 405, "{request}\n{answer:?}");
        }
    }
    assert_eq!(server.metric(r#"inbox_gate_rejections_total{reason="unrouted"}"#), 6.0);
}

#[test]
fn the_longest_link_reaches_the_client() {
    let server = Server::with(&[("MAX_HEAD_BYTES", "200000")]);
    let text = "🦀".repeat(4096);
    let bodies = ["m1", "m2"].map(|id| Delivery { text: Some(text.clone()), ..Delivery::of(id) }.body());
    server.deliver_all(&bodies, 1);
    let answer = server.get(&format!("/messages?limit=1&q={}", encoded(&text)));
    let link = answer.next().unwrap_or_default();
    assert!(answer.status == 200 && link.len() > 49_000, "{} with a Link of {} bytes", answer.status, link.len());
    assert_eq!(server.get(&link).json()["data"][0]["message_id"], "m2");
}

#[test]
fn chunks_take_at_most_twice_the_body_and_64_kib_on_the_wire() {
    let server = Server::start();
    let head = "POST /webhook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    // A chunk of one byte has five more on the wire, and the end of the body another five.
    let most = ((64 << 10) - 5) / 4;
    for (bytes, status) in [(most, 401), (most + 1, 400)] {
        let request = format!("{head}{}", chunked(&"x".repeat(bytes), 1));
        assert_eq!(ask(&server, request.as_bytes()).status, status, "{bytes} bytes in chunks of one");
    }
}

#[test]
fn at_the_connection_limit_whoever_has_kept_the_gate_waiting_longest_makes_room() {
    let server = Server::with(&[("MAX_CONNECTIONS", "3")]);
    let mut idle = connect(&server);
    until(&server, "it is open", || server.metric("inbox_connections_open") >= 2.0);
    let mut half = connect_many(&server, 2);
    half.iter_mut().for_each(|connection| connection.send(b"GET /health/live HTTP/1.1\r\n").unwrap());
    assert_eq!(server.get("/health/live").status, 200, "one more finds room");
    assert!(is_closed(&mut idle), "which the idle one gave");
    let _idle = connect_many(&server, 2);
    until(&server, "the older half has made room", || server.metric("inbox_connections_evicted_total") >= 2.0);
    assert!(is_closed(&mut half[0]), "its head has been under way longest");
}

#[test]
fn at_the_connection_limit_the_new_gets_503_when_all_are_at_work() {
    let server = Server::with(&[("MAX_CONNECTIONS", "3")]);
    let mut busy = connect_many(&server, 3);
    for connection in &mut busy {
        connection.send(&all_but_the_last_byte(1000)).unwrap();
    }
    let mut refused = String::new();
    until(&server, "the new is refused", || {
        refused = talk(&server, LIVE);
        refused.starts_with("HTTP/1.1 503 ")
    });
    assert!(refused.contains("\r\nRetry-After: 1\r\n"), "{refused}");
    for connection in &mut busy {
        connection.send(b"x").unwrap();
        assert_eq!(read_status(connection), 401, "who has begun is served");
    }
    drop(busy);
    assert!(server.metric("inbox_connections_refused_total") >= 1.0);
    assert!(server.metric(r#"inbox_gate_rejections_total{reason="connections_max"}"#) >= 1.0);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_cut() {
    let server = Server::with(&[("WORKERS", "2"), ("WRITE_TIMEOUT_MS", "500")]);
    for n in 0..100 {
        let body = delivery(&format!("long-{n}")).replace("Hello", &"x".repeat(4096));
        let (signature, length) = (sign(SECRET, &body), body.len());
        let head = format!("POST /webhook HTTP/1.1\r\nHost: a\r\nX-Signature: {signature}\r\n");
        assert_eq!(ask(&server, format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).status, 200);
    }
    let mut deaf = connect(&server);
    let page = b"GET /messages?limit=100 HTTP/1.1\r\nHost: a\r\n\r\n"; // 420 kB
    deaf.send(&page.repeat(60)).unwrap();
    until(&server, "it is cut", || server.metric("inbox_connections_cut_total") == 1.0);
    let mut patient = connect(&server);
    for _ in 0..10 {
        patient.send(page).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(read_answer(&mut patient).unwrap().body.len(), server.get("/messages?limit=100").body.len());
    }
}

#[test]
fn a_client_that_sends_its_whole_large_body_first_still_reads_413() {
    let server = Server::with(&[("WORKERS", "2")]);
    let mut request = b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 6000000\r\n\r\n".to_vec();
    request.resize(request.len() + 6_000_000, b'x');
    for _ in 0..5 {
        let mut connection = connect(&server);
        connection.send(&request).expect("it is read to its end");
        assert_eq!(read_answer(&mut connection).expect("an answer").status, 413);
    }
}

#[test]
fn times_are_totals_that_one_byte_after_the_other_does_not_extend() {
    let server = Server::with(&[
        ("WORKERS", "2"),
        ("HEAD_TIMEOUT_MS", "500"),
        ("BODY_TIMEOUT_MS", "500"),
        ("IDLE_TIMEOUT_MS", "500"),
    ]);
    let body = "POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let chunks = "POST /webhook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n";
    for (case, start, expected) in [("head", "G", 408), ("body", body, 408), ("chunks", chunks, 408), ("idle", "", 0)] {
        let mut connection = connect(&server);
        connection.send(start.as_bytes()).unwrap();
        let begun = Instant::now();
        let mut dripping = connection.socket().try_clone().unwrap();
        let drip = std::thread::spawn(move || {
            // It does not stop by itself: only the time of the whole request ends it.
            while !start.is_empty() && dripping.write_all(b"E").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let status = read_status(&mut connection);
        assert_eq!(status, expected, "{case}");
        assert!(begun.elapsed() >= Duration::from_millis(450), "{case} was not given its time");
        connection.socket().shutdown(Shutdown::Both).ok();
        drip.join().unwrap();
    }
    // Within the time, slowly is well.
    let mut connection = connect(&server);
    for byte in LIVE {
        connection.send(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(read_answer(&mut connection).unwrap().status, 200);
}

#[test]
fn good_clients_are_served_whatever_way_they_write() {
    let server = Server::with(&[("WORKERS", "4")]);

    let mut connection = connect(&server);
    for round in 0..3 {
        connection.send(LIVE).unwrap();
        assert_eq!(read_answer(&mut connection).unwrap().status, 200, "keep-alive, request {round}");
    }

    let mut connection = connect(&server);
    connection.send(b"GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut connection).unwrap().field("Connection"), Some("keep-alive"));
    connection.send(b"GET /health/live HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut connection).unwrap().field("Connection"), Some("close"));
    assert!(is_closed(&mut connection), "HTTP/1.0 ends with its answer");

    let mut connection = connect(&server);
    let pipelined: String = (0..50).map(|n| post(&format!("pipelined-{n}"), "")).collect();
    connection.send(pipelined.as_bytes()).unwrap();
    connection.send(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for n in 0..50 {
        assert_eq!(read_answer(&mut connection).unwrap().status, 200, "pipelined, answer {n}");
    }
    assert_eq!(read_answer(&mut connection).unwrap().status, 404, "in order");
    assert_eq!(server.get("/messages?limit=100").json()["total"], 50);

    let mut connection = connect(&server);
    for byte in post("one-byte-writes", "").bytes() {
        connection.send(&[byte]).unwrap();
    }
    assert_eq!(read_answer(&mut connection).unwrap().status, 200);

    let mut connection = connect(&server);
    connection.send(&[post("half-closed-1", ""), post("half-closed-2", "")].concat().into_bytes()).unwrap();
    connection.finish_sending().unwrap();
    assert_eq!(read_answer(&mut connection).unwrap().status, 200);
    assert_eq!(read_answer(&mut connection).unwrap().status, 200);
    assert!(is_closed(&mut connection));

    let mut connection = connect(&server);
    let request = post("expecting", "Expect: 100-continue\r\n");
    let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
    connection.send(head.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut connection).unwrap().status, 100);
    connection.send(body.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut connection).unwrap().status, 200);
    let refused = b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(ask(&server, refused).status, 413, "no 100 for what will not be read");

    let body = delivery("chunked");
    let head = "POST /webhook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n";
    for size in [1, 7, 1000] {
        let request = format!("{head}X-Signature: {}\r\n\r\n{}", sign(SECRET, &body), chunked(&body, size));
        assert_eq!(ask(&server, request.as_bytes()).status, 200, "chunks of {size}");
    }

    let mut connection = connect(&server);
    connection.send(b"HEAD /health/live HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(connection.read_any_reply("HEAD").unwrap().field("Content-Length"), Some("15"));
    connection.send(b"GET http://elsewhere/health/live?x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut connection).unwrap().text(), r#"{"status":"ok"}"#, "nothing follows HEAD's head");

    let twice = format!("X-Signature: {}\r\n", sign(SECRET, delivery("twice")));
    assert_eq!(ask(&server, post("twice", &twice).as_bytes()).status, 401, "a repeated signature stays repeated");
    let strange = "POST /webhook HTTP/1.1\r\nHost: a\r\nX-Signature: é\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(&server, strange.as_bytes()).status, 401);
}

#[test]
fn the_clients_that_people_use_are_served() {
    let server = Server::with(&[("WORKERS", "4")]);
    let (url, body) = (format!("http://{}/webhook", server.address()), delivery("client"));
    let signature = sign(SECRET, &body);
    let curl = |further: &[&str]| {
        let header = format!("X-Signature: {signature}");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "-H", &header, "--data-binary", &body]);
        let output = curl.args(further).arg(&url).output().expect("curl is installed");
        format!("{}{}", lossy(&output.stdout), lossy(&output.stderr))
    };
    for further in [&[][..], &["-0"], &["-H", "Transfer-Encoding: chunked"], &["-H", "Expect: 100-continue"]] {
        assert_eq!(curl(further), "200", "curl {further:?}");
    }
    let python = r#"
import sys, http.client, urllib.request, urllib.parse
url, signature, body = sys.argv[1], sys.argv[2], sys.argv[3].encode()
address = urllib.parse.urlsplit(url)
connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
for chunked in (False, True, False):
    connection.request("POST", "/webhook", iter([body[:9], body[9:]]) if chunked else body, {"X-Signature": signature})
    answer = connection.getresponse()
    print(answer.status, answer.read())
connection.request("POST", "/webhook", b"x" * 5_000_000)
print(connection.getresponse().status)
request = urllib.request.Request(url, body, {"X-Signature": signature})
print(urllib.request.urlopen(request, timeout=10).status)
"#;
    let output = Command::new("python3").args(["-c", python, &url, &signature, &body]).output().expect("python3");
    let ok = "200 b'{\"status\":\"ok\"}'\n";
    assert_eq!(lossy(&output.stdout), format!("{ok}{ok}{ok}413\n200\n"), "{}", lossy(&output.stderr));
}

#[test]
fn five_hundred_connections_opened_before_any_sends_are_all_answered() {
    let server = Server::start();
    server.get("/health/live");
    let before = threads_and_descriptors(&server);
    let mut connections = connect_many(&server, 500);
    for connection in &mut connections {
        connection.send(LIVE).unwrap();
    }
    for (index, connection) in connections.iter_mut().enumerate() {
        let status =
            read_answer(connection).unwrap_or_else(|error| panic!("connection {index} got no answer: {error}")).status;
        assert_eq!(status, 200, "connection {index}");
    }
    drop(connections);
    until_as_before(&server, before);
}

#[test]
fn a_good_client_is_served_while_others_are_slow_idle_rude_or_deaf() {
    let server = Server::with(&[("HEAD_TIMEOUT_MS", "3000"), ("BODY_TIMEOUT_MS", "3000"), ("MAX_CONNECTIONS", "400")]);
    server.get("/health/live");
    let (before, memory) = (threads_and_descriptors(&server), proc_status(&server, "VmRSS"));
    let served = |case: &str| {
        for _ in 0..5 {
            assert_eq!(ask(&server, post("good", "").as_bytes()).status, 200, "{case}");
        }
    };
    let mut slow_heads = connect_many(&server, 300);
    slow_heads.iter_mut().for_each(|connection| connection.send(b"POST /webhook HTTP/1.1\r\nX: ").unwrap());
    served("slow heads");
    slow_heads.iter_mut().for_each(|connection| drop(connection.send(b"x")));
    served("slow heads");
    drop(slow_heads);
    until_as_before(&server, before);

    let mut slow_bodies = connect_many(&server, 300);
    let slow = b"POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx";
    slow_bodies.iter_mut().for_each(|connection| connection.send(slow).unwrap());
    served("slow bodies");
    drop(slow_bodies);
    until_as_before(&server, before);

    let idle = connect_many(&server, 2000);
    served("idle connections");
    assert!(server.metric("inbox_connections_evicted_total") > 1500.0, "the idle made room");
    assert!(server.shown_metric("inbox_connections_open").is_some_and(|open| open <= 400.0));
    drop(idle);
    until_as_before(&server, before);

    for _ in 0..300 {
        let mut connection = connect(&server);
        connection.send(slow).unwrap();
        // So that closing it resets it.
        rustix::net::sockopt::set_socket_linger(connection.socket(), Some(Duration::ZERO)).unwrap();
    }
    served("resets");
    let mut deaf = connect_many(&server, 100);
    deaf.iter_mut().for_each(|connection| connection.send(&LIVE.repeat(50)).unwrap());
    served("deaf clients");
    drop(deaf);
    until_as_before(&server, before);
    let grown = proc_status(&server, "VmRSS").saturating_sub(memory);
    assert!(grown < 40_000, "it holds {grown} kB more than before");
    assert_eq!(server.shown_metric("inbox_held_bytes"), Some(0.0));
}

#[test]
fn out_of_descriptors_it_waits_logs_once_and_recovers() {
    let server = Server::with(&[("WORKERS", "2")]);
    server.limit("--nofile=64");
    server.get("/health/live");
    let before = threads_and_descriptors(&server);
    let many = connect_many(&server, 120);
    until(&server, "an error in accept is logged", || server.log().contains("cannot be accepted"));
    std::thread::sleep(Duration::from_millis(500)); // some more errors
    drop(many);
    until_as_before(&server, before);
    assert_eq!(server.get("/health/live").status, 200);
    assert_eq!(server.log().matches("cannot be accepted").count(), 1, "{}", server.log());
}

#[test]
fn with_fewer_descriptors_it_starts_with_fewer_connections_and_warns() {
    let with_limit = |limit: &str| {
        let mut command = Command::new("prlimit");
        command.env_clear().args([&format!("--nofile={limit}"), env!("CARGO_BIN_EXE_webhook-inbox")]);
        command
    };
    let server = Server::launch(with_limit("1024"), Directory::new(), &[]);
    let allowed = server.metric("inbox_connections_max");
    assert!((500.0..1024.0).contains(&allowed), "{allowed} connections");
    until(&server, "the warning is logged", || server.log().contains("WARNING"));
    let warning = json(server.log().lines().find(|line| line.contains("WARNING")).unwrap());
    assert_eq!((&warning["connections_max"], &warning["configured"]), (&json(&allowed.to_string()), &json("4096")));

    let ended = run(with_limit("64").env("WEBHOOK_SECRET", SECRET));
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    assert!(ended.stderr.contains("64 file descriptors are allowed"), "{ended:?}");
}

#[test]
fn idle_it_takes_few_threads_and_descriptors() {
    let server = Server::start();
    server.get("/health/live");
    // tiny_http may have started one thread too many, which ends by itself.
    until_as_before(&server, (4 + 13, 64));
}

#[test]
fn the_private_socket_has_no_name_that_anybody_could_open() {
    let server = Server::with(&[("WORKERS", "2")]);
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let names: Vec<&str> = sockets.lines().filter_map(|line| line.split_whitespace().nth(7)).collect();
    // Other tests have sockets too, of other names.
    let is_private = |name: &&&str| name.contains("/webhook-inbox-") && name.ends_with("/s");
    let private: Vec<&&str> = names.iter().filter(is_private).collect();
    assert!(!private.is_empty(), "it is a socket with a path: {sockets}");
    for name in private {
        let directory = std::path::Path::new(name).parent().unwrap();
        until(&server, &format!("{name} has no directory"), || !directory.exists());
    }
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn a_termination_answers_what_is_in_flight_and_closes_the_rest() {
    let mut server = Server::with(&[("WORKERS", "2")]);
    let mut idle = connect(&server);
    idle.send(LIVE).unwrap();
    assert_eq!(read_answer(&mut idle).unwrap().status, 200);
    let mut stalled = connect_many(&server, 30);
    stalled.iter_mut().for_each(|connection| connection.send(&all_but_the_last_byte(1000)).unwrap());
    until(&server, "their bodies are held", || server.metric("inbox_held_bytes") > 29_000.0);
    let lock = Database::open(server.database());
    lock.lock();
    let mut in_flight = connect(&server);
    in_flight.send(post("in-flight", "").as_bytes()).unwrap();
    until(&server, "it waits for the lock", || server.metric("inbox_requests_in_flight") > 1.0);
    server.terminate();
    for connection in [&mut idle].into_iter().chain(&mut stalled) {
        assert!(is_closed(connection), "what is idle or half sent is closed at once");
    }
    let refused = || TcpStream::connect(server.address()).is_err();
    until(&server, "new connections are refused", refused);
    lock.release();
    let answer = read_answer(&mut in_flight).unwrap();
    // On a machine so slow that the lock was held for longer than the service waits, the answer is 503.
    assert!([200, 503].contains(&answer.status) && answer.field("Connection") == Some("close"), "{answer:?}");
    assert_eq!(server.wait_exit().code(), Some(0), "{}", server.log());
    let last = json(server.log().lines().last().unwrap());
    assert_eq!((&last["message"], &last["connections_still_open"]), (&"stopped".into(), &json("0")));
}

#[test]
fn bodies_that_are_promised_and_never_come_keep_nobody_out() {
    let server = Server::with(&[("MAX_HELD_BYTES", "4194304"), ("MAX_BODY_BYTES", "4194304")]);
    let promise = b"POST /webhook HTTP/1.1\r\nHost: inbox\r\nContent-Length: 4194304\r\n\r\n";
    let mut promising = connect_many(&server, 20);
    for connection in &mut promising {
        connection.send(promise).unwrap();
    }
    until(&server, "all have connected", || server.metric("inbox_connections_open") >= 20.0);
    assert_eq!(server.deliver(delivery("m1")).status, 200, "{}", server.log());
}

#[test]
fn a_steady_drip_does_not_put_off_the_end() {
    let server = Server::with(&[("WORKERS", "2"), ("HEAD_TIMEOUT_MS", "300"), ("BODY_TIMEOUT_MS", "300")]);
    for (what, start) in [
        ("head", "GET /health/live HTTP/1.1\r\nX: ".to_owned()),
        ("body", "POST /webhook HTTP/1.1\r\nHost: inbox\r\nContent-Length: 4000000\r\n\r\n".to_owned()),
    ] {
        let mut connection = connect(&server);
        connection.send(start.as_bytes()).unwrap();
        let begun = Instant::now();
        // As fast as one byte at a time can be: at the bound, a read always finds one.
        while connection.send(b"a").is_ok() && begun.elapsed() < SOON {}
        assert!(begun.elapsed() < SOON, "the {what} may drip for ever");
    }
    assert_eq!(server.metric(r#"http_requests_total{path="/webhook",status="408"}"#), 1.0, "{}", server.log());
}
