//! Standard Webhooks on POST /webhook: which signatures are right, when, and beside `X-Signature`.

use crate::commands::command_with_input;
use crate::harness::{
    Directory, Ended, SECRET, Server, base64, database_url, delivery, own_address, program, run, sign, until,
};
use hmac::{Hmac, KeyInit, Mac};
use std::time::SystemTime;

/// A secret as senders show it, and its key.
const SHOWN: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const KEY: &[u8] = b"0123456789abcdef01234567";
const NEXT: &str = "whsec_bmV3MTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc=";
const NEXT_KEY: &[u8] = b"new123456789abcdef01234567";

const NAMES: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
const SVIX: [&str; 3] = ["svix-id", "svix-timestamp", "svix-signature"];

fn now_s() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

/// `v1,` and the base64 of the HMAC, by the standard and not by the program's own code.
fn signature(key: &[u8], id: &str, timestamp: impl ToString, body: &str) -> String {
    let mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    let signed = format!("{id}.{}.{body}", timestamp.to_string());
    format!("v1,{}", base64(&mac.chain_update(signed).finalize().into_bytes()))
}

/// The three fields of a delivery that is signed now.
fn fields(names: [&'static str; 3], key: &[u8], body: &str) -> Vec<(&'static str, String)> {
    let timestamp = now_s();
    let values = ["msg_1".to_owned(), timestamp.to_string(), signature(key, "msg_1", timestamp, body)];
    names.into_iter().zip(values).collect()
}

fn post(server: &Server, fields: &[(&'static str, String)], body: &str) -> crate::harness::Reply {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    server.request("POST", "/webhook", &fields, body.as_bytes())
}

fn configured(settings: &[(&str, &str)]) -> Server {
    let settings: Vec<_> = [("STANDARD_WEBHOOKS_SECRET", SHOWN)].into_iter().chain(settings.iter().copied()).collect();
    Server::with(&settings)
}

#[test]
fn a_delivery_is_stored_under_either_set_of_names() {
    let server = configured(&[]);
    for (id, names) in [("m1", NAMES), ("m2", SVIX), ("m3", ["Webhook-Id", "WEBHOOK-TIMESTAMP", "Webhook-Signature"])] {
        let body = delivery(id);
        let reply = post(&server, &fields(names, KEY, &body), &body);
        assert_eq!(reply.status, 200, "{names:?}\nreply: {reply:?}\nlog:\n{}", server.log());
        assert_eq!(server.log_line(&reply)["message_id"], id);
    }
    assert_eq!(server.message_ids(), ["m1", "m2", "m3"]);
    assert_eq!(server.metric(r#"webhook_requests_total{result="created"}"#), 3.0);
    let body = r#"{"test":1}"#;
    assert_eq!(post(&server, &fields(NAMES, KEY, body), body).status, 422, "the body has the native format");
    let large = format!("{{\"x\":\"{}\",{}", "x".repeat(100_000), &delivery("m4")[1..]);
    assert_eq!(post(&server, &fields(NAMES, KEY, &large), &large).status, 200, "a body that is not pipelined");
}

#[test]
fn a_refusal_is_401_and_only_the_log_says_why() {
    let server = configured(&[]);
    let body = delivery("m1");
    let with = |id: &str, timestamp: &str| {
        let signature = signature(KEY, id, timestamp, &body);
        vec![
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_owned()),
            ("webhook-signature", signature),
        ]
    };
    let now = now_s();
    let right = with("msg_1", &now.to_string());
    let but = |place: usize, value: &str| {
        let mut fields = right.clone();
        fields[place].1 = value.to_owned();
        fields
    };
    let twice = |place: usize| right.iter().chain([&right[place]]).cloned().collect::<Vec<_>>();
    for (reason, fields) in [
        ("missing", vec![]),
        ("missing", right[..2].to_vec()),
        ("missing", right[1..].to_vec()),
        ("missing", but(0, "")),
        ("given twice", twice(0)),
        ("given twice", twice(1)),
        ("given twice", twice(2)),
        ("malformed id", with("msg.1", &now.to_string())),
        ("timestamp not a number", with("msg_1", "today")),
        ("timestamp not a number", with("msg_1", &format!("+{now}"))),
        ("timestamp too old", with("msg_1", &(now - 400).to_string())),
        ("timestamp in the future", with("msg_1", &(now + 400).to_string())),
        ("timestamp in the future", with("msg_1", &(now * 1000).to_string())),
        ("no v1 signature", but(2, &right[2].1.replace("v1,", "v2,"))),
        ("no v1 signature", but(2, &right[2].1[3..])),
        ("not base64 of 32 bytes", but(2, "v1,")),
        ("mismatch", but(0, "msg_2")),
        ("mismatch", but(1, &(now - 1).to_string())),
        ("mismatch", but(2, &signature(NEXT_KEY, "msg_1", now, &body))),
        ("mismatch", but(2, "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=")),
    ] {
        let reply = post(&server, &fields, &body);
        assert_eq!((reply.status, reply.text().as_str()), (401, r#"{"detail":"invalid signature"}"#), "{fields:?}");
        let line = server.log_line(&reply);
        assert_eq!((&line["reason"], &line["level"]), (&reason.into(), &"ERROR".into()), "{fields:?}");
    }
    assert!(server.message_ids().is_empty());
    assert_eq!(post(&server, &right, &body).status, 200);
}

#[test]
fn a_timestamp_well_within_300_seconds_of_the_clock_is_right() {
    let server = configured(&[]);
    for (id, offset) in [("m1", -200), ("m2", 0), ("m3", 290)] {
        let (body, timestamp) = (delivery(id), now_s() + offset);
        let signature = signature(KEY, id, timestamp, &body);
        let values = [id.to_owned(), timestamp.to_string(), signature];
        let reply = post(&server, &NAMES.into_iter().zip(values).collect::<Vec<_>>(), &body);
        assert_eq!(reply.status, 200, "{offset}\nreply: {reply:?}");
    }
}

#[test]
fn a_delivery_that_is_sent_again_within_the_window_is_stored_once() {
    let server = configured(&[]);
    let body = delivery("m1");
    let recorded = fields(NAMES, KEY, &body);
    for result in ["created", "duplicate"] {
        let reply = post(&server, &recorded, &body);
        assert_eq!((reply.status, &server.log_line(&reply)["result"]), (200, &result.into()));
    }
    assert_eq!(server.message_ids(), ["m1"]);
}

#[test]
fn one_of_several_signatures_is_enough() {
    let server = configured(&[]);
    let body = delivery("m1");
    let mut fields = fields(NAMES, KEY, &body);
    let (right, other) = (fields[2].1.clone(), signature(NEXT_KEY, "msg_1", 0, &body));
    fields[2].1 = format!("{other} v1a,{} {right} v1,nonsense", &other[3..]);
    let reply = post(&server, &fields, &body);
    assert_eq!(reply.status, 200, "reply: {reply:?}");
    fields[2].1 = format!("{other} v1a,{} v1,nonsense", &right[3..]);
    assert_eq!(post(&server, &fields, &body).status, 401);
}

#[test]
fn while_its_secret_is_changed_either_verifies_and_a_metric_says_which() {
    let settings = [("STANDARD_WEBHOOKS_SECRET", NEXT), ("STANDARD_WEBHOOKS_SECRET_PREVIOUS", SHOWN)];
    let server = Server::with(&settings);
    let matches = |secret: &str| server.metric(&format!("inbox_signature_matches_total{{secret=\"{secret}\"}}"));
    for (id, key, status) in [("m1", NEXT_KEY, 200), ("m2", KEY, 200), ("m3", KEY, 200), ("m4", &KEY[1..], 401)] {
        let body = delivery(id);
        assert_eq!(post(&server, &fields(NAMES, key, &body), &body).status, status, "{id}");
    }
    assert_eq!((matches("current"), matches("previous")), (1.0, 2.0));
}

#[test]
fn a_wrong_x_signature_is_not_rescued_by_standard_webhooks() {
    let server = configured(&[]);
    let body = delivery("m1");
    let standard = fields(NAMES, KEY, &body);
    let with = |signature: &str, standard: &[(&'static str, String)]| {
        post(&server, &[&[("X-Signature", signature.to_owned())], standard].concat(), &body).status
    };
    assert_eq!(with(&"0".repeat(64), &standard), 401);
    assert_eq!(with("", &standard), 401);
    let wrong = fields(NAMES, NEXT_KEY, &body);
    assert_eq!(with(&sign(SECRET, &body), &wrong), 200, "only X-Signature counts");
    assert_eq!(with(&sign(SECRET, &body), &[]), 200);
}

#[test]
fn the_fields_are_not_looked_at_while_no_secret_is_set_for_them() {
    let server = Server::start();
    let body = delivery("m1");
    let standard = fields(NAMES, KEY, &body);
    let reply = post(&server, &standard, &body);
    assert_eq!((reply.status, &server.log_line(&reply)["reason"]), (401, &"missing".into()));
    let both = [&[("X-Signature", sign(SECRET, &body))], &standard[..]].concat();
    assert_eq!(post(&server, &both, &body).status, 200);
}

#[test]
fn with_its_secret_alone_the_service_starts_and_x_signature_is_401() {
    let server = configured(&[("WEBHOOK_SECRET", "")]);
    let body = delivery("m1");
    assert_eq!(server.get("/health/ready").status, 200);
    assert_eq!(post(&server, &fields(NAMES, KEY, &body), &body).status, 200);
    let reply = server.deliver(&body);
    assert_eq!((reply.status, &server.log_line(&reply)["reason"]), (401, &"no secret is set".into()));
}

#[test]
fn its_secret_may_be_in_a_file_or_a_credential() {
    let directory = Directory::new();
    let path = directory.path().join("STANDARD_WEBHOOKS_SECRET");
    std::fs::write(&path, format!("{SHOWN}\n")).unwrap();
    let (path, credentials) = (path.to_str().unwrap(), directory.path().to_str().unwrap());
    for setting in [("STANDARD_WEBHOOKS_SECRET_FILE", path), ("CREDENTIALS_DIRECTORY", credentials)] {
        let server = Server::with(&[("WEBHOOK_SECRET", ""), setting]);
        let body = delivery("m1");
        assert_eq!(post(&server, &fields(NAMES, KEY, &body), &body).status, 200, "{setting:?}");
    }
}

#[test]
fn a_secret_in_another_form_stops_the_start_and_is_not_quoted() {
    let directory = Directory::new();
    let url = database_url(&directory.database());
    let given = ("STANDARD_WEBHOOKS_SECRET", SHOWN);
    for (settings, said) in [
        (
            [("STANDARD_WEBHOOKS_SECRET", "hush-hush"), ("WEBHOOK_SECRET", "")],
            "STANDARD_WEBHOOKS_SECRET cannot be used",
        ),
        ([("STANDARD_WEBHOOKS_SECRET", "whsec_aHVzaGh1c2g="), ("WEBHOOK_SECRET", "s")], "8 bytes"),
        ([given, ("STANDARD_WEBHOOKS_SECRET_PREVIOUS", "hush")], "STANDARD_WEBHOOKS_SECRET_PREVIOUS cannot be used"),
        ([given, ("STANDARD_WEBHOOKS_SECRET_PREVIOUS_FILE", "/hush")], "there is no file"),
        ([given, ("STANDARD_WEBHOOKS_SECRET_FILE", "/missing")], "are both set"),
        ([("STANDARD_WEBHOOKS_SECRET_PREVIOUS", SHOWN), ("WEBHOOK_SECRET", "")], "WEBHOOK_SECRET is not set"),
    ] {
        let ended = run(program().env("LISTEN_ADDR", "127.0.0.1:0").env("DATABASE_URL", &url).envs(settings));
        assert_eq!((ended.status.code(), ended.stderr.lines().count()), (Some(78), 1), "{settings:?}\n{ended:?}");
        assert!(ended.stderr.contains(said), "{settings:?}\n{ended:?}");
        assert!(!ended.stderr.contains("hush-hush") && !ended.stderr.contains("aHVza"), "{ended:?}");
    }
    let server = configured(&[("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_PREVIOUS", "s")]);
    until("the log has the warning", || server.log().contains("WEBHOOK_SECRET_PREVIOUS is not used"));
}

/// A command with the secret of Standard Webhooks alone, and an input.
fn command(arguments: &[&str], input: &str) -> Ended {
    let directory = Directory::new();
    run(command_with_input(&directory, input).args(arguments).env("STANDARD_WEBHOOKS_SECRET", SHOWN))
}

#[test]
fn sign_prints_the_header_lines_that_the_service_takes() {
    let body =
        r#"{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"}"#;
    let given = ["sign", "--scheme", "standard", "--id", "msg_test0001", "--timestamp", "1790416800", "--header"];
    let ended = command(&given, body);
    let expected = "webhook-id: msg_test0001\nwebhook-timestamp: 1790416800\n\
                    webhook-signature: v1,V8HmevowZxMnm2VCmVvUCCUgQTlMCS+vL+Rv8v1Vv1I=\n";
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), expected), "{ended:?}");

    let server = configured(&[]);
    let signed: Vec<String> = (0..2).map(|_| command(&["sign", "--scheme=standard"], body).stdout).collect();
    for lines in &signed {
        let fields: Vec<(&str, &str)> = lines.lines().map(|line| line.split_once(": ").unwrap()).collect();
        assert_eq!(server.request("POST", "/webhook", &fields, body.as_bytes()).status, 200, "{lines}");
    }
    assert_ne!(signed[0].lines().next(), signed[1].lines().next(), "each has an id of its own");
    assert_eq!(server.message_ids(), ["m1"]);
}

#[test]
fn send_signs_as_the_scheme_says() {
    let address = own_address();
    let server = configured(&[("WEBHOOK_SECRET", ""), ("LISTEN_ADDR", &address)]);
    let send = |arguments: &[&str]| {
        let mut command = program();
        command.arg("send").args(arguments).env("LISTEN_ADDR", &address).env("WEBHOOK_SECRET", SECRET);
        run(command.env("STANDARD_WEBHOOKS_SECRET", SHOWN))
    };
    let ended = send(&["--scheme", "standard", "--id", "m1"]);
    assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), "200 {\"status\":\"ok\"}\n"), "{ended:?}");
    let ended = send(&["--scheme", "native", "--id", "m2"]);
    assert_eq!((ended.status.code(), ended.stdout.starts_with("401 ")), (Some(1), true), "{ended:?}");
    assert_eq!(server.message_ids(), ["m1"]);
    for arguments in
        [&["send", "--scheme", "standard"][..], &["sign", "--scheme=standard"], &["verify", "--scheme=standard", "x"]]
    {
        let ended = run(program().args(arguments).env("WEBHOOK_SECRET", SECRET));
        assert_eq!(ended.status.code(), Some(78), "{arguments:?}\n{ended:?}");
        assert!(ended.stderr.contains("STANDARD_WEBHOOKS_SECRET is not set"), "{arguments:?}\n{ended:?}");
    }
}

#[test]
fn verify_says_that_header_lines_match() {
    let body = delivery("m1");
    let lines = command(&["sign", "--scheme=standard"], &body).stdout;
    for lines in [lines.clone(), lines.replace('\n', "\r\n"), lines.replace("webhook-", "Svix-")] {
        let ended = command(&["verify", "--scheme=standard", &lines], &body);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), "the signature matches\n"), "{ended:?}");
    }
    let directory = Directory::new();
    let mut rotated = command_with_input(&directory, &body);
    let secrets = [("STANDARD_WEBHOOKS_SECRET", NEXT), ("STANDARD_WEBHOOKS_SECRET_PREVIOUS", SHOWN)];
    let ended = run(rotated.args(["verify", "--scheme=standard", &lines]).envs(secrets));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("by STANDARD_WEBHOOKS_SECRET_PREVIOUS"), "{ended:?}");
}

#[test]
fn verify_says_why_header_lines_do_not_match() {
    let (body, now) = (delivery("m1"), now_s());
    let lines = |id: &str, timestamp: &str, signature: &str| {
        format!("webhook-id: {id}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}\n")
    };
    let signed = |key: &[u8], timestamp: i64, body: &str| {
        lines("msg_1", &timestamp.to_string(), &signature(key, "msg_1", timestamp, body))
    };
    let now_text = now.to_string();
    let right = signature(KEY, "msg_1", now, &body);
    let mac = Hmac::<sha2::Sha256>::new_from_slice(KEY).unwrap().chain_update(&body).finalize().into_bytes();
    for (case, lines, said) in [
        ("no such lines", "X-Signature: ab".to_owned(), "none of the fields is one of Standard Webhooks"),
        ("no id", lines("", &now_text, &right), "missing or empty: webhook-id."),
        ("only an id", "svix-id: a".to_owned(), "missing or empty: svix-timestamp, svix-signature."),
        ("an id twice", format!("webhook-id: x\n{}", signed(KEY, now, &body)), "given twice"),
        ("a full stop", lines("msg.1", &now_text, &right), "no full stop"),
        ("no number", lines("msg_1", "today", &right), "whole number of seconds"),
        (
            "old",
            signed(KEY, now - 1000, &body),
            "behind this machine's clock; at most 300 s are accepted. The signature itself is right",
        ),
        ("old and wrong", signed(NEXT_KEY, now - 1000, &body), "The signature itself is wrong too"),
        ("new", signed(KEY, now + 1000, &body), "ahead of this machine's clock"),
        ("milliseconds", signed(KEY, now * 1000, &body), "in milliseconds. The signature itself is right"),
        ("no version", lines("msg_1", &now_text, &right[3..]), "begins with `v1,`"),
        ("hex", lines("msg_1", &now_text, &format!("v1,{}", hex::encode(mac))), "hex is not accepted"),
        ("the secret as text", signed(SHOWN.as_bytes(), now, &body), "the text of the secret as the key"),
        ("the base64 as text", signed(&SHOWN.as_bytes()[6..], now, &body), "the text of the secret as the key"),
        (
            "a newline after the body there",
            signed(KEY, now, &format!("{body}\n")),
            "The signed body had a newline at its end.",
        ),
        ("only the body", lines("msg_1", &now_text, &format!("v1,{}", base64(&mac))), "the body alone was signed"),
        ("another secret", signed(NEXT_KEY, now, &body), "secret, id, timestamp or body differ"),
    ] {
        let ended = command(&["verify", "--scheme=standard", &lines], &body);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{case}\n{ended:?}");
        assert!(ended.stderr.contains(said), "{case}\n{ended:?}");
        assert!(!ended.stderr.contains(&right) && !ended.stderr.contains(SHOWN), "{case}\n{ended:?}");
    }
}
