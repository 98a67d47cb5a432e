//! The log: one JSON object a line, with the contract's fields, whatever clients send.

use crate::harness::{
    Connection, Database, Delivery, Directory, SECRET, Server, database_url, delivery, json, own_address, program,
    until,
};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;

/// Every line so far, once there are as many as expected.
fn lines(server: &Server, count: usize) -> Vec<Value> {
    until("every line is written", || server.log().lines().count() >= count && server.log().ends_with('\n'));
    server.log().lines().map(json).collect()
}

#[test]
fn each_request_has_one_line_with_the_fields_and_the_level_of_its_outcome() {
    let server = Server::with(&[("MAX_BODY_BYTES", "1000")]);
    let body = delivery("m1");
    for (case, reply, level, status, id, dup, result) in [
        ("created", server.deliver(&body), "INFO", 200, Some("m1"), Some(false), Some("created")),
        ("duplicate", server.deliver(&body), "INFO", 200, Some("m1"), Some(true), Some("duplicate")),
        ("unsigned", server.post("/webhook", None, &body), "ERROR", 401, None, None, Some("invalid_signature")),
        ("invalid", server.deliver("{}"), "WARNING", 422, None, None, Some("validation_error")),
        ("too large", server.deliver("x".repeat(1001)), "WARNING", 413, None, None, Some("too_large")),
        ("messages", server.get("/messages"), "INFO", 200, None, None, None),
        ("bad query", server.get("/messages?limit=0"), "INFO", 422, None, None, None),
        ("unknown", server.get("/nowhere?x=y"), "INFO", 404, None, None, None),
        ("method", server.get("/webhook"), "INFO", 405, None, None, None),
        ("metrics", server.get("/metrics"), "INFO", 200, None, None, None),
    ] {
        let line = server.log_line(&reply);
        assert_eq!(line["level"], level, "{case}: {line}");
        assert_eq!(line["status"], status, "{case}: {line}");
        assert_eq!(line["request_id"].as_str(), reply.field("X-Request-ID"), "{case}: {line}");
        assert_eq!(line.get("message_id").and_then(Value::as_str), id, "{case}: {line}");
        assert_eq!(line.get("dup").and_then(Value::as_bool), dup, "{case}: {line}");
        assert_eq!(line.get("result").and_then(Value::as_str), result, "{case}: {line}");
        assert!(line["latency_ms"].as_f64().is_some_and(|latency| latency >= 0.0), "{case}: {line}");
        assert!(line["method"].is_string() && line["path"].is_string(), "{case}: {line}");
        assert!(!line["path"].to_string().contains('?'), "{case}: the query is no part of the path: {line}");
    }
}

#[test]
fn every_line_has_a_time_in_utc_with_milliseconds_and_a_level() {
    let mut server = Server::start();
    server.deliver(delivery("m1"));
    server.get("/nowhere");
    server.terminate();
    server.wait_exit();
    let shape = |ts: &str| {
        let shape = ts.bytes().zip("dddd-dd-ddTdd:dd:dd.dddZ".bytes());
        ts.len() == 24 && shape.clone().all(|(byte, shape)| byte == shape || (shape == b'd' && byte.is_ascii_digit()))
    };
    let lines = lines(&server, 6);
    for line in &lines {
        assert!(line["ts"].as_str().is_some_and(shape), "{line}");
        assert!(matches!(line["level"].as_str(), Some("DEBUG" | "INFO" | "WARNING" | "ERROR")), "{line}");
        assert!(line["message"].is_string() != line["request_id"].is_string(), "neither or both: {line}");
    }
    let messages: Vec<_> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    assert!(messages.starts_with(&["database opened", "listening"]), "{messages:?}");
    assert!(messages.ends_with(&["stopping", "stopped"]), "{messages:?}");
}

#[test]
fn a_client_can_neither_break_nor_forge_a_line() {
    let server = Server::start();
    let forged = r#"{"ts":"2025-01-15T10:00:00.000Z","level":"ERROR","message":"forged"}"#;
    let hostile = [
        format!("a\n{forged}\n"),
        format!("a\r\n{forged}\r\n"),
        "\",\"level\":\"ERROR\",\"x\":\"".to_owned(),
        "\\".to_owned(),
        "\u{0}\u{1}\u{1b}[31m\u{7f}".to_owned(),
        "\u{85}\u{2028}\u{2029}\u{202e}\u{feff}".to_owned(),
    ];
    let mut expected = 2; // "database opened", "listening"
    for id in &hostile {
        let reply = server.deliver(delivery(id));
        assert_eq!(server.log_line(&reply)["message_id"], **id);
        expected += 1;
    }
    for path in ["/%0A%0D%22", "/\"\\'<>{}|^`", "//x"] {
        let reply = server.get(path);
        assert!(server.log_line(&reply)["path"].is_string(), "{path}");
        expected += 1;
    }
    for method in ["F'OO", "A_B", "!#$%&'*+-.^_`|~"] {
        let reply = server.request(method, "/stats", &[], b"");
        if reply.field("X-Request-ID").is_some() {
            assert_eq!(server.log_line(&reply)["method"], method);
            expected += 1;
        }
    }
    let lines = lines(&server, expected);
    assert_eq!(lines.len(), expected, "log:\n{}", server.log());
    assert!(lines.iter().all(|line| line["message"] != "forged"), "log:\n{}", server.log());
}

#[test]
fn characters_that_break_or_reorder_a_line_are_escaped_in_every_field() {
    let server = Server::start();
    let controls = ('\u{7f}'..='\u{9f}').chain('\u{2028}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
    let hostile: String = controls.chain(['\u{61c}', '\u{200e}', '\u{200f}']).flat_map(|c| ['a', c]).collect();
    let id = format!("{hostile}é漢🦀");
    let reply = server.deliver(delivery(&id));
    assert_eq!(server.log_line(&reply)["message_id"], *id, "the value is the same for who parses the line");
    let log = server.log();
    let raw: Vec<char> = log.chars().filter(|c| *c != 'a' && hostile.contains(*c)).collect();
    assert!(raw.is_empty(), "{raw:?} in the log:\n{log}");
    assert!(log.contains("é漢🦀"), "letters stay letters:\n{log}");
}

#[test]
fn the_line_of_a_refusal_says_why_and_quotes_no_value() {
    let server = Server::start();
    let body = delivery("m1");
    let right = crate::harness::sign(crate::harness::SECRET, &body);
    let signed = |fields: &[(&str, &str)]| server.request("POST", "/webhook", fields, body.as_bytes());
    for (reason, reply) in [
        ("missing", signed(&[])),
        ("missing", signed(&[("X-Signature", "")])),
        ("given twice", signed(&[("X-Signature", &right), ("X-Signature", &right)])),
        ("not hex", signed(&[("X-Signature", "zz")])),
        ("wrong length", signed(&[("X-Signature", &right[1..])])),
        ("mismatch", signed(&[("X-Signature", &right.replace(|_| true, "0"))])),
        ("body: json_invalid", server.deliver("no JSON")),
        ("from: string_pattern_mismatch, ts: missing", server.deliver(r#"{"message_id":"m","from":"+x","to":"+1"}"#)),
        ("limit: less_than_equal, since: datetime_parsing", server.get("/messages?limit=500&since=now")),
    ] {
        assert_eq!(server.log_line(&reply)["reason"], reason, "reply: {reply:?}");
        assert!(reply.status != 401 || reply.text() == r#"{"detail":"invalid signature"}"#, "reply: {reply:?}");
    }
}

#[test]
fn neither_the_secret_nor_a_signature_nor_a_text_is_ever_logged() {
    let (secret, text) = ("a-secret-that-must-not-leak", "a-text-that-must-not-leak");
    let mut server = Server::with(&[("WEBHOOK_SECRET", secret), ("LOG_LEVEL", "DEBUG")]);
    let right = Delivery { text: Some(text.to_owned()), ..Delivery::of("m1") };
    let bodies = [
        right.body(),
        right.body(),
        Delivery { from: text.to_owned(), ..right.clone() }.body(),
        Delivery { text: Some(text.repeat(1000)), ..Delivery::of("m2") }.body(),
        format!("{{\"{text}\":\"{text}\""),
    ];
    for body in &bodies {
        for signature in [crate::harness::sign(secret, body), crate::harness::sign("other", body), secret.to_owned()] {
            let reply = server.post("/webhook", Some(&signature), body);
            server.log_line(&reply);
            assert!(!server.log().contains(&signature), "log:\n{}", server.log());
        }
    }
    let reply = server.get(&format!("/messages?q={text}"));
    server.log_line(&reply);
    let lock = Database::open(server.database());
    lock.lock();
    let body = Delivery { message_id: "m3".to_owned(), ..right }.body();
    assert_eq!(server.post("/webhook", Some(&crate::harness::sign(secret, &body)), &body).status, 503);
    server.terminate();
    server.wait_exit();
    until("the log has its last line", || server.log().contains("\"stopped\""));
    let all = server.log() + &server.errors();
    assert!(!all.contains(secret) && !all.contains(text), "{all}");
}

#[test]
fn the_level_decides_which_lines_are_written() {
    for (level, expected) in [
        ("DEBUG", &["ERROR", "INFO", "INFO", "INFO", "INFO", "INFO", "WARNING"][..]),
        ("info", &["ERROR", "INFO", "INFO", "INFO", "INFO", "INFO", "WARNING"]),
        ("Warning", &["ERROR", "WARNING"]),
        ("ERROR", &["ERROR"]),
    ] {
        let settings = [("LOG_LEVEL", level), ("LISTEN_ADDR", &own_address())];
        let mut server = Server::launch(program(), Directory::new(), &settings);
        server.deliver(delivery("m1"));
        server.deliver("x");
        server.post("/webhook", None, "x");
        server.terminate();
        server.wait_exit();
        let lines = lines(&server, expected.len());
        let mut levels: Vec<_> = lines.iter().filter_map(|line| line["level"].as_str()).collect();
        levels.sort_unstable(); // the start-up's last line and the first request's may come in either order
        assert_eq!(levels, expected, "LOG_LEVEL={level}\nlog:\n{}", server.log());
    }
}

#[test]
fn the_longest_message_id_is_whole_in_the_log() {
    let server = Server::start();
    let longest = "\u{1}".repeat(1024);
    let reply = server.deliver(delivery(&longest));
    assert_eq!(reply.status, 200, "reply: {reply:?}");
    assert_eq!(server.log_line(&reply)["message_id"], longest);
}

#[test]
fn a_very_long_path_is_shortened_in_the_log() {
    let server = Server::start();
    let path = format!("/{}", "p".repeat(6_000));
    let reply = server.get(&path);
    assert_eq!(reply.status, 404, "reply: {reply:?}");
    let logged = server.log_line(&reply)["path"].as_str().unwrap_or_default().to_owned();
    assert!(logged.starts_with("/ppp") && logged.len() < 2_000, "{} bytes", logged.len());
}

#[test]
fn lines_of_many_workers_do_not_mix() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut connection = Connection::open(server.address()).expect("the server accepts");
                for _ in 0..100 {
                    assert_eq!(connection.request("GET", "/health/live", &[], b"").status, 200);
                }
            });
        }
    });
    assert_eq!(lines(&server, 1_602).len(), 1_602);
}

/// As `webhook-inbox` typed in a shell.
#[test]
fn only_a_start_on_a_terminal_prints_the_address_for_people() {
    let directory = Directory::new();
    let address = own_address();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&terminal).unwrap();
    let name = OsString::from_vec(ptsname(&terminal, Vec::new()).unwrap().into_bytes());
    let errors = directory.path().join("stderr");
    let mut child = program()
        .env("WEBHOOK_SECRET", SECRET)
        .env("LISTEN_ADDR", &address)
        .env("DATABASE_URL", database_url(&directory.database()))
        .stdout(File::options().write(true).open(name).unwrap())
        .stderr(File::create(&errors).unwrap())
        .spawn()
        .unwrap();
    let line = format!("webhook-inbox is listening on http://{address}. Ctrl-C stops it.\n");
    until("the line is printed", || std::fs::read_to_string(&errors).unwrap() == line);
    child.kill().unwrap();
    child.wait().unwrap();

    let server = Server::start();
    assert_eq!(server.get("/health/ready").status, 200);
    assert_eq!(server.errors(), "", "stdout is a pipe");
}
