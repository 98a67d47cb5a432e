//! GET /refusals: the last requests that were refused, and what was wrong with them.

use crate::harness::{Connection, Delivery, Reply, SECRET, Server, delivery, json, sign};
use serde_json::{Value, json};

/// What is listed.
#[track_caller]
fn list(server: &Server) -> Vec<Value> {
    let reply = server.get("/refusals?limit=200");
    assert_eq!((reply.status, reply.field("Cache-Control")), (200, Some("no-store")), "{reply:?}");
    let json = reply.json();
    let data = json["data"].as_array().unwrap();
    assert_eq!(json["kept"].as_u64(), Some(data.len() as u64));
    data.clone()
}

/// The refusal that a reply is about, whole.
#[track_caller]
fn of(server: &Server, refused: &Reply) -> Value {
    let reply = server.get(&format!("/refusals/{}", refused.field("X-Request-ID").unwrap()));
    assert_eq!((reply.status, reply.field("Cache-Control")), (200, Some("no-store")), "{refused:?}: {reply:?}");
    reply.json()
}

fn diagnosis(refusal: &Value) -> String {
    let lines: Vec<&str> = refusal["diagnosis"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    lines.join("\n")
}

#[test]
fn a_refused_delivery_is_listed_and_shown_with_what_it_sent() {
    let server = Server::start();
    assert_eq!(server.get("/refusals").json(), json!({ "data": [], "kept": 0 }));
    let body = delivery("m1");
    let signature = sign("other", &body);
    let fields = [("X-Signature", signature.as_str()), ("Authorization", "Bearer secret"), ("User-Agent", "sender")];
    let refused = server.request("POST", "/webhook?key=value", &fields, body.as_bytes());
    assert_eq!(refused.status, 401);
    let listed = list(&server);
    let expected = json!([{
        "request_id": refused.field("X-Request-ID"), "at": listed[0]["at"], "client": listed[0]["client"],
        "method": "POST", "path": "/webhook", "status": 401, "reason": "invalid signature: mismatch",
        "body_bytes": body.len()
    }]);
    assert_eq!(Value::from(listed.clone()), expected);
    assert!(listed[0]["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{listed:?}");
    assert_eq!(server.log_line(&refused)["client"], listed[0]["client"]);
    let at = listed[0]["at"].as_str().unwrap();
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    let mut shown = of(&server, &refused);
    assert!(diagnosis(&shown).starts_with("the signature does not match: "), "{shown}");
    let beyond = ["signature", "body", "body_complete"].map(|name| shown.as_object_mut().unwrap().remove(name));
    assert_eq!(beyond, [json!(format!("X-Signature: {signature}")), json!(body), json!(true)].map(Some));
    shown.as_object_mut().unwrap().remove("diagnosis");
    assert_eq!(shown, listed[0]);
    assert_eq!(server.deliver(&body).status, 200);
    assert_eq!(list(&server).len(), 1, "what is accepted is not among them");
}

#[test]
fn the_diagnosis_is_that_of_verify() {
    let server = Server::start();
    let body = delivery("m1");
    for (fields, body, said) in [
        (
            vec![("X-Signature", sign(format!("{SECRET}\n"), &body))],
            &body,
            "The sender's secret has a newline at its end.",
        ),
        (vec![("X-Signature", sign(SECRET, format!("{body}\n")))], &body, "The signed body had a newline at its end."),
        (vec![("X-Signature", "zz".to_owned())], &body, "is not a hex digit"),
        (vec![("X-Signature", sign(SECRET, &body)), ("X-Signature", "zz".to_owned())], &body, "given twice"),
        (vec![], &body, "there is no X-Signature."),
        (vec![("webhook-id", "m1".to_owned())], &body, "those of Standard Webhooks, whose secret is not set"),
        (vec![("X-Hub-Signature-256", "ab".to_owned())], &body, "one of meta, which belongs to /webhook/meta"),
        (
            vec![("X-Signature", sign(SECRET, r#"{"message_id":"m1"}"#))],
            &r#"{"message_id":"m1"}"#.to_owned(),
            "the signature matches.\nbody.from: Field required.\nbody.to: Field required.\nbody.ts: Field required.",
        ),
    ] {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let refused = server.request("POST", "/webhook", &fields, body.as_bytes());
        assert_ne!(refused.status, 200);
        let shown = of(&server, &refused);
        assert!(diagnosis(&shown).contains(said), "{said}: {shown}");
    }
}

#[test]
fn of_a_long_body_the_beginning_is_kept() {
    let server = Server::start();
    for (bytes, complete) in [(8192, true), (8193, false), (100_000, false)] {
        let body = "ä".repeat(bytes / 2) + &"x".repeat(bytes % 2);
        let refused = server.post("/webhook", Some("zz"), &body);
        assert_eq!(refused.status, 401);
        let shown = of(&server, &refused);
        assert_eq!((&shown["body_complete"], &shown["body_bytes"]), (&json!(complete), &json!(bytes)));
        assert_eq!(shown["body"].as_str().unwrap(), &body[..8192]);
        assert_eq!(diagnosis(&shown).contains("are kept"), !complete, "{}", diagnosis(&shown));
    }
    let refused = server.post("/webhook", Some("zz"), b"\xff\0");
    assert_eq!(of(&server, &refused)["body"], "\u{fffd}\0");
}

#[test]
fn what_the_gate_refuses_is_among_them_with_the_reason_that_the_client_got() {
    let server = Server::with(&[("MAX_BODY_BYTES", "1000"), ("MAX_HEAD_BYTES", "1024")]);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "p".repeat(2000));
    let chunked = "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Signature: ab\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n9999\r\n";
    for (request, status, method, path, body) in [
        (
            "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n",
            413,
            json!("POST"),
            json!("/webhook"),
            "",
        ),
        (chunked, 413, json!("POST"), json!("/webhook"), "abc"),
        ("POST /webhook HTTP/1.1\r\nHost: x\r\n\r\n", 411, json!("POST"), json!("/webhook"), ""),
        ("GET /x y HTTP/1.1\r\n\r\n", 400, Value::Null, Value::Null, ""),
        ("GET / HTTP/1.1\r\n\r\n", 400, json!("GET"), json!("/"), ""),
        (&long, 431, Value::Null, Value::Null, ""),
        ("POST /hook HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 404, json!("POST"), json!("/hook"), ""),
    ] {
        let mut connection = Connection::open(server.address()).unwrap();
        connection.send(request.as_bytes()).unwrap();
        let refused = connection.read_reply("GET").unwrap();
        assert_eq!(refused.status, status, "{request}");
        let shown = of(&server, &refused);
        assert_eq!((&shown["method"], &shown["path"]), (&method, &path), "{request}: {shown}");
        assert_eq!((&shown["body"], &shown["body_complete"]), (&json!(body), &json!(false)), "{request}: {shown}");
        if status != 404 {
            assert_eq!(shown["reason"], refused.json()["detail"], "{request}: {shown}");
        }
        let reason = shown["reason"].as_str().unwrap();
        let expected = format!("the request was refused before its signature was checked: {reason}.");
        assert_eq!(diagnosis(&shown), expected, "{request}");
    }
    assert_eq!(list(&server).len(), 7);
    let source = &server.get("/sources").json()["data"][0];
    assert_eq!(source["last_refused_reason"], "request body too large", "{source}");
}

#[test]
fn a_refused_handshake_and_a_path_without_its_secret_say_what_to_set() {
    let server = Server::with(&[("META_APP_SECRET", "app"), ("META_VERIFY_TOKEN", "right")]);
    let refused = server.get("/webhook/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token=wrong");
    assert_eq!(refused.status, 403);
    let shown = of(&server, &refused);
    assert_eq!(shown["reason"], "hub.verify_token is not META_VERIFY_TOKEN");
    assert!(!shown.to_string().contains("wrong"), "the query is not kept: {shown}");
    assert!(diagnosis(&shown).contains("META_VERIFY_TOKEN"), "{shown}");
    let server = Server::start();
    let refused = server.post("/webhook/meta", None, "{}");
    assert_eq!(refused.status, 404);
    assert!(diagnosis(&of(&server, &refused)).contains("META_APP_SECRET is not set"));
}

#[test]
fn the_newest_come_first_and_the_oldest_go() {
    let server = Server::with(&[("KEEP_REFUSED", "3")]);
    let refused: Vec<Reply> = (0..5).map(|number| server.post("/webhook", Some("zz"), number.to_string())).collect();
    let ids: Vec<&str> = refused.iter().rev().map(|reply| reply.field("X-Request-ID").unwrap()).collect();
    let listed: Vec<Value> = list(&server).iter().map(|refusal| refusal["request_id"].clone()).collect();
    assert_eq!(listed, ids[..3]);
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(server.get(&format!("/refusals/{id}")).status, if index < 3 { 200 } else { 404 });
    }
    let page = server.get("/refusals?limit=1").json();
    assert_eq!((&page["data"][0]["request_id"], &page["kept"]), (&json!(ids[0]), &json!(3)));
    assert_eq!(server.get("/refusals/x").json(), json!({ "detail": server.get("/refusals/y").json()["detail"] }));
    for (limit, status) in [("1", 200), ("200", 200), ("0", 422), ("201", 422), ("x", 422)] {
        assert_eq!(server.get(&format!("/refusals?limit={limit}")).status, status, "{limit}");
    }
}

#[test]
fn with_keep_refused_at_0_nothing_is_kept() {
    let server = Server::with(&[("KEEP_REFUSED", "0")]);
    assert_eq!(server.post("/webhook", Some("zz"), "x").status, 401);
    assert!(list(&server).is_empty());
}

#[test]
fn a_delivery_that_could_not_be_stored_is_listed_without_its_body() {
    let server = Server::start();
    let body = Delivery { text: Some("private".to_owned()), ..Delivery::of("m1") }.body();
    server.limit_file_size(Some(0));
    let refused = server.deliver(&body);
    assert_eq!(refused.status, 503);
    let shown = of(&server, &refused);
    assert_eq!((&shown["body"], &shown["body_bytes"]), (&json!(""), &json!(body.len())), "{shown}");
    assert_eq!((&shown["body_complete"], json(&shown.to_string())["status"].as_u64()), (&json!(false), Some(503)));
    assert!(diagnosis(&shown).contains("could not store it"), "{shown}");
}
