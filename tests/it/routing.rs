//! Which path and method lead where, and what every reply has in common.

use crate::harness::{Connection, Delivery, READS, SECRET, Server, delivery, sign};
use serde_json::json;
use std::collections::HashSet;

const READ_PATHS: [&str; 11] = [
    "/messages",
    "/arrivals",
    "/arrivals/1",
    "/stats",
    "/stats/history",
    "/sources",
    "/refusals",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
];

#[test]
fn an_unknown_path_is_404_whatever_the_method() {
    let server = Server::start();
    for path in [
        "//",
        "/webhook/",
        "//webhook",
        "/Webhook",
        "/webhooks",
        "/webhook%20",
        "/%77ebhook",
        "/./webhook",
        "/x/../webhook",
        "/messages/",
        "/messages/m1",
        "/messages%3Flimit=1",
        "/arrivals/",
        "/arrivals/0",
        "/arrivals/01",
        "/arrivals/m1",
        "/stats/",
        "/health",
        "/health/",
        "/health/ready/",
        "/health//live",
        "/metrics/",
        "/docs",
        "/openapi.yaml",
        "/favicon.ico",
    ] {
        for method in ["GET", "POST", "DELETE"] {
            let reply = server.request(method, path, &[], b"");
            assert_eq!((reply.status, reply.text()), (404, r#"{"detail":"Not Found"}"#.to_owned()), "{method} {path}");
            assert_eq!(reply.field("Content-Type"), Some("application/json"), "{method} {path}");
        }
    }
    let body = delivery("m1");
    let reply = server.post("/webhook/", Some(&sign(SECRET, &body)), &body);
    assert_eq!(reply.status, 404, "reply: {reply:?}");
    assert_eq!(server.message_ids(), Vec::<String>::new());
}

#[test]
fn a_known_path_with_another_method_is_405_and_says_which_are_allowed() {
    let server = Server::start();
    let read = READ_PATHS.map(|path| (path, ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"], "GET, HEAD"));
    let webhook = ("/webhook", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "post"], "POST");
    for (path, methods, allow) in read.into_iter().chain([webhook]) {
        for method in methods {
            for target in [path.to_owned(), format!("{path}?limit=0")] {
                let reply = server.request(method, &target, &[], b"");
                assert_eq!(reply.status, 405, "{method} {target}\nreply: {reply:?}");
                assert_eq!(reply.field("Allow"), Some(allow), "{method} {target}\nreply: {reply:?}");
                if method != "HEAD" {
                    assert_eq!(reply.text(), r#"{"detail":"Method Not Allowed"}"#, "{method} {target}");
                }
            }
        }
    }
}

#[test]
fn a_query_string_does_not_matter_to_routing() {
    let server = Server::start();
    assert_eq!(server.deliver(delivery("m0")).status, 200);
    for path in READ_PATHS {
        for query in ["", "a=b", "/webhook", "?", "%ff&&&=", "x=/stats"] {
            let reply = server.get(&format!("{path}?{query}"));
            assert_eq!(reply.status, 200, "{path}?{query}\nreply: {reply:?}");
        }
    }
    let body = delivery("m1");
    let reply = server.post("/webhook?x=/messages", Some(&sign(SECRET, &body)), &body);
    assert_eq!(reply.status, 200, "reply: {reply:?}");
    assert_eq!(server.get("/nowhere?/stats").status, 404);
}

#[test]
fn head_answers_as_get_does_but_without_the_body() {
    let server = Server::start();
    server.deliver_all(&["m1", "m2"].map(delivery), 1);
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    for target in READ_PATHS.into_iter().chain(["/messages?limit=1", "/messages?limit=0", "/nowhere"]) {
        let [get, head] = ["GET", "HEAD"].map(|method| connection.request(method, target, &[], b""));
        assert_eq!(head.status, get.status, "{target}\nreply: {head:?}");
        for name in ["Content-Type", "Link"] {
            assert_eq!(head.field(name), get.field(name), "{target}\nreply: {head:?}");
        }
        if target != "/metrics" {
            assert_eq!(head.field("Content-Length"), get.field("Content-Length"), "{target}\nreply: {head:?}");
        }
    }
    for _ in 0..3 {
        // A body after HEAD would be taken for the next reply.
        assert_eq!(connection.request("HEAD", "/stats", &[], b"").status, 200);
        assert_eq!(connection.request("GET", "/health/live", &[], b"").text(), r#"{"status":"ok"}"#);
    }
}

#[test]
fn every_reply_has_a_request_id_of_its_own_which_is_a_version_4_uuid() {
    let server = Server::with(&[("MAX_BODY_BYTES", "1000")]);
    let body = delivery("m1");
    let replies = [
        server.deliver(&body),
        server.deliver(&body),
        server.deliver("x"),
        server.deliver("x".repeat(2000)),
        server.post("/webhook", None, &body),
        server.get("/messages"),
        server.get("/messages?limit=0"),
        server.get("/stats"),
        server.get("/health/live"),
        server.get("/health/ready"),
        server.get("/metrics"),
        server.get("/nowhere"),
        server.get("/webhook"),
        server.request("HEAD", "/stats", &[], b""),
        server.request("GET", "/stats", &[("X-Request-ID", "00000000-0000-4000-8000-000000000000")], b""),
    ];
    let mut seen = HashSet::new();
    for reply in &replies {
        let id = reply.field("X-Request-ID").unwrap_or_else(|| panic!("not exactly one id in {reply:?}"));
        let shape = id.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => b"89ab".contains(&byte),
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        });
        assert!(shape && id.len() == 36, "{id}");
        assert!(seen.insert(id), "{id} twice");
        assert_eq!(reply.field("X-Content-Type-Options"), Some("nosniff"), "reply: {reply:?}");
        assert_eq!(reply.field("Cross-Origin-Resource-Policy"), Some("same-origin"), "reply: {reply:?}");
        assert_eq!(reply.field("Access-Control-Allow-Origin"), None, "reply: {reply:?}");
        assert_eq!(server.log_line(reply)["status"], reply.status, "reply: {reply:?}");
    }
    assert!(!seen.contains("00000000-0000-4000-8000-000000000000"), "the id is not the client's to choose");
}

#[test]
fn no_cache_keeps_what_holds_messages_or_figures() {
    let server = Server::start();
    for target in READS {
        for method in ["GET", "HEAD"] {
            let reply = server.request(method, target, &[], b"");
            assert_eq!(reply.field("Cache-Control"), Some("no-store"), "{method} {target}\nreply: {reply:?}");
        }
    }
}

/// What a client sent comes back in a field in two places: a Link repeats its query and holds a message_id.
#[test]
fn no_client_can_add_a_field_to_an_answer() {
    let server = Server::start();
    for id in ["m1\r\nX-Forged: 1", "m2\r\n\r\nHTTP/1.1 200 OK"] {
        server.deliver(Delivery { text: Some("a\r\nX-Forged: 1".to_owned()), ..Delivery::of(id) }.body());
    }
    let forged = "a%0D%0AX-Forged:%201";
    let mut links = 0;
    for target in [
        format!("/messages?limit=1&q={forged}"),
        format!("/messages?limit=1&offset=0&x={forged}"),
        format!("/arrivals?limit=1&q={forged}"),
        format!("/messages?after={forged}"),
        format!("/{forged}"),
    ] {
        let fields = [("X-Request-ID", forged), ("X-Forwarded-Proto", forged), ("Cookie", forged)];
        let reply = server.request("GET", &target, &fields, b"");
        let known = [
            "Date",
            "Content-Type",
            "X-Request-ID",
            "X-Content-Type-Options",
            "Cross-Origin-Resource-Policy",
            "Cache-Control",
            "Link",
            "Inbox-Cursor",
            "Content-Length",
            "Connection",
        ];
        let others: Vec<_> = reply.fields.iter().filter(|(name, _)| !known.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{target}: {others:?}\nreply: {reply:?}");
        links += usize::from(reply.field("Link").is_some());
    }
    assert_eq!(links, 3);
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    assert_eq!(connection.request("GET", "/messages?limit=1", &[], b"").status, 200);
    assert_eq!(connection.request("GET", "/health/live", &[], b"").status, 200, "no answer was taken for two");
}

#[test]
fn a_connection_serves_many_requests() {
    let server = Server::start();
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    for index in 0..100 {
        let reply = connection.deliver(&delivery(&format!("m{index}"))).expect("the server answers");
        assert_eq!(reply.status, 200, "reply: {reply:?}");
        assert_eq!(connection.request("GET", "/nowhere", &[], b"").status, 404);
        let stats = connection.request("GET", "/stats", &[], b"").json();
        assert_eq!(stats["total_messages"], json!(index + 1));
    }
}

#[test]
fn a_client_that_has_said_all_is_still_answered_and_then_the_connection_ends() {
    let server = Server::start();
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    connection
        .send(b"GET /health/live HTTP/1.1\r\nHost: inbox\r\nConnection: close\r\n\r\n")
        .expect("it takes a request");
    connection.finish_sending().expect("the connection is open");
    let reply = connection.read_reply("GET").expect("the server answers");
    assert_eq!(reply.text(), r#"{"status":"ok"}"#);
    assert!(connection.is_at_end());
}
