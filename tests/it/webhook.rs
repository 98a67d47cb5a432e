//! POST /webhook: who may store what, and what everybody else is told.

use crate::harness::{Connection, Database, Delivery, SECRET, Server, delivery, ids, sign};
use serde_json::{Value, json};
use std::sync::Barrier;

#[test]
fn a_message_is_stored_only_with_a_valid_signature() {
    let server = Server::start();
    let body = delivery("m1");
    let right = sign(SECRET, &body);
    for (case, signature, status) in [
        ("no header at all", None, 401),
        ("signed with another secret", Some(sign("other", &body)), 401),
        ("the signature of another body", Some(sign(SECRET, delivery("m2"))), 401),
        ("empty", Some(String::new()), 401),
        ("nothing behind the prefix", Some("sha256=".to_owned()), 401),
        ("not hexadecimal", Some("zz".repeat(32)), 401),
        ("not ASCII", Some("é".repeat(32)), 401),
        ("one digit short", Some(right[..63].to_owned()), 401),
        ("one byte short", Some(right[..62].to_owned()), 401),
        ("one byte more", Some(format!("{right}00")), 401),
        ("very long", Some(right.repeat(100)), 401),
        ("the prefix twice", Some(format!("sha256=sha256={right}")), 401),
        ("another prefix", Some(format!("sha1={right}")), 401),
        ("white space within", Some(format!("sha256= {right}")), 401),
        ("two values in one", Some(format!("{right},{right}")), 401),
        ("lower case", Some(right.clone()), 200),
        ("upper case", Some(right.to_uppercase()), 200),
        ("mixed case", Some(right[..32].to_uppercase() + &right[32..]), 200),
        ("with the prefix", Some(format!("sha256={right}")), 200),
        ("upper case with the prefix", Some(format!("sha256={}", right.to_uppercase())), 200),
        ("white space around", Some(format!("  \t{right}\t ")), 200),
    ] {
        let reply = server.post("/webhook", signature.as_deref(), &body);
        assert_eq!(reply.status, status, "{case}\nreply: {reply:?}\nlog:\n{}", server.log());
        let text = if status == 200 { r#"{"status":"ok"}"# } else { r#"{"detail":"invalid signature"}"# };
        assert_eq!(reply.text(), text, "{case}");
        assert_eq!(reply.field("Content-Type"), Some("application/json"), "{case}");
        assert_eq!(server.message_ids(), if status == 200 { vec!["m1"] } else { vec![] }, "{case}");
    }
}

#[test]
fn the_signature_given_twice_is_a_wrong_one() {
    let server = Server::start();
    let body = delivery("m1");
    let right = sign(SECRET, &body);
    for fields in [
        [("X-Signature", right.as_str()), ("X-Signature", right.as_str())],
        [("X-Signature", right.as_str()), ("x-signature", "00")],
        [("x-signature", "00"), ("X-SIGNATURE", right.as_str())],
    ] {
        let reply = server.request("POST", "/webhook", &fields, body.as_bytes());
        assert_eq!(reply.status, 401, "{fields:?}\nreply: {reply:?}");
    }
    let reply = server.request("POST", "/webhook", &[("x-SIGNATURE", &right)], body.as_bytes());
    assert_eq!(reply.status, 200, "a field's name has no case\nreply: {reply:?}");
}

#[test]
fn a_signature_covers_every_bit_of_the_body() {
    let server = Server::start();
    let body = delivery("m1");
    let right = sign(SECRET, &body);
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    for bit in 0..body.len() * 8 {
        let mut other = body.clone().into_bytes();
        other[bit / 8] ^= 1 << (bit % 8);
        let reply = connection.request("POST", "/webhook", &[("X-Signature", &right)], &other);
        assert_eq!(reply.status, 401, "bit {bit}\nreply: {reply:?}");
    }
    let longer = format!("{body} ");
    let reply = server.post("/webhook", Some(&right), longer);
    assert_eq!(reply.status, 401, "one byte more\nreply: {reply:?}");
    assert_eq!(server.message_ids(), Vec::<String>::new());
}

#[test]
fn the_content_type_does_not_matter() {
    let server = Server::start();
    for content_type in ["application/json", "text/plain", "multipart/form-data; boundary=x", "?"] {
        let body = delivery(content_type);
        let fields = [("X-Signature", &*sign(SECRET, &body)), ("Content-Type", content_type)];
        let reply = server.request("POST", "/webhook", &fields, body.as_bytes());
        assert_eq!(reply.status, 200, "{content_type}\nreply: {reply:?}");
    }
}

/// Of several things that are wrong, the first check of the contract's table answers.
#[test]
fn size_is_checked_before_the_signature_and_the_signature_before_the_body() {
    let server = Server::with(&[("MAX_BODY_BYTES", "1000")]);
    let unsigned = "00".repeat(32);
    let large = "x".repeat(1001);
    for (case, signature, body, status, detail) in [
        ("too large, unsigned, not JSON", None, large.as_str(), 413, json!("request body too large")),
        ("too large, wrongly signed", Some(&unsigned), &large, 413, json!("request body too large")),
        ("too large, rightly signed", Some(&sign(SECRET, &large)), &large, 413, json!("request body too large")),
        ("unsigned, not JSON", None, "x", 401, json!("invalid signature")),
        ("wrongly signed, not JSON", Some(&unsigned), "x", 401, json!("invalid signature")),
        ("wrongly signed, empty", Some(&unsigned), "", 401, json!("invalid signature")),
    ] {
        let reply = server.post("/webhook", signature.map(String::as_str), body);
        assert_eq!(reply.status, status, "{case}\nreply: {reply:?}");
        assert_eq!(reply.json(), json!({ "detail": detail }), "{case}");
    }
    let reply = server.deliver("x");
    assert_eq!(reply.status, 422, "signed, not JSON\nreply: {reply:?}");
}

#[test]
fn a_body_may_have_as_many_bytes_as_is_set_and_no_more() {
    let padded = |id: &str, bytes: usize| {
        let body = delivery(id);
        let padding = " ".repeat(bytes - body.len());
        body + &padding
    };
    for (setting, bytes_max) in [(Some("1000"), 1000), (None, 4_194_304)] {
        let settings: Vec<_> = setting.map(|value| ("MAX_BODY_BYTES", value)).into_iter().collect();
        let server = Server::with(&settings);
        let reply = server.deliver(padded("fits", bytes_max));
        assert_eq!(reply.status, 200, "{bytes_max} bytes\nreply: {reply:?}");
        let reply = server.deliver(padded("one more", bytes_max + 1));
        assert_eq!(reply.status, 413, "{bytes_max} bytes and one\nreply: {reply:?}");
        assert_eq!(reply.text(), r#"{"detail":"request body too large"}"#);
        assert_eq!(server.message_ids(), ["fits"]);
    }
}

#[test]
fn a_chunked_body_is_bounded_and_verified_like_any_other() {
    let server = Server::with(&[("MAX_BODY_BYTES", "1000")]);
    let chunked = |body: &str| {
        let chunks: String = body.as_bytes().chunks(7).fold(String::new(), |chunks, chunk| {
            chunks + &format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk))
        });
        let fields = [("X-Signature", &*sign(SECRET, body)), ("Transfer-Encoding", "chunked")];
        server.request("POST", "/webhook", &fields, (chunks + "0\r\n\r\n").as_bytes())
    };
    let body = delivery("m1");
    let reply = chunked(&body);
    assert_eq!(reply.status, 200, "reply: {reply:?}");
    let reply = chunked(&(body + &" ".repeat(1000)));
    assert_eq!(reply.status, 413, "reply: {reply:?}");
    assert_eq!(server.message_ids(), ["m1"]);
}

/// Each value of a field on its own, in a message that is right otherwise.
#[test]
fn each_field_is_taken_within_its_rule_and_refused_beyond() {
    let server = Server::start();
    let (longest, too_long) = ("a".repeat(4096), "a".repeat(4097));
    let (longest_crabs, crabs_too_long) = ("🦀".repeat(4096), "🦀".repeat(4097));
    let combining = "e\u{301}".repeat(2049); // 4098 scalar values that look like 2049 letters
    let (longest_id, id_too_long) = ("i".repeat(1024), "i".repeat(1025));
    let (longest_id_of_crabs, crabs_too_long_for_an_id) = ("🦀".repeat(256), "🦀".repeat(257));
    let cases: [(&str, &[Value], &[Value]); 5] = [
        (
            "message_id",
            &[json!("m"), json!(" "), json!("ü\n\"\\\u{0}"), json!(longest_id), json!(longest_id_of_crabs)],
            &[
                json!(id_too_long),
                json!(crabs_too_long_for_an_id),
                json!(""),
                json!(null),
                json!(1),
                json!(["m"]),
                json!({ "m": 1 }),
                json!(true),
            ],
        ),
        (
            "from",
            &[json!("+1"), json!("+123456789012345"), json!("+0"), json!("+000000000000000")],
            &[
                json!("+"),
                json!("+1234567890123456"),
                json!("1"),
                json!(""),
                json!("++1"),
                json!("+1 2"),
                json!("+1-2"),
                json!("+1\n"),
                json!(" +1"),
                json!("+1a"),
                json!("+९१"),
                json!("+１２"),
                json!("\u{ff0b}1"),
                json!(null),
                json!(919876543210_u64),
                json!(["+1"]),
            ],
        ),
        (
            "to",
            &[json!("+1"), json!("+123456789012345")],
            &[json!("+"), json!("+1234567890123456"), json!("14155550100"), json!("+1\n"), json!(null), json!(1)],
        ),
        (
            "ts",
            &[
                json!("2025-01-15T10:00:00Z"),
                json!("2025-01-15T10:00:00.5Z"),
                json!("2025-01-15T10:00:00.123456789Z"),
                json!("2024-02-29T23:59:59.999999999Z"),
                json!("2000-02-29T00:00:00Z"),
                json!("1969-12-31T23:59:59.9Z"),
                json!("0001-01-01T00:00:00Z"),
                json!("9999-12-31T23:59:59Z"),
            ],
            &[
                json!("2025-01-15T10:00:00"),
                json!("2025-01-15T10:00:00+00:00"),
                json!("2025-01-15T10:00:00z"),
                json!("2025-01-15t10:00:00Z"),
                json!("2025-01-15 10:00:00Z"),
                json!("2025-01-15T10:00:00.Z"),
                json!("2025-01-15T10:00:00,5Z"),
                json!("2025-01-15T10:00:00.1234567890Z"),
                json!("2025-02-29T10:00:00Z"),
                json!("1900-02-29T10:00:00Z"),
                json!("2025-02-30T10:00:00Z"),
                json!("2025-04-31T10:00:00Z"),
                json!("2025-13-01T10:00:00Z"),
                json!("2025-00-01T10:00:00Z"),
                json!("2025-01-00T10:00:00Z"),
                json!("2025-01-15T24:00:00Z"),
                json!("2025-01-15T23:60:00Z"),
                json!("2016-12-31T23:59:60Z"),
                json!("0000-01-01T00:00:00Z"),
                json!("-001-01-01T00:00:00Z"),
                json!("+12025-01-15T10:00:00Z"),
                json!("2025-01-15T10:00Z"),
                json!("2025-01-15"),
                json!("20250115T100000Z"),
                json!(" 2025-01-15T10:00:00Z"),
                json!("2025-01-15T10:00:00Z\n"),
                json!("2025-01-1५T10:00:00Z"),
                json!("2025-01-15T10:00:00.１Z"),
                json!("now"),
                json!(""),
                json!(null),
                json!(1736935200),
            ],
        ),
        (
            "text",
            &[json!(null), json!(""), json!(longest), json!(longest_crabs), json!("a\u{0}b")],
            &[json!(too_long), json!(crabs_too_long), json!(combining), json!(1), json!(["a"]), json!(false)],
        ),
    ];
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    for (name, right, wrong) in cases {
        let values = right.iter().map(|value| (value, 200)).chain(wrong.iter().map(|value| (value, 422)));
        for (index, (value, status)) in values.enumerate() {
            let mut body = json!(Delivery::of(&format!("{name} {index}")));
            body[name] = value.clone();
            let value = shortened(value);
            let reply = connection.deliver(&body.to_string()).expect("the server answers");
            assert_eq!(reply.status, status, "{name} is {value}\nreply: {reply:?}");
            if status == 422 {
                assert_eq!(locations(&reply.json()), [["body", name]], "{name} is {value}\nreply: {reply:?}");
            }
        }
    }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}

/// The `loc` of each entry of a 422, once it is sure that every entry has the three members with their types.
#[track_caller]
fn locations(reply: &Value) -> Vec<Vec<String>> {
    assert_eq!(reply.as_object().map(|reply| reply.len()), Some(1), "{reply}");
    let entries = reply["detail"].as_array().unwrap_or_else(|| panic!("detail is no array in {reply}"));
    let location = |entry: &Value| {
        let strings = entry["msg"].as_str().zip(entry["type"].as_str()).filter(|(msg, _)| !msg.is_empty());
        assert!(strings.is_some() && entry.as_object().is_some_and(|entry| entry.len() == 3), "{entry}");
        let loc = entry["loc"].as_array().unwrap_or_else(|| panic!("loc is no array in {entry}"));
        loc.iter().map(|part| part.as_str().unwrap_or_default().to_owned()).collect()
    };
    entries.iter().map(location).collect()
}

#[test]
fn all_wrong_fields_are_reported_at_once() {
    let server = Server::start();
    let right = json!(Delivery::of("m1"));
    for (body, wrong) in [
        (json!({}), vec!["message_id", "from", "to", "ts"]),
        (
            json!({ "message_id": "", "from": "1", "to": "2", "ts": "3", "text": 4 }),
            vec!["message_id", "from", "to", "ts", "text"],
        ),
        (
            json!({ "message_id": null, "from": null, "to": null, "ts": null, "text": null }),
            vec!["message_id", "from", "to", "ts"],
        ),
        (json!({ "message_id": "m1", "from": right["from"], "ts": "3" }), vec!["to", "ts"]),
        (
            json!({ "Message_ID": "m1", "from": right["from"], "to": right["to"], "ts": right["ts"] }),
            vec!["message_id"],
        ),
    ] {
        let reply = server.deliver(body.to_string());
        assert_eq!(reply.status, 422, "{body}\nreply: {reply:?}");
        assert_eq!(reply.field("Content-Type"), Some("application/json"));
        let wrong: Vec<_> = wrong.into_iter().map(|name| ["body", name]).collect();
        assert_eq!(locations(&reply.json()), wrong, "{body}\nreply: {reply:?}");
    }
    assert_eq!(server.message_ids(), Vec::<String>::new());
}

#[test]
fn what_is_no_json_object_is_one_fault_of_the_body() {
    let server = Server::start();
    let right = delivery("m1");
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000)).into_bytes();
    let with = |value: &[u8]| {
        let mut body = right.clone().into_bytes();
        body.truncate(body.len() - 1);
        [body.as_slice(), b",\"x\":", value, b"}"].concat()
    };
    for (case, body) in [
        ("empty", b"".to_vec()),
        ("white space", b" \n".to_vec()),
        ("an array", format!("[{right}]").into_bytes()),
        ("an empty array", b"[]".to_vec()),
        ("a string", b"\"m1\"".to_vec()),
        ("a number", b"1".to_vec()),
        ("null", b"null".to_vec()),
        ("true", b"true".to_vec()),
        ("cut short", right.as_bytes()[..right.len() - 1].to_vec()),
        ("two objects", format!("{right}{right}").into_bytes()),
        ("something behind it", format!("{right}x").into_bytes()),
        ("a byte order mark", format!("\u{feff}{right}").into_bytes()),
        ("a form", b"message_id=m1&from=%2B1".to_vec()),
        ("single quotes", right.replace('"', "'").into_bytes()),
        ("a comma too many", right.replace('}', ",}").into_bytes()),
        ("a comment", right.replace('}', "/**/}").into_bytes()),
        ("a byte that is not UTF-8", right.replace("Hello", "\u{1}").into_bytes().iter().map(|b| b | 0x80).collect()),
        ("0xFF in a string", with(b"\"\xff\"")),
        ("an overlong form", with(b"\"\xc0\xaf\"")),
        ("a surrogate in UTF-8", with(b"\"\xed\xa0\x80\"")),
        ("UTF-16", right.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a lone high surrogate", with(b"\"\\ud800\"")),
        ("a lone low surrogate", with(b"\"\\udc00\"")),
        ("a lone surrogate as a name", with(b"{\"\\ud800\":1}")),
        ("a lone surrogate in the text", right.replace("Hello", "\\udfff").into_bytes()),
        ("a control character", right.replace("Hello", "a\nb").into_bytes()),
        ("a number out of range", with(b"1e999")),
        ("a negative number out of range", with(b"-1e999")),
        ("NaN", with(b"NaN")),
        ("Infinity", with(b"Infinity")),
        ("a leading zero", with(b"01")),
        ("an array 100,000 deep", deep("[", "]")),
        ("an array 100,000 deep in a field", with(&deep("[", "]"))),
        ("an object 100,000 deep in a field", with(&deep("{\"a\":", "}"))),
        ("an array 100,000 deep that never ends", with("[".repeat(100_000).as_bytes())),
    ] {
        let reply = server.deliver(&body);
        assert_eq!(reply.status, 422, "{case}\nreply: {reply:?}\nlog:\n{}", server.log());
        assert_eq!(locations(&reply.json()), [["body"]], "{case}\nreply: {reply:?}");
        assert_eq!(reply.json()["detail"][0]["type"], "json_invalid", "{case}\nreply: {reply:?}");
    }
    assert_eq!(server.message_ids(), Vec::<String>::new());
}

#[test]
fn a_message_comes_out_as_it_was_sent() {
    let server = Server::start();
    let deliveries: Vec<Delivery> =
        [Some("Hello"), None, Some(""), Some("नमस्ते 🦀 \u{0}\t\r\n\"\\/\u{7f}\u{2028}\u{feff}"), Some("e\u{301} and é")]
            .into_iter()
            .enumerate()
            .map(|(index, text)| Delivery {
                text: text.map(str::to_owned),
                ..Delivery::of(&format!("m{index} ü\"\\\n"))
            })
            .collect();
    for delivery in &deliveries {
        assert_eq!(server.deliver(delivery.body()).status, 200, "{delivery:?}");
    }
    let sent: Vec<Value> = deliveries.iter().map(|delivery| json!(delivery)).collect();
    assert_eq!(server.items("limit=2"), sent);
}

#[test]
fn a_text_that_is_not_there_is_null() {
    let server = Server::start();
    let mut body = json!(Delivery::of("m1"));
    body.as_object_mut().unwrap().remove("text");
    assert_eq!(server.deliver(body.to_string()).status, 200);
    assert_eq!(server.items("")[0]["text"], Value::Null);
}

#[test]
fn unknown_fields_are_ignored_and_of_a_field_given_twice_the_last_counts() {
    let server = Server::start();
    let body = r#" { "x":{"y":[1,-2,3.5e3,null,true,"z",[],{}]}, "from":1, "message_id":"first", "text":"a",
        "message_id":"m1", "from":"+1", "to":"+2", "ts":"2025-01-15T10:00:00Z", "text":null, "t\u0065xt":"b" } "#;
    let reply = server.deliver(body);
    assert_eq!(reply.status, 200, "reply: {reply:?}");
    let item = json!({ "message_id": "m1", "from": "+1", "to": "+2", "ts": "2025-01-15T10:00:00Z", "text": "b" });
    assert_eq!(server.items(""), [item]);

    let reply = server.deliver(delivery("m2").replace('}', r#","from":"nobody"}"#));
    assert_eq!(reply.status, 422, "the last counts when it is wrong, too\nreply: {reply:?}");
}

#[test]
fn the_same_message_id_again_is_answered_200_and_changes_nothing() {
    let server = Server::start();
    let first = Delivery::of("m1");
    let others = [
        first.clone(),
        Delivery { from: "+1".to_owned(), ..first.clone() },
        Delivery { ts: "2030-01-01T00:00:00Z".to_owned(), text: None, ..first.clone() },
    ];
    assert_eq!(server.deliver(first.body()).status, 200);
    for other in &others {
        let reply = server.deliver(other.body());
        assert_eq!((reply.status, reply.text()), (200, r#"{"status":"ok"}"#.to_owned()), "{other:?}");
    }
    assert_eq!(server.items(""), [json!(first)]);
    assert_eq!(server.get("/stats").json()["total_messages"], 1);
    assert_eq!(server.metric(r#"webhook_requests_total{result="created"}"#), 1.0);
    assert_eq!(server.metric(r#"webhook_requests_total{result="duplicate"}"#), 3.0);
}

#[test]
fn message_ids_are_compared_byte_by_byte() {
    let server = Server::start();
    let different = ["a", "A", "a ", " a", "é", "e\u{301}", "a\u{0}", "a\u{0}b", "1", "01", "1.0"];
    let bodies: Vec<String> = different.iter().map(|id| delivery(id)).collect();
    server.deliver_all(&bodies, 1);
    let mut sorted = different.to_vec();
    sorted.sort_unstable();
    assert_eq!(server.message_ids(), sorted);
}

#[test]
fn two_hundred_senders_of_the_same_message_at_once_store_it_once() {
    let server = Server::start();
    let (body, barrier) = (delivery("m1"), Barrier::new(200));
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let mut connection = Connection::open(server.address()).expect("the server accepts");
                barrier.wait();
                let reply = connection.deliver(&body).expect("the server answers");
                assert_eq!(reply.text(), r#"{"status":"ok"}"#, "reply: {reply:?}");
            });
        }
    });
    assert_eq!(server.metric(r#"webhook_requests_total{result="created"}"#), 1.0);
    assert_eq!(server.metric(r#"webhook_requests_total{result="duplicate"}"#), 199.0);
    assert_eq!(server.message_ids(), ["m1"]);
    let database = Database::open(server.database());
    let rows = database.count();
    assert_eq!(rows, 1);
}

#[test]
fn ten_thousand_messages_over_64_connections_are_stored_exactly_once() {
    let server = Server::start();
    let bodies: Vec<String> = (0..10_000)
        .map(|index| {
            let from = format!("+{}", index % 7 + 1);
            let ts = format!("2025-01-15T{:02}:{:02}:00Z", index % 24, index % 60);
            Delivery { from, ts, ..Delivery::of(&format!("m{index:05}")) }.body()
        })
        .collect();
    server.deliver_all(&bodies, 64);

    let mut listed = ids(&server.items("limit=100"));
    listed.sort_unstable();
    let sent: Vec<String> = (0..10_000).map(|index| format!("m{index:05}")).collect();
    assert!(listed == sent, "{} listed, some of them not what was sent", listed.len());
    assert_eq!(server.get("/messages?limit=1").json()["total"], 10_000);
    let stats = server.get("/stats").json();
    assert_eq!((&stats["total_messages"], &stats["senders_count"]), (&json!(10_000), &json!(7)));
    let per_sender: Vec<Value> =
        (1..=7).map(|n| json!({ "from": format!("+{n}"), "count": if n <= 4 { 1429 } else { 1428 } })).collect();
    assert_eq!(stats["messages_per_sender"], json!(per_sender));
    assert_eq!(server.metric(r#"webhook_requests_total{result="created"}"#), 10_000.0);
    assert_eq!(server.metric(r#"http_requests_total{path="/webhook",status="200"}"#), 10_000.0);
    assert_eq!(server.metric("inbox_commit_messages_sum"), 10_000.0);
}
