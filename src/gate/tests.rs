//! The gate in front of a tiny_http that breaks connections, which the real workers never do.

use super::*;
use crate::log::Level;
use crate::metrics::Page;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Starts a gate, and a server behind it that answers `break` in a target or a body with a response without a length.
fn start() -> (Gate, SocketAddr) {
    let (unix, private) = bind(&std::env::temp_dir()).unwrap();
    let tiny = tiny_http::Server::from_listener(unix, None).unwrap();
    std::thread::spawn(move || {
        while let Ok(mut request) = tiny.recv() {
            let mut body = String::new();
            request.as_reader().read_to_string(&mut body).unwrap();
            if request.url().contains("break") || body == "break" {
                let mut writer = request.into_writer();
                writer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").and_then(|()| writer.flush()).unwrap();
            } else {
                let _ = request.respond(tiny_http::Response::from_string("whole")); // the gate may have given it up
            }
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let log = Log::start(Level::Error).unwrap();
    let (limits, proxies) = (Limits::DEFAULT, TrustedProxies::default());
    let commits = Arc::new(Commits::new().unwrap());
    let gate = Gate::start(listener, (private, 2), limits, proxies, commits, log).unwrap();
    (gate, address)
}

fn talk(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_broken_upstream_connection_costs_what_is_under_way_on_it_and_heals() {
    let (gate, address) = start();
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let post = |body: &str| {
        let length = body.len();
        format!("POST /webhook HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    for _ in 0..12 {
        for broken in [get("/stats?break"), post("break")] {
            let answer = talk(address, &broken);
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(
                answer.contains("\r\nRetry-After: 1\r\n") && answer.contains("\r\nConnection: close\r\n"),
                "{answer}"
            );
        }
        for whole in [get("/stats"), post("whole")] {
            // Both pipelined connections may be broken now, and neither open again.
            let deadline = Instant::now() + Duration::from_secs(20);
            let mut answer = talk(address, &whole);
            while answer.contains("all workers are busy") && Instant::now() < deadline {
                answer = talk(address, &whole);
            }
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nwhole"), "{answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        }
    }
    let mut page = Page::default();
    page.metrics(METRICS);
    let page = page.into_text();
    assert!(page.contains("inbox_gate_rejections_total{reason=\"upstream_failed\"} 24\n"), "{page}");
    assert_eq!(gate.drain(Instant::now() + Duration::from_secs(20)), 0);
}
