//! The gate in front of a real tiny_http that answers with what it got.

use super::*;
use crate::metrics::Observed;
use crate::server::{ARRIVAL_FIELD, CLIENT_FIELD, PROBE_TARGET};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;

/// A running gate, and what it stands in front of.
struct Stand {
    gate: Option<Gate>,
    address: SocketAddr,
    metrics: Arc<Metrics>,
}

impl Stand {
    fn start(limits: Limits) -> Stand {
        let (unix, upstream) = bind(&std::env::temp_dir(), 4).unwrap();
        let tiny = Arc::new(tiny_http::Server::from_listener(unix, None).unwrap());
        for _ in 0..4 {
            let tiny = Arc::clone(&tiny);
            std::thread::spawn(move || {
                while let Ok(request) = tiny.recv() {
                    echo(request)
                }
            });
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new());
        let log = Log::start(Level::Error).unwrap();
        let gate = Gate::start(listener, upstream, limits, TrustedProxies::default(), metrics.clone(), log).unwrap();
        Stand { gate: Some(gate), address, metrics }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends the bytes, then reads until the gate closes the connection.
    fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes); // the gate may have refused it by now
        let _ = stream.shutdown(Shutdown::Write); // likewise
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn metric(&self, name: &str) -> f64 {
        let page = self.metrics.render(&Observed::default());
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
    }

    fn wait_for(&self, name: &str, value: f64) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.metric(name) != value {
            assert!(Instant::now() < deadline, "{name} is {}, not {value}", self.metric(name));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Answers with the method, the target, the fields and the body. `/break` gets an answer that has no end, `/slow` takes a while.
fn echo(mut request: tiny_http::Request) {
    let mut body = Vec::new();
    request.as_reader().read_to_end(&mut body).unwrap();
    let fields: Vec<_> = request.headers().iter().map(|h| (h.field.to_string(), h.value.to_string())).collect();
    let told = serde_json::json!({
        "method": request.method().to_string(),
        "target": request.url(),
        "fields": fields,
        "body": String::from_utf8_lossy(&body),
    });
    match request.url() {
        "/slow" => std::thread::sleep(Duration::from_millis(300)),
        "/break" => {
            let mut writer = request.into_writer();
            writer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").and_then(|()| writer.flush()).unwrap(); // no length
            return;
        }
        "/large" => return request.respond(response(vec![b'x'; 32 << 20])).unwrap_or(()),
        _ => {}
    }
    let _ = request.respond(response(told.to_string().into_bytes())); // the gate's deadline may have passed
}

fn response(body: Vec<u8>) -> tiny_http::Response<std::io::Cursor<Vec<u8>>> {
    tiny_http::Response::from_data(body).with_chunked_threshold(usize::MAX)
}

fn quick() -> Limits {
    Limits {
        head_time: Duration::from_millis(300),
        body_time: Duration::from_millis(300),
        idle_time: Duration::from_millis(600),
        write_time: Duration::from_millis(300),
        ..Limits::default()
    }
}

fn told(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no body: {answer:?}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn only_what_the_service_reads_goes_through_and_the_gate_says_who_and_when() {
    let stand = Stand::start(Limits::default());
    let answer = stand.talk(
        b"POST http://inbox.example:8000?x=1 HTTP/1.1\r\nHost: other\r\nx-signature: one\r\nX-SIGNATURE: t\xffwo\r\n\
          Authorization: Basic abc\r\nX-Inbox-Client: forged\r\nX-Inbox-Arrival: 1\r\nCookie: c\r\nTE: trailers\r\n\
          Upgrade: h2c\r\nConnection: close, x-signature\r\nContent-Length: 005\r\n\r\nhello",
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n") && !answer.contains("Server:"), "{answer}");
    let told = told(&answer);
    assert_eq!((&told["method"], &told["target"], &told["body"]), (&"POST".into(), &"/?x=1".into(), &"hello".into()));
    let fields: Vec<(String, String)> = serde_json::from_value(told["fields"].clone()).unwrap();
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    let expected =
        ["X-Signature", "X-Signature", "Authorization", "Host", CLIENT_FIELD, ARRIVAL_FIELD, "Content-Length"];
    assert_eq!(names, expected);
    let values: BTreeMap<_, _> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!((values["X-Signature"], values["Host"]), ("t?wo", "inbox.example:8000"));
    assert!(values[CLIENT_FIELD].starts_with("127.0.0.1:"), "{values:?}");
    assert!(values[ARRIVAL_FIELD].parse::<u64>().unwrap() > 1, "{values:?}");
}

#[test]
fn a_probe_by_its_target_is_nothing_a_client_can_ask_for() {
    let stand = Stand::start(Limits::default());
    let answer = stand.talk(format!("GET {PROBE_TARGET} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
}

#[test]
fn a_broken_upstream_connection_costs_its_request_and_heals() {
    let stand = Stand::start(Limits::default());
    for _ in 0..12 {
        let answer = stand.talk(b"GET /break HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("\r\nRetry-After: 1\r\n") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
        let answer = stand.talk(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(stand.metric(r#"inbox_gate_rejections_total{reason="upstream_failed"}"#), 12.0);
}

#[test]
fn more_requests_at_once_than_connections_to_tiny_http_wait_for_each_other() {
    let stand = Stand::start(Limits::default());
    let mut streams: Vec<TcpStream> = (0..12).map(|_| stand.connect()).collect();
    for stream in &mut streams {
        stream.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    }
    for mut stream in streams {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[test]
fn at_the_limit_the_longest_idle_connection_makes_room_and_without_one_the_new_is_refused() {
    let stand = Stand::start(Limits { connections_max: 3, ..Limits::default() });
    let mut oldest = stand.connect();
    stand.wait_for("inbox_connections_open", 1.0);
    let busy: Vec<TcpStream> = (0..2).map(|_| stand.connect()).collect();
    stand.wait_for("inbox_connections_open", 3.0);
    for mut busy in &busy {
        busy.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    }
    std::thread::sleep(Duration::from_millis(50)); // a pending byte and a byte read must both count as busy
    let mut new = stand.connect();
    new.write_all(b"GET").unwrap();
    assert_eq!(oldest.read(&mut [0]).unwrap(), 0, "the idle one is closed");
    stand.wait_for("inbox_connections_evicted_total", 1.0);
    let mut refused = String::new();
    stand.connect().read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("Retry-After: 1"), "{refused}");
    assert_eq!(stand.metric("inbox_connections_refused_total"), 1.0);
    for mut stream in busy.into_iter().chain([new]) {
        stream.write_all(b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    }
    stand.wait_for("inbox_connections_open", 0.0);
}

#[test]
fn bodies_that_do_not_fit_together_are_refused_and_their_bytes_given_back() {
    let stand = Stand::start(Limits { held_bytes_max: 100, body_bytes_max: 100, ..quick() });
    let mut holding = stand.connect();
    holding.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n").unwrap();
    stand.wait_for("inbox_held_bytes", 60.0);
    let post = |length: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{:length$}", "");
    let chunked = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{:length$}\r\n0\r\n\r\n",
            ""
        )
    };
    for (request, status) in [(post(40), "200"), (post(41), "503"), (chunked(40), "200"), (chunked(41), "503")] {
        let answer = stand.talk(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
    }
    stand.wait_for("inbox_held_bytes", 0.0); // the first has run out of its time
    assert!(stand.talk(post(100).as_bytes()).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_client_that_does_not_read_is_cut_and_one_that_drips_too() {
    let stand = Stand::start(quick());
    let mut silent = stand.connect();
    silent.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stand.wait_for("inbox_connections_cut_total", 1.0);
    let mut dripping = stand.connect();
    dripping.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let begun = Instant::now();
    let mut buffer = vec![0; 100 << 10];
    while stand.metric("inbox_connections_cut_total") < 2.0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "100 KiB at a time extend the total");
        let _ = dripping.read(&mut buffer); // it may have been cut by now
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn draining_closes_what_is_idle_answers_what_is_in_flight_and_refuses_the_rest() {
    let mut stand = Stand::start(Limits::default());
    let (mut idle, mut in_flight) = (stand.connect(), stand.connect());
    in_flight.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stand.wait_for("inbox_connections_open", 2.0);
    std::thread::sleep(Duration::from_millis(50));
    let gate = stand.gate.take().unwrap();
    let begun = Instant::now();
    let draining = std::thread::spawn(move || gate.drain(begun + Duration::from_secs(5)));
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    assert!(begun.elapsed() < Duration::from_secs(2), "idle ones are closed at once");
    assert!(TcpStream::connect(stand.address).is_err());
    let mut answer = String::new();
    in_flight.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert_eq!(draining.join().unwrap(), 0);
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn draining_gives_up_at_the_deadline() {
    let mut stand = Stand::start(Limits::default());
    let mut stuck = stand.connect();
    stuck.write_all(b"GET").unwrap();
    stand.wait_for("inbox_connections_open", 1.0);
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    assert_eq!(stand.gate.take().unwrap().drain(begun + Duration::from_millis(200)), 1);
    assert!((200..5000).contains(&begun.elapsed().as_millis()));
}

#[test]
fn the_private_socket_leaves_no_name_behind() {
    let directory = std::env::temp_dir().join(format!("fallback-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&directory).unwrap();
    let (_listener, socket) = upstream::bind_in(&directory).unwrap();
    std::fs::remove_dir(&directory).unwrap(); // fails unless it is empty
    UnixStream::connect(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket))).unwrap();
    assert!(upstream::bind_in(&directory.join("x".repeat(100))).is_err(), "no such directory");
}
