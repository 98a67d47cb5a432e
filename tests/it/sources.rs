//! GET /sources: what each kind of sender has done since the start.

use crate::harness::{SECRET, Server, delivery, program, run, sign};
use serde_json::{Value, json};

const META: [(&str, &str); 2] = [("META_APP_SECRET", "app"), ("META_VERIFY_TOKEN", "token")];

/// What /sources says of one.
#[track_caller]
fn of(server: &Server, source: &str) -> Value {
    let reply = server.get("/sources");
    assert_eq!((reply.status, reply.field("Cache-Control")), (200, Some("no-store")), "{reply:?}");
    let json = reply.json();
    let data = json["data"].as_array().unwrap();
    assert_eq!(data.len(), 3, "{json}");
    data.iter().find(|one| one["source"] == source).unwrap().clone()
}

fn is_instant(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z'))
}

#[test]
fn a_source_that_has_done_nothing_has_nulls_and_zeros() {
    let server = Server::start();
    let nothing = json!({
        "source": "meta", "configured": false, "path": "/webhook/meta",
        "last_accepted_at": null, "last_refused_at": null, "last_refused_reason": null,
        "results": { "too_large": 0, "invalid_signature": 0, "validation_error": 0, "created": 0, "duplicate": 0,
                     "ignored": 0, "unavailable": 0 },
        "last_handshake_at": null, "last_handshake_result": null
    });
    assert_eq!(of(&server, "meta"), nothing);
    let standard = of(&server, "standard");
    assert_eq!((&standard["configured"], &standard["path"]), (&json!(false), &json!("/webhook")));
    assert_eq!(of(&server, "native")["configured"], true);
}

#[test]
fn the_last_acceptance_and_the_last_refusal_are_shown_beside_the_counts() {
    let server = Server::start();
    for status in [200, 200] {
        assert_eq!(server.deliver(delivery("m1")).status, status);
    }
    assert_eq!(of(&server, "native")["last_refused_at"], Value::Null);
    for (signature, body, reason) in [
        (sign("other", delivery("m2")), delivery("m2"), "invalid signature: mismatch"),
        ("zz".to_owned(), delivery("m2"), "invalid signature: not hex"),
        (sign(SECRET, "{}"), "{}".to_owned(), "message_id: missing, from: missing, to: missing, ts: missing"),
    ] {
        assert_ne!(server.post("/webhook", Some(&signature), body).status, 200);
        assert_eq!(of(&server, "native")["last_refused_reason"], reason);
    }
    let native = of(&server, "native");
    let results = ["created", "duplicate", "invalid_signature", "validation_error", "too_large"];
    assert_eq!(results.map(|result| native["results"][result].as_u64().unwrap()), [1, 1, 2, 1, 0], "{native}");
    assert!(is_instant(&native["last_accepted_at"]) && is_instant(&native["last_refused_at"]), "{native}");
    assert_eq!(of(&server, "standard")["last_accepted_at"], Value::Null);
}

#[test]
fn a_handshake_is_shown_with_its_result() {
    let server = Server::with(&META);
    for (token, status, result) in [("token", 200, "ok"), ("other", 403, "hub.verify_token is not META_VERIFY_TOKEN")] {
        let query = format!("hub.mode=subscribe&hub.challenge=1&hub.verify_token={token}");
        assert_eq!(server.get(&format!("/webhook/meta?{query}")).status, status);
        let meta = of(&server, "meta");
        assert!(is_instant(&meta["last_handshake_at"]), "{meta}");
        assert_eq!((&meta["last_handshake_result"], &meta["configured"]), (&json!(result), &json!(true)), "{meta}");
    }
}

#[test]
fn the_command_prints_a_line_for_each() {
    let server = Server::start();
    server.deliver(delivery("m1"));
    server.deliver(delivery("m1"));
    server.post("/webhook", Some("zz"), "");
    let sources = |arguments: &[&str]| {
        let ended = run(program().arg("sources").args(arguments).env("LISTEN_ADDR", server.address().to_string()));
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        ended.stdout
    };
    let native = of(&server, "native");
    let instant = |name: &str| native[name].as_str().unwrap().to_owned();
    let (accepted, refused) = (instant("last_accepted_at"), instant("last_refused_at"));
    let reason = "invalid signature: not hex";
    let expected = format!(
        "source    configured  accepted  refused  last accepted             {:<51}  last handshake\n\
         native    yes                2        1  {accepted}  {refused} {reason}\n\
         standard  no                 0        0\n\
         meta      no                 0        0\n",
        "last refused"
    );
    assert_eq!(sources(&[]), expected);
    assert_eq!(sources(&["--json"]), server.get("/sources").text() + "\n");
}
