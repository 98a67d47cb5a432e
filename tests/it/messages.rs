//! GET /messages: which messages, in which order, and how the pages lead from one to the next.

use crate::harness::{Connection, Database, Delivery, Directory, RaisedOnDrop, Server, encoded, ids};
use fastrand::Rng;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

fn at(id: &str, ts: &str) -> Delivery {
    Delivery { ts: ts.to_owned(), ..Delivery::of(id) }
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(Delivery::body).collect()
}

#[test]
fn a_page_has_exactly_the_members_of_the_contract() {
    let server = Server::start();
    let reply = server.get("/messages");
    assert_eq!(reply.text(), r#"{"data":[],"total":0,"limit":50,"offset":0}"#);
    assert_eq!(reply.field("Content-Type"), Some("application/json"));
    assert_eq!(reply.field("Link"), None);
    server.deliver(Delivery::of("m1").body());
    server.deliver(Delivery { text: None, ..at("m2", "2025-01-15T10:00:01Z") }.body());
    assert_eq!(
        server.get("/messages?limit=2&offset=0").text(),
        r#"{"data":[{"message_id":"m1","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:00Z","text":"Hello"},{"message_id":"m2","from":"+919876543210","to":"+14155550100","ts":"2025-01-15T10:00:01Z","text":null}],"total":2,"limit":2,"offset":0}"#
    );
}

#[test]
fn each_parameter_is_taken_within_its_rule_and_refused_beyond() {
    let server = Server::start();
    for (query, wrong) in [
        ("", &[][..]),
        ("limit=1", &[]),
        ("limit=100", &[]),
        ("limit=001", &[]),
        ("limit=0", &["limit"]),
        ("limit=101", &["limit"]),
        ("limit=-1", &["limit"]),
        ("limit=", &["limit"]),
        ("limit", &["limit"]),
        ("limit=5.0", &["limit"]),
        ("limit=5x", &["limit"]),
        ("limit=+5", &["limit"]),
        ("limit=%205", &["limit"]),
        ("limit=1e1", &["limit"]),
        ("limit=0x5", &["limit"]),
        ("limit=%D9%A5", &["limit"]),
        ("limit=99999999999999999999999999", &["limit"]),
        ("offset=0", &[]),
        ("offset=9223372036854775807", &[]),
        ("offset=9223372036854775808", &["offset"]),
        ("offset=-1", &["offset"]),
        ("offset=", &["offset"]),
        ("offset=x", &["offset"]),
        ("from=anything", &[]),
        ("from=", &[]),
        ("since=2025-01-15T10:00:00Z", &[]),
        ("since=2025-01-15T10%3A00%3A00.123456789Z", &[]),
        ("since=2025-01-15T10:00:00", &["since"]),
        ("since=2025-01-15T10:00:00%2B00:00", &["since"]),
        ("since=2025-02-30T10:00:00Z", &["since"]),
        ("since=2025-01-15T10:00:60Z", &["since"]),
        ("since=2025-01-15", &["since"]),
        ("since=", &["since"]),
        ("q=", &[]),
        ("q=%FF%FE", &[]),
        ("q=%", &[]),
        ("q=%zz", &[]),
        ("after=", &["after"]),
        ("after=x", &["after"]),
        ("after=1.2.3.4", &[]),
        ("unknown=1&limits=0&LIMIT=0&=&&", &[]),
        ("limit=0&offset=-1&since=x&after=x", &["limit", "offset", "since", "after"]),
    ] {
        let reply = server.get(&format!("/messages?{query}"));
        assert_eq!(reply.status, if wrong.is_empty() { 200 } else { 422 }, "{query}\nreply: {reply:?}");
        let reply = reply.json();
        let entries = reply["detail"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut located: Vec<&str> = entries.iter().filter_map(|entry| entry["loc"][1].as_str()).collect();
        located.sort_by_key(|name| wrong.iter().position(|known| known == name));
        assert_eq!(located, wrong, "{query}\nreply: {reply}");
        for entry in entries {
            assert_eq!(entry["loc"][0], "query", "{query}: {entry}");
            assert!(entry["msg"].is_string() && entry["type"].is_string(), "{query}: {entry}");
            assert_eq!(entry.as_object().map(|entry| entry.len()), Some(3), "{query}: {entry}");
        }
    }
}

#[test]
fn a_cursor_and_an_offset_exclude_each_other() {
    let server = Server::start();
    server.deliver_all(&bodies(&["m1", "m2", "m3"].map(Delivery::of)), 1);
    let next = server.get("/messages?limit=1").next().expect("there are more");
    assert_eq!(server.get(&next).status, 200);
    for offset in ["0", "1"] {
        let reply = server.get(&format!("{next}&offset={offset}"));
        assert_eq!(reply.status, 422, "offset={offset}\nreply: {reply:?}");
        assert_eq!(reply.json()["detail"][0]["loc"], json!(["query", "offset"]));
    }
}

#[test]
fn messages_are_ordered_by_instant_and_then_by_the_bytes_of_the_message_id() {
    let server = Server::start();
    let ordered = [
        at("z", "0001-01-01T00:00:00Z"),
        at("y", "1969-12-31T23:59:59.999999999Z"),
        at("x", "1970-01-01T00:00:00Z"),
        at("w", "2025-01-15T09:59:59.999999999Z"),
        at("B", "2025-01-15T10:00:00Z"),
        at("a", "2025-01-15T10:00:00.000Z"),
        at("a ", "2025-01-15T10:00:00Z"),
        at("aa", "2025-01-15T10:00:00.0Z"),
        at("b", "2025-01-15T10:00:00.000000000Z"),
        at("é", "2025-01-15T10:00:00Z"),
        at("ﬀ", "2025-01-15T10:00:00Z"), // U+FB00: before U+1F980 in UTF-8, and behind it in UTF-16
        at("🦀", "2025-01-15T10:00:00Z"),
        at("0", "2025-01-15T10:00:00.000000001Z"),
        at("/", "2025-01-15T10:00:00.000000002Z"),
        at("-", "2025-01-15T10:00:00.000001Z"),
        at(",", "2025-01-15T10:00:00.5Z"),
        at("+", "2025-01-15T10:00:01Z"),
        at("*", "9999-12-31T23:59:59.999999999Z"),
    ];
    let mut sent = bodies(&ordered);
    Rng::with_seed(1).shuffle(&mut sent);
    server.deliver_all(&sent, 1);
    let expected: Vec<Value> = ordered.iter().map(|delivery| json!(delivery)).collect();
    for query in ["limit=100", "limit=1", "limit=4", "limit=2&from=%2B919876543210", "limit=3&q=hello"] {
        assert_eq!(server.items(query), expected, "{query}");
    }
    for (offset, item) in expected.iter().enumerate() {
        assert_eq!(server.get(&format!("/messages?limit=1&offset={offset}")).json()["data"][0], *item, "{offset}");
    }
}

#[test]
fn since_is_inclusive_to_the_nanosecond() {
    let server = Server::start();
    server.deliver_all(
        &bodies(&[
            at("a", "2025-01-15T09:59:59Z"),
            at("b", "2025-01-15T10:00:00Z"),
            at("c", "2025-01-15T10:00:00.000000001Z"),
            at("d", "2025-01-15T10:00:00.5Z"),
            at("e", "2025-01-15T11:00:00Z"),
        ]),
        1,
    );
    for (since, expected) in [
        ("0001-01-01T00:00:00Z", "abcde"),
        ("2025-01-15T09:59:59Z", "abcde"),
        ("2025-01-15T09:59:59.000000001Z", "bcde"),
        ("2025-01-15T10:00:00Z", "bcde"),
        ("2025-01-15T10:00:00.000000000Z", "bcde"),
        ("2025-01-15T10:00:00.000000001Z", "cde"),
        ("2025-01-15T10:00:00.000000002Z", "de"),
        ("2025-01-15T10:00:00.49Z", "de"),
        ("2025-01-15T10:00:00.50Z", "de"),
        ("2025-01-15T10:00:00.500000001Z", "e"),
        ("2025-01-15T11:00:00Z", "e"),
        ("2025-01-15T11:00:00.1Z", ""),
        ("9999-12-31T23:59:59.999999999Z", ""),
    ] {
        for others in ["", "&from=%2B919876543210", "&q=hell", "&q=hell&from=%2B919876543210"] {
            let page = server.get(&format!("/messages?since={since}{others}")).json();
            let found = ids(page["data"].as_array().unwrap()).concat();
            assert_eq!((found.as_str(), &page["total"]), (expected, &json!(expected.len())), "{since}{others}");
        }
    }
}

#[test]
fn from_is_the_exact_sender_however_its_plus_is_sent() {
    let server = Server::start();
    let from = |id: &str, from: &str| Delivery { from: from.to_owned(), ..Delivery::of(id) };
    server.deliver_all(&bodies(&[from("a", "+1"), from("b", "+12"), from("c", "+1")]), 1);
    for (query, expected) in [
        ("from=%2B1", vec!["a", "c"]),
        ("from=%2b1", vec!["a", "c"]),
        ("from=+1", vec!["a", "c"]),
        ("from=%201", vec!["a", "c"]),
        ("fr%6Fm=%2B%31%32", vec!["b"]),
        ("from=1", vec![]),
        ("from=%2B", vec![]),
        ("from=%2B1%25", vec![]),
        ("from=%2B123", vec![]),
        ("from=", vec![]),
        ("from=%2B12&from=%2B1", vec!["a", "c"]),
    ] {
        let page = server.get(&format!("/messages?{query}")).json();
        assert_eq!(ids(page["data"].as_array().unwrap()), expected, "{query}");
        assert_eq!(page["total"], expected.len(), "{query}");
    }
}

#[test]
fn q_is_a_substring_in_any_script_without_regard_to_case_and_nothing_is_a_wildcard() {
    let server = Server::start();
    let texts = [
        ("cyrillic", Some("Привет, олег!")),
        ("latin", Some("Say HELLO to Ängström")),
        ("percent", Some("100% sure")),
        ("underscore", Some("snake_case")),
        ("quote", Some("it's \"quoted\"")),
        ("backslash", Some(r"C:\temp")),
        ("hindi", Some("नमस्ते दुनिया")),
        ("chinese", Some("你好，世界")),
        ("greek", Some("ΟΔΟΣ")),
        ("crab", Some("rust 🦀")),
        ("nul", Some("a\u{0}b")),
        ("empty", Some("")),
        ("null", None),
    ];
    let deliveries: Vec<Delivery> =
        texts.iter().map(|(id, text)| Delivery { text: text.map(str::to_owned), ..Delivery::of(id) }).collect();
    server.deliver_all(&bodies(&deliveries), 1);
    let all: Vec<&str> = texts.iter().map(|(id, _)| *id).collect();
    let cases: [(&str, &[&str]); 34] = [
        ("ОЛЕГ", &["cyrillic"]),
        ("олег", &["cyrillic"]),
        ("ПРИВЕТ, О", &["cyrillic"]),
        ("hello", &["latin"]),
        ("HeLLo", &["latin"]),
        ("ängSTRÖM", &["latin"]),
        ("angstrom", &[]),
        ("%", &["percent"]),
        ("0% S", &["percent"]),
        ("1%s", &[]),
        ("%%", &[]),
        ("_", &["underscore"]),
        ("e_c", &["underscore"]),
        ("s_ake", &[]),
        ("'", &["quote"]),
        ("IT'S", &["quote"]),
        ("''", &[]),
        ("' OR 1=1 --", &[]),
        ("\"Q", &["quote"]),
        ("\\", &["backslash"]),
        (r"c:\T", &["backslash"]),
        (r"\\", &[]),
        ("नमस्ते", &["hindi"]),
        ("世界", &["chinese"]),
        ("οδος", &["greek"]),
        ("οδοσ", &["greek"]),
        ("🦀", &["crab"]),
        ("T 🦀", &["crab"]),
        ("\u{0}", &["nul"]),
        ("A\u{0}B", &["nul"]),
        ("*", &[]),
        ("?", &[]),
        ("null", &[]),
        ("", &all),
    ];
    for (q, expected) in cases {
        let page = server.get(&format!("/messages?q={}", encoded(q))).json();
        let mut found = ids(page["data"].as_array().unwrap());
        found.sort_by_key(|id| all.iter().position(|known| known == id));
        assert_eq!(found, expected, "{q:?}");
        assert_eq!(page["total"], expected.len(), "{q:?}");
    }
    let page = server.get("/messages?q=rust+%F0%9F%A6%80").json();
    assert_eq!(page["total"], 1, "a plus stands for a space in q");
}

#[test]
fn the_links_lead_through_every_message_exactly_once() {
    let server = Server::start();
    let deliveries: Vec<Delivery> = (0..101)
        .map(|index| Delivery {
            from: format!("+{}", index % 2),
            text: (index % 3 > 0).then(|| "a & b = 100 %; \"c\" > d".to_owned()),
            ..at(&format!("m {index:03} é%&+=>\"<,;"), &format!("2025-01-15T10:00:0{}Z", index % 5))
        })
        .collect();
    server.deliver_all(&bodies(&deliveries), 4);
    let mut ordered: Vec<&Delivery> = deliveries.iter().collect();
    ordered.sort_by_key(|delivery| (&delivery.ts, &delivery.message_id));
    let since = "2025-01-15T10:00:02Z";
    for from in [None, Some("+1")] {
        for since in [None, Some(since)] {
            for q in [None, Some("B = 100 %; \"c\" >")] {
                let expected: Vec<String> = ordered
                    .iter()
                    .filter(|d| from.is_none_or(|from| d.from == from))
                    .filter(|d| since.is_none_or(|since| d.ts.as_str() >= since))
                    .filter(|d| q.is_none() || d.text.is_some())
                    .map(|d| d.message_id.clone())
                    .collect();
                let given = [("from", from), ("since", since), ("q", q)];
                let given = given.iter().filter_map(|(name, value)| Some(format!("&{name}={}", encoded((*value)?))));
                let given: String = given.collect();
                for limit in [1, 7, expected.len() - 1, expected.len(), 100] {
                    let query = format!("limit={}{given}", limit.min(100));
                    assert_eq!(ids(&server.items(&query)), expected, "{query}");
                }
            }
        }
    }
}

#[test]
fn a_link_is_there_exactly_when_there_are_more_messages() {
    let server = Server::start();
    server.deliver_all(&bodies(&["m1", "m2", "m3"].map(Delivery::of)), 1);
    for (query, more) in [
        ("limit=2", true),
        ("limit=3", false),
        ("limit=4", false),
        ("limit=2&offset=1", false),
        ("limit=1&offset=1", true),
        ("limit=1&offset=3", false),
        ("limit=2&q=hello", true),
        ("limit=3&q=hello", false),
        ("limit=2&from=%2B919876543210", true),
        ("limit=3&from=%2B919876543210", false),
    ] {
        let reply = server.get(&format!("/messages?{query}"));
        assert_eq!(reply.field("Link").is_some(), more, "{query}\nreply: {reply:?}");
        let Some(next) = reply.next() else { continue };
        assert!(next.starts_with("/messages?") && next.contains("after="), "{next}");
        let page = server.get(&next).json();
        assert_eq!((&page["total"], &page["offset"]), (&json!(3), &json!(0)), "{next}");
    }
}

/// The service skips at most 16,384 index entries in one hold, and sorts at most 1,024 messages of one instant.
#[test]
fn deep_offsets_are_exact_even_when_thousands_of_messages_share_one_instant() {
    let directory = Directory::new();
    let mut deliveries: Vec<Delivery> =
        (0..5_000).map(|index| at(&format!("same {index:04}"), "2025-01-15T10:00:00.123456789Z")).collect();
    deliveries.extend((0..5_000).map(|index| {
        let from = format!("+{}", index % 2);
        let ts = format!("2025-01-15T{:02}:{:02}:{:02}Z", 11 + index / 3600, index / 60 % 60, index % 60);
        Delivery { from, ..at(&format!("late {index:04}"), &ts) }
    }));
    Database::original(&directory).insert_all(&deliveries);
    let server = Server::in_directory(directory, &[]);
    for (filter, matching) in [
        ("", deliveries.iter().collect::<Vec<_>>()),
        ("&from=%2B919876543210", deliveries.iter().take(5_000).collect()),
        ("&from=%2B1", deliveries.iter().filter(|d| d.from == "+1").collect()),
        ("&since=2025-01-15T10:30:00Z", deliveries.iter().skip(5_000).collect()),
        ("&since=2025-01-15T10:00:00.123456789Z&from=%2B919876543210", deliveries.iter().take(5_000).collect()),
        ("&q=hello", deliveries.iter().collect()),
    ] {
        let total = matching.len();
        for offset in [0, 1, 2_499, 4_094, 4_095, 4_096, 4_097, 4_999, 5_000, 5_001, 8_191, 8_192, 9_095, 9_999] {
            let page = server.get(&format!("/messages?limit=3&offset={offset}{filter}")).json();
            let expected: Vec<&str> = matching.iter().skip(offset).take(3).map(|d| d.message_id.as_str()).collect();
            assert_eq!(ids(page["data"].as_array().unwrap()), expected, "offset={offset}{filter}");
            assert_eq!((&page["total"], &page["offset"]), (&json!(total), &json!(offset)), "{filter}");
        }
        for offset in ["10000", "10001", "1000000", "9223372036854775806", "9223372036854775807"] {
            let reply = server.get(&format!("/messages?limit=100&offset={offset}{filter}"));
            if filter == "&q=hello" && offset != "10000" {
                assert_eq!(reply.status, 422, "{offset}");
                let detail = &reply.json()["detail"][0];
                assert_eq!(detail["loc"], json!(["query", "offset"]), "{detail}");
                assert!(detail["msg"].as_str().is_some_and(|msg| msg.contains("after")), "{detail}");
                continue;
            }
            let page = reply.json();
            assert_eq!((&page["data"], &page["total"]), (&json!([]), &json!(total)), "offset={offset}{filter}");
            assert_eq!(page["offset"].to_string(), offset);
            assert_eq!(reply.field("Link"), None, "reply: {reply:?}");
        }
    }
}

/// The longest that a delivery may have; percent-encoded it is three times as long.
#[test]
fn a_message_id_however_long_leads_to_the_next_page() {
    let server = Server::start();
    let long = |character: &str, last: &str| character.repeat(1_020 / character.len()) + last;
    let mut expected: Vec<String> = ["a", "b", "c"].iter().map(|last| long("x", last)).collect();
    expected.extend(["a", "b", "cdef"].iter().map(|last| long("🦀", last)));
    expected.sort_unstable();
    let deliveries: Vec<Delivery> = expected.iter().map(|id| Delivery::of(id)).collect();
    server.deliver_all(&bodies(&deliveries), 1);
    for query in ["limit=1", "limit=2", "limit=1&q=hello", "limit=1&from=%2B919876543210"] {
        assert!(ids(&server.items(query)) == expected, "{query}");
        let link = server.get(&format!("/messages?{query}")).next().expect("there are more");
        assert!(link.len() < 8_000, "a target of {} bytes is more than many servers take", link.len());
    }
}

/// A cursor says which message was the last, so nothing that arrives shifts the pages behind it.
#[test]
fn messages_that_arrive_meanwhile_are_neither_repeated_nor_make_others_be_skipped() {
    let server = Server::start();
    let message = |prefix: &str, index: u32| {
        let mut rng = Rng::with_seed(u64::from(index) + prefix.len() as u64);
        Delivery {
            from: format!("+{}", rng.u8(1..3)),
            text: rng.bool().then(|| "HeLLo".to_owned()),
            ..at(&format!("{prefix}{index:05}"), &format!("2025-01-15T10:00:{:02}Z", rng.u8(0..20)))
        }
    };
    let before: Vec<Delivery> = (0..400).map(|index| message("old", index)).collect();
    server.deliver_all(&bodies(&before), 8);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _done = RaisedOnDrop(&done);
        scope.spawn(|| {
            let mut connection = Connection::open(server.address()).expect("the server accepts");
            // Bounded, because a walk that is slower than ingest would never come to an end.
            for index in 0..400 {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let reply = connection.deliver(&message("new", index).body()).expect("the server answers");
                assert_eq!(reply.status, 200, "reply: {reply:?}");
            }
        });
        for (filter, matches) in [
            ("", (|_: &Delivery| true) as fn(&Delivery) -> bool),
            ("&from=%2B1", |d| d.from == "+1"),
            ("&q=hello", |d| d.text.is_some()),
            ("&since=2025-01-15T10:00:07Z", |d| d.ts.as_str() >= "2025-01-15T10:00:07Z"),
            ("&since=2025-01-15T10:00:07Z&from=%2B2&q=ell", |d| {
                d.from == "+2" && d.text.is_some() && d.ts.as_str() >= "2025-01-15T10:00:07Z"
            }),
        ] {
            let items = server.items(&format!("limit=29{filter}"));
            let places: Vec<_> =
                items.iter().map(|item| (item["ts"].to_string(), item["message_id"].to_string())).collect();
            assert!(places.is_sorted_by(|a, b| a < b), "{filter}: repeated or out of order: {places:?}");
            let mut old: Vec<_> = ids(&items).into_iter().filter(|id| id.starts_with("old")).collect();
            old.sort_unstable();
            let expected: Vec<_> = before.iter().filter(|d| matches(d)).map(|d| d.message_id.clone()).collect();
            assert_eq!(old, expected, "{filter}");
        }
    });
}

#[test]
fn a_cursor_whose_message_was_deleted_still_leads_on() {
    let server = Server::start();
    server.deliver_all(&bodies(&["m1", "m2", "m3"].map(Delivery::of)), 1);
    let next = server.get("/messages?limit=2").next().expect("there are more");
    let database = Database::open(server.database());
    database.run("DELETE FROM messages WHERE message_id = 'm2'");
    assert_eq!(ids(server.get(&next).json()["data"].as_array().unwrap()), ["m3"]);
}

/// Searches may be refused with 503 when too many are under way (DESIGN.md); none is answered wrongly, and ingest and
/// the other reads go on.
#[test]
fn many_searches_at_once_are_answered_rightly_or_with_503_and_hold_up_nothing() {
    let directory = Directory::new();
    let deliveries: Vec<Delivery> = (0..3_000)
        .map(|index| Delivery { text: Some(format!("text {index}")), ..Delivery::of(&format!("m{index:04}")) })
        .collect();
    Database::original(&directory).insert_all(&deliveries);
    let server = Server::in_directory(directory, &[("WORKERS", "8")]);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let mut connection = Connection::open(server.address()).expect("the server accepts");
                for round in 0..10 {
                    let index = 1_000 + number * 100 + round;
                    let target = format!("/messages?q=TEXT+{index}&limit=5");
                    let reply = connection.request("GET", &target, &[], b"");
                    match reply.status {
                        200 => assert_eq!(reply.json()["total"], 1, "{target}"),
                        503 => assert!(reply.field("Retry-After").is_some(), "reply: {reply:?}"),
                        _ => panic!("{target}\nreply: {reply:?}"),
                    }
                }
            });
        }
        for index in 0..50 {
            assert_eq!(server.deliver(Delivery::of(&format!("new {index}")).body()).status, 200);
            assert_eq!(server.get("/stats").json()["total_messages"], 3_001 + index);
        }
    });
    assert_eq!(server.get("/messages?q=text+2999").json()["total"], 1, "the searches that were refused are forgotten");
}

/// A message of the model, with its instant as nanoseconds since the month began.
struct Known {
    delivery: Delivery,
    instant: u64,
    /// The text without regard to case.
    folded: Option<String>,
}

/// January 2025, so that the model needs no calendar.
fn instant(rng: &mut Rng) -> (String, u64) {
    let (day, hour, minute) = (rng.u64(14..=16), rng.u64(0..24), if rng.bool() { 0 } else { rng.u64(0..60) });
    let second = rng.u64(0..2);
    let digits = rng.usize(0..=9);
    let fraction: String = (0..digits).map(|_| if rng.u8(0..3) == 0 { rng.digit(10) } else { '0' }).collect();
    let nanoseconds: u64 = format!("{fraction:0<9}").parse().unwrap_or(0);
    let seconds = ((day * 24 + hour) * 60 + minute) * 60 + second;
    let dot = if digits == 0 { "" } else { "." };
    (
        format!("2025-01-{day:02}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}Z"),
        seconds * 1_000_000_000 + nanoseconds,
    )
}

/// Characters whose lower case does not depend on their neighbours, so that `to_lowercase` is the whole of folding.
fn random_text(rng: &mut Rng, length_max: usize) -> String {
    const POOL: [char; 16] = ['a', 'A', 'b', 'B', 'ж', 'Ж', 'é', 'É', '%', '_', '\'', '\\', ' ', '漢', '🦀', '+'];
    (0..rng.usize(0..=length_max)).filter_map(|_| rng.choice(POOL)).collect()
}

/// Random messages and random queries against a model that filters, sorts and slices a list.
#[test]
fn every_query_answers_what_a_simple_model_answers() {
    let seed = fastrand::u64(..);
    println!("seed: {seed}");
    let mut rng = Rng::with_seed(seed);
    let senders = ["+1", "+2", "+12", "+123456789012345"];
    let mut sent: Vec<Known> = (0..6_000)
        .map(|index| {
            // Most of one sender, so that its messages too are more than the service skips in one go.
            let from = if rng.u8(0..8) > 0 { "+1" } else { rng.choice(senders).expect("there are senders") };
            let (ts, instant) = if rng.u8(0..5) == 0 {
                ("2025-01-15T12:00:00Z".to_owned(), 1_339_200_000_000_000)
            } else {
                instant(&mut rng)
            };
            let text = (rng.u8(0..10) > 0).then(|| random_text(&mut rng, 12));
            let message_id = format!("{}{index}", random_text(&mut rng, 2));
            let delivery = Delivery { message_id, from: from.to_owned(), ts, text, ..Delivery::of("") };
            let folded = delivery.text.as_ref().map(|text| text.to_lowercase());
            Known { delivery, instant, folded }
        })
        .collect();
    let directory = Directory::new();
    // Half of them were there before the service, half come through the front door.
    Database::original(&directory).insert_all(sent.iter().take(3_000).map(|known| &known.delivery));
    let server = Server::in_directory(directory, &[]);
    let posted: Vec<String> = sent.iter().skip(3_000).map(|known| known.delivery.body()).collect();
    server.deliver_all(&posted, 16);
    sent.sort_by(|a, b| (a.instant, &a.delivery.message_id).cmp(&(b.instant, &b.delivery.message_id)));
    let model = &sent;

    let mut connection = Connection::open(server.address()).expect("the server accepts");
    for round in 0..200 {
        let from = rng.bool().then(|| rng.choice([senders.as_slice(), &["+3"]].concat()).expect("there are senders"));
        let since = (rng.u8(0..3) == 0).then(|| {
            if rng.bool() {
                let known = &model[rng.usize(..model.len())];
                (known.delivery.ts.clone(), known.instant)
            } else {
                instant(&mut rng)
            }
        });
        let q = (rng.u8(0..3) == 0).then(|| random_text(&mut rng, 3));
        let limit = rng.bool().then(|| rng.usize(1..=100));
        let folded = q.as_ref().map(|q| q.to_lowercase()).filter(|q| !q.is_empty());
        let expected: Vec<&Known> = model
            .iter()
            .filter(|known| from.is_none_or(|from| known.delivery.from == from))
            .filter(|known| since.as_ref().is_none_or(|(_, since)| known.instant >= *since))
            .filter(|known| {
                let text = known.folded.as_ref();
                folded.as_ref().is_none_or(|q| text.is_some_and(|text| text.contains(q.as_str())))
            })
            .collect();
        let offset = match rng.u8(0..5) {
            0 => Some(rng.usize(..10)),
            1 => Some(rng.usize(..=expected.len() + 1)),
            2 => Some(rng.usize(..10_000)),
            _ => None,
        };
        let mut given = Vec::new();
        given.extend(limit.map(|limit| format!("limit={limit}")));
        given.extend(offset.map(|offset| format!("offset={offset}")));
        given.extend(from.map(|from| format!("from={}", encoded(from))));
        given.extend(since.as_ref().map(|(since, _)| format!("since={}", encoded(since))));
        given.extend(q.as_ref().map(|q| format!("q={}", encoded(q))));
        rng.shuffle(&mut given);

        let (limit, mut at) = (limit.unwrap_or(50), offset.unwrap_or(0));
        let mut target = format!("/messages?{}", given.join("&"));
        for step in 0..=rng.usize(..4) {
            let case = format!("seed {seed}, round {round}, step {step}: {target}");
            let reply = connection.request("GET", &target, &[], b"");
            assert_eq!(reply.status, 200, "{case}\nreply: {reply:?}");
            let page = reply.json();
            let there: Vec<&Delivery> = expected.iter().skip(at).take(limit).map(|known| &known.delivery).collect();
            assert_eq!(page["data"], json!(there), "{case}");
            assert_eq!(page["total"], expected.len(), "{case}");
            assert_eq!(page["limit"], limit, "{case}");
            assert_eq!(page["offset"], if step == 0 { offset.unwrap_or(0) } else { 0 }, "{case}");
            at += limit;
            assert_eq!(reply.field("Link").is_some(), at < expected.len(), "{case}\nreply: {reply:?}");
            let Some(next) = reply.next() else { break };
            target = next;
        }
    }
}

#[test]
fn a_link_repeats_a_long_query_whole() {
    let server = Server::start();
    let text = "漢".repeat(1500);
    for id in ["a", "b", "c"] {
        let body = Delivery { text: Some(text.clone()), ..Delivery::of(id) }.body();
        assert_eq!(server.deliver(body).status, 200);
    }
    for characters in [1, 400, 430, 1500] {
        let (mut ids, mut next) = (Vec::new(), None);
        let first = format!("/messages?limit=1&q={}", encoded(&"漢".repeat(characters)));
        for _ in 0..3 {
            let reply = server.get(next.as_deref().unwrap_or(&first));
            assert_eq!(reply.status, 200, "{characters}: {}", reply.text());
            ids.push(reply.json()["data"][0]["message_id"].as_str().unwrap().to_owned());
            next = reply.next();
        }
        assert_eq!((ids.join(""), next), ("abc".to_owned(), None), "{characters}");
    }
}
