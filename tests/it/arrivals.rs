//! GET /arrivals: in the order in which messages came, whatever their senders' clocks say.

use crate::harness::{
    Database, Delivery, Directory, Reply, Server, database_url, delivery, encoded, ids, program, run,
};
use serde_json::{Value, json};

/// Delivers messages with these ids, one after the other.
#[track_caller]
fn deliver(server: &Server, ids: &[&str]) {
    for id in ids {
        let reply = server.deliver(delivery(id));
        assert_eq!(reply.status, 200, "reply: {reply:?}");
    }
}

/// The message_ids of a page, with `next`.
#[track_caller]
fn page(server: &Server, query: &str) -> (Vec<String>, String) {
    let reply = server.get(&format!("/arrivals?{query}"));
    assert_eq!(reply.status, 200, "{query}\nreply: {reply:?}");
    (message_ids(&reply), next(&reply))
}

fn message_ids(reply: &Reply) -> Vec<String> {
    ids(reply.json()["data"].as_array().expect("data is an array"))
}

fn next(reply: &Reply) -> String {
    reply.json()["next"].as_str().expect("next is text").to_owned()
}

/// The target of the `Link` with that relation.
pub(crate) fn link(reply: &Reply, relation: &str) -> Option<String> {
    let rest = reply.field("Link")?.strip_prefix('<')?;
    Some(rest.strip_suffix(&format!(">; rel=\"{relation}\""))?.to_owned())
}

#[test]
fn an_arrival_has_these_fields() {
    let server = Server::start();
    deliver(&server, &["m1"]);
    server.deliver(Delivery { text: None, ..Delivery::of("m2") }.body());
    let body = server.get("/arrivals").json();
    let received = |index: usize| body["data"][index]["received_at"].as_str().expect("an instant").to_owned();
    assert!(received(0).ends_with('Z') && received(0) <= received(1), "{body}");
    let right = json!({
        "data": [
            {"seq": 1, "message_id": "m1", "from": "+919876543210", "to": "+14155550100", "ts": "2025-01-15T10:00:00Z",
             "text": "Hello", "type": "text", "source": "native", "from_id": null, "profile_name": null,
             "received_at": received(0)},
            {"seq": 2, "message_id": "m2", "from": "+919876543210", "to": "+14155550100", "ts": "2025-01-15T10:00:00Z",
             "text": null, "type": "message", "source": "native", "from_id": null, "profile_name": null,
             "received_at": received(1)},
        ],
        "next": "2", "oldest": 1, "changes": 0,
    });
    assert_eq!(body, right);
    let mut one = right["data"][1].clone();
    for absent in ["channel", "context", "raw"] {
        one[absent] = Value::Null;
    }
    assert_eq!(server.get("/arrivals/2").json(), one);
    assert_eq!(server.get("/arrivals/3").text(), r#"{"detail":"there is no message with this seq"}"#);
    assert_eq!(server.get("/arrivals/3").status, 404);
}

#[test]
fn an_empty_inbox_has_a_cursor_to_begin_with() {
    let server = Server::start();
    for query in ["", "?after=0", "?after=now", "?before=1", "?before=0", "?q=x"] {
        let reply = server.get(&format!("/arrivals{query}"));
        assert_eq!(reply.text(), r#"{"data":[],"next":"0","oldest":1,"changes":0}"#, "{query}");
        assert_eq!(reply.field("Link"), None, "{query}");
    }
}

#[test]
fn the_order_is_that_of_arrival() {
    let server = Server::start();
    for (id, ts) in [("m1", "2025-01-15T10:00:02Z"), ("m3", "2025-01-15T10:00:01Z"), ("m2", "2025-01-15T10:00:00Z")] {
        server.deliver(Delivery { ts: ts.to_owned(), ..Delivery::of(id) }.body());
        server.deliver(Delivery { ts: ts.to_owned(), ..Delivery::of("m1") }.body()); // again, which is no arrival
    }
    assert_eq!(page(&server, ""), (vec!["m1".into(), "m3".into(), "m2".into()], "3".into()));
}

#[test]
fn a_cursor_divides_the_order() {
    let server = Server::start();
    deliver(&server, &["m1", "m2", "m3", "m4", "m5"]);
    for (query, found, next) in [
        ("", "m1 m2 m3 m4 m5", "5"),
        ("limit=2", "m4 m5", "5"),
        ("after=0", "m1 m2 m3 m4 m5", "5"),
        ("after=0&limit=2", "m1 m2", "2"),
        ("after=2&limit=2", "m3 m4", "4"),
        ("after=4&limit=2", "m5", "5"),
        ("after=3&limit=2", "m4 m5", "5"),
        ("after=5", "", "5"),
        ("after=now", "", "5"),
        ("before=6&limit=2", "m4 m5", "5"),
        ("before=4&limit=2", "m2 m3", "3"),
        ("before=2", "m1", "1"),
        ("before=1", "", "0"),
        ("before=1000", "m1 m2 m3 m4 m5", "5"),
    ] {
        let right: Vec<String> = found.split_whitespace().map(str::to_owned).collect();
        assert_eq!(page(&server, query), (right, next.to_owned()), "{query}");
    }
}

#[test]
fn links_lead_through_all_and_end() {
    let server = Server::start();
    let all: Vec<String> = (0..25).map(|index| format!("m{index}")).collect();
    for id in &all {
        let text = if id.ends_with('7') { "Grüße" } else { "other" };
        server.deliver(Delivery { text: Some(text.to_owned()), ..Delivery::of(id) }.body());
    }
    for (query, relation, right) in [
        ("after=0&limit=4", "next", all.clone()),
        ("limit=4", "prev", all.clone()),
        ("limit=25&after=0", "next", all.clone()),
        ("limit=1&after=0&q=GR%C3%9C%C3%9FE", "next", vec!["m7".to_owned(), "m17".to_owned()]),
        ("limit=1&q=GR%C3%9C%C3%9FE", "prev", vec!["m7".to_owned(), "m17".to_owned()]),
    ] {
        let (mut found, mut target, mut pages) = (Vec::new(), Some(format!("/arrivals?{query}")), 0);
        while let Some(at) = target {
            let reply = server.get(&at);
            let ids = message_ids(&reply);
            if relation == "next" {
                found.extend(ids)
            } else {
                found.splice(0..0, ids).for_each(drop)
            }
            target = link(&reply, relation);
            assert_eq!(reply.field("Link").is_some(), target.is_some(), "{at}\nreply: {reply:?}");
            pages += 1;
        }
        assert_eq!(found, right, "{query}");
        let limit: usize = query.split("limit=").nth(1).and_then(|rest| rest.split('&').next()?.parse().ok()).unwrap();
        assert_eq!(pages, right.len().div_ceil(limit), "{query}: the last page has no link");
    }
}

#[test]
fn filters_choose_which() {
    let server = Server::start();
    for (id, from, ts, text) in [
        ("m1", "+1", "2025-01-15T10:00:00Z", Some("Refund, please")),
        ("m2", "+2", "2025-01-15T09:00:00.5Z", Some("hello")),
        ("m3", "+1", "2025-01-15T11:00:00Z", None),
        ("m4", "+2", "2025-01-15T09:00:00Z", Some("REFUND")),
    ] {
        let text = text.map(str::to_owned);
        let body = Delivery { from: from.to_owned(), ts: ts.to_owned(), text, ..Delivery::of(id) }.body();
        server.deliver(body);
    }
    for (filter, found) in [
        ("from=%2B1", "m1 m3"),
        ("from=+1", "m1 m3"),
        ("from=1", ""),
        ("since=2025-01-15T09:00:00.5Z", "m1 m2 m3"),
        ("q=refund", "m1 m4"),
        ("q=", "m1 m2 m3 m4"),
        ("type=text", "m1 m2 m4"),
        ("type=message", "m3"),
        ("type=Text", ""),
        ("source=native", "m1 m2 m3 m4"),
        ("source=other", ""),
        ("from_id=x", ""),
        ("message_id=m3", "m3"),
        ("message_id=m5", ""),
        ("message_id=m3&type=text", ""),
        ("q=refund&from=%2B2&type=text&source=native&since=2025-01-15T00:00:00Z&unknown=x", "m4"),
    ] {
        let right: Vec<String> = found.split_whitespace().map(str::to_owned).collect();
        for place in ["", "&after=0", "&before=9"] {
            assert_eq!(page(&server, &format!("{filter}{place}")), (right.clone(), "4".to_owned()), "{filter}{place}");
        }
    }
    assert_eq!(page(&server, "message_id=m3&after=3").0, Vec::<String>::new());
}

#[test]
fn wrong_parameters_are_422_and_named() {
    let server = Server::start();
    for (query, named) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("after=x", "after"),
        ("after=-1", "after"),
        ("before=now", "before"),
        ("after=0&before=1", "before"),
        ("since=today", "since"),
    ] {
        let reply = server.get(&format!("/arrivals?{query}"));
        assert_eq!(reply.status, 422, "{query}\nreply: {reply:?}");
        assert_eq!(reply.json()["detail"][0]["loc"], json!(["query", named]), "{query}");
    }
}

#[test]
fn what_is_deleted_leaves_a_gap_and_its_number_is_not_given_again() {
    let server = Server::start();
    deliver(&server, &["m1", "m2"]);
    server.deliver(Delivery { from: "+7".to_owned(), ..Delivery::of("m3") }.body());
    let erase = |from: &str| {
        let url = database_url(&server.database());
        let ended = run(program().env("DATABASE_URL", url).args(["erase", "--from", from]));
        assert!(ended.status.success(), "{ended:?}");
    };
    erase("+7");
    let body = server.get("/arrivals?after=0").json();
    assert_eq!((&body["next"], &body["oldest"], &body["changes"]), (&json!("3"), &json!(1), &json!(1)), "{body}");
    deliver(&server, &["m4"]);
    assert_eq!(server.get("/arrivals?after=3").json()["data"][0]["seq"], 4);
    server.deliver(Delivery { from: "+7".to_owned(), ..Delivery::of("m5") }.body());
    erase("+919876543210");
    let body = server.get("/arrivals?after=1").json();
    assert_eq!((&body["oldest"], &body["changes"]), (&json!(5), &json!(4)), "{body}");
    assert_eq!(ids(body["data"].as_array().expect("data is an array")), ["m5"]);
    erase("+7");
    assert_eq!(server.get("/arrivals").json(), json!({"data": [], "next": "5", "oldest": 6, "changes": 5}));
}

#[test]
fn a_cursor_ahead_of_the_database_is_gone() {
    let server = Server::start();
    deliver(&server, &["m1", "m2"]);
    let backup = server.directory().join("backup.db");
    let url = database_url(&server.database());
    let ended = run(program().env("DATABASE_URL", url).arg("backup").arg(&backup));
    assert!(ended.status.success(), "{ended:?}");
    deliver(&server, &["m3"]);
    let (_, cursor) = page(&server, "after=now");
    let directory = Directory::new();
    std::fs::rename(&backup, directory.database()).expect("both are in the directory for temporary files");
    let restored = Server::in_directory(directory, &[]);
    let reply = restored.get(&format!("/arrivals?after={cursor}"));
    assert_eq!(reply.status, 410, "reply: {reply:?}");
    assert_eq!(reply.text(), r#"{"detail":"this cursor is ahead of the database; begin without after"}"#);
    assert_eq!(page(&restored, "after=2"), (vec![], "2".to_owned()));
}

#[test]
fn rows_of_another_program_are_arrivals_too() {
    let server = Server::start();
    deliver(&server, &["m1"]);
    let mut database = Database::open(server.database());
    database.insert_all(&[Delivery { text: Some("from outside".to_owned()), ..Delivery::of("x") }]);
    deliver(&server, &["m2"]);
    assert_eq!(page(&server, "after=1").0, ["x", "m2"]);
    assert_eq!(page(&server, &format!("after=0&q={}", encoded("OUTSIDE"))).0, ["x"]);
    let body: Value = server.get("/arrivals/2").json();
    assert_eq!(body["received_at"], "2025-01-15T10:00:01Z", "as it was stored");
}
