//! GET and POST /webhook/meta: the handshake, and WhatsApp's messages and statuses as Meta sends them.

use crate::commands::command_with_input;
use crate::harness::{
    Connection, Database, Directory, Reply, Server, database_url, delivery, ids, json, program, run, sign, until,
};
use base64::Engine;
use serde_json::{Value, json};

const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
const NEXT_SECRET: &str = "fedcba9876543210fedcba9876543210";
const TOKEN: &str = "vibe coding";

fn configured(settings: &[(&str, &str)]) -> Server {
    let own = [("META_APP_SECRET", APP_SECRET), ("META_VERIFY_TOKEN", TOKEN)];
    Server::with(&own.into_iter().chain(settings.iter().copied()).collect::<Vec<_>>())
}

fn post_signed(server: &Server, secret: &str, body: &str) -> Reply {
    let signature = format!("sha256={}", sign(secret, body));
    server.request("POST", "/webhook/meta", &[("X-Hub-Signature-256", &signature)], body.as_bytes())
}

#[track_caller]
fn deliver(server: &Server, body: &str) -> Reply {
    let reply = post_signed(server, APP_SECRET, body);
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"status":"ok"}"#), "{body}\nreply: {reply:?}");
    reply
}

/// An envelope with this `value` in its only change.
fn envelope(value: Value) -> String {
    let mut whole = json!({
        "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "12025550100", "phone_number_id": "200000000000002" },
    });
    whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    let change = json!({ "field": "messages", "value": whole });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string()
}

fn text_message(id: &str) -> Value {
    json!({ "from": "12025550143", "id": id, "timestamp": "1790416800", "type": "text", "text": { "body": "Hello" } })
}

fn one_message(id: &str) -> String {
    envelope(json!({ "messages": [text_message(id)] }))
}

fn result(server: &Server, result: &str) -> f64 {
    server.metric(&format!("inbox_deliveries_total{{source=\"meta\",result=\"{result}\"}}"))
}

#[test]
fn the_handshake_is_answered_with_the_challenge_alone() {
    let server = configured(&[]);
    let right = "/webhook/meta?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=vibe%20coding";
    let reply = server.get(right);
    assert_eq!((reply.status, reply.text().as_str()), (200, "1158201444"));
    assert_eq!(reply.field("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(reply.field("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(server.request("HEAD", right, &[], b"").status, 200);
    for (part, other) in [("subscribe", "x"), ("vibe", "Vibe"), ("1158201444", "%0D%0A"), ("hub.challenge", "c")] {
        let reply = server.get(&right.replace(part, other));
        assert_eq!(reply.status, 403, "{part}: {other}\nreply: {reply:?}");
        assert!(server.log_line(&reply)["reason"].is_string());
    }
    assert_eq!(server.get("/webhook/meta").status, 403);
    assert!(!server.log().contains("coding"), "the token is in the log:\n{}", server.log());
}

#[test]
fn what_is_not_configured_is_not_found() {
    let handshake = "/webhook/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token=";
    let server = Server::start();
    assert_eq!(server.get(handshake).status, 404);
    assert_eq!(post_signed(&server, APP_SECRET, &one_message("m1")).status, 404);
    let server = Server::with(&[("META_APP_SECRET", APP_SECRET)]);
    assert_eq!(server.get(handshake).status, 404);
    deliver(&server, &one_message("m1"));
    let server = Server::with(&[("META_VERIFY_TOKEN", TOKEN)]);
    assert_eq!(server.get(&format!("{handshake}vibe%20coding")).status, 404);
    until("the log warns", || server.log().contains("META_VERIFY_TOKEN is not used"));
}

#[test]
fn with_meta_alone_the_service_starts_and_native_deliveries_are_401() {
    let server = configured(&[("WEBHOOK_SECRET", "")]);
    deliver(&server, &one_message("m1"));
    assert_eq!(server.deliver(delivery("m2")).status, 401);
    assert_eq!(server.message_ids(), ["m1"]);
}

#[test]
fn a_delivery_is_stored_only_with_a_right_signature_of_either_secret() {
    let server = configured(&[("META_APP_SECRET", NEXT_SECRET), ("META_APP_SECRET_PREVIOUS", APP_SECRET)]);
    for (secret, status) in [(NEXT_SECRET, 200), (APP_SECRET, 200), ("other", 401)] {
        assert_eq!(post_signed(&server, secret, &one_message(secret)).status, status, "{secret}");
    }
    let body = one_message("m1");
    let native = [("X-Signature", sign(APP_SECRET, &body))];
    for fields in [&[][..], &[(native[0].0, native[0].1.as_str())]] {
        let reply = server.request("POST", "/webhook/meta", fields, body.as_bytes());
        assert_eq!((reply.status, reply.text().as_str()), (401, r#"{"detail":"invalid signature"}"#));
        assert_eq!(server.log_line(&reply)["reason"], "missing");
    }
    let hub = format!("sha256={}", sign(NEXT_SECRET, &body));
    assert_eq!(server.request("POST", "/webhook", &[("X-Hub-Signature-256", &hub)], body.as_bytes()).status, 401);
    assert_eq!(server.message_ids(), [APP_SECRET, NEXT_SECRET]);
    assert_eq!(result(&server, "invalid_signature"), 3.0);
    assert_eq!(server.metric(r#"inbox_signature_matches_total{secret="previous"}"#), 1.0);
}

#[test]
fn messages_are_listed_and_counted_beside_native_ones() {
    let server = configured(&[]);
    server.deliver(delivery("m0"));
    let items = json!([
        text_message("wamid.T1"),
        { "from": "12025550143", "id": "wamid.T2", "timestamp": "1790416920", "type": "image",
          "image": { "caption": "this colour", "id": "9" } },
        { "from_user_id": "ES.2", "id": "wamid.T3", "timestamp": "1790416930", "type": "text", "text": { "body": "?" } },
        { "id": "wamid.T4", "timestamp": "1790416940", "type": "hologram" },
    ]);
    deliver(&server, &envelope(json!({ "messages": items })));
    let item = |id: &str, from: &str, ts: &str, text: Value| json!({ "message_id": id, "from": from, "to": "+12025550100", "ts": ts, "text": text });
    assert_eq!(
        server.items("")[1..],
        [
            item("wamid.T1", "+12025550143", "2026-09-26T10:00:00Z", json!("Hello")),
            item("wamid.T2", "+12025550143", "2026-09-26T10:02:00Z", json!("this colour")),
            item("wamid.T3", "ES.2", "2026-09-26T10:02:10Z", json!("?")),
            item("wamid.T4", "unknown", "2026-09-26T10:02:20Z", json!(null)),
        ]
    );
    assert_eq!(ids(&server.items("from=%2B12025550143")), ["wamid.T1", "wamid.T2"]);
    assert_eq!(ids(&server.items("from=ES.2")), ["wamid.T3"]);
    let stats = server.get("/stats").json();
    assert_eq!((&stats["total_messages"], &stats["senders_count"]), (&json!(5), &json!(4)));
    for (labels, count) in [
        (r#"{source="native",type="text"}"#, 1.0),
        (r#"{source="meta",type="text"}"#, 2.0),
        (r#"{source="meta",type="image"}"#, 1.0),
        (r#"{source="meta",type="other"}"#, 1.0),
    ] {
        assert_eq!(server.metric(&format!("inbox_messages_total{labels}")), count, "{labels}");
    }
}

#[test]
fn a_text_of_any_length_is_stored() {
    let server = configured(&[]);
    let long = "é".repeat(1 << 20);
    let mut message = text_message("m1");
    message["text"]["body"] = json!(long);
    deliver(&server, &envelope(json!({ "messages": [message] })));
    assert_eq!(server.items("")[0]["text"], json!(long));
}

#[test]
fn whatever_an_authentic_delivery_holds_it_is_200_and_kept() {
    let server = configured(&[]);
    let bodies = [
        "",
        "[]",
        "{}",
        "{",
        "\u{0}",
        r#"{"object":"page","entry":[]}"#,
        r#"{"object":"whatsapp_business_account"}"#,
        r#"{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"account_update","value":{}}]}]}"#,
        &envelope(json!({ "messages": [{}, 7, { "id": "" }], "statuses": [{}] })),
        &("[".repeat(100_000) + &"]".repeat(100_000)),
    ];
    for body in bodies {
        let reply = deliver(&server, body);
        assert_eq!(server.log_line(&reply)["result"], "ignored", "{body}");
    }
    assert_eq!(server.items(""), Vec::<Value>::new());
    assert_eq!(result(&server, "ignored"), bodies.len() as f64);
    assert_eq!(server.metric(r#"webhook_requests_total{result="ignored"}"#), bodies.len() as f64);
    assert_eq!(server.metric("inbox_items_ignored_total"), 4.0);
    let database = Database::open(server.database());
    assert_eq!(database.number("SELECT COUNT(*) FROM deliveries"), bodies.len() as i64);
}

#[test]
fn a_delivery_is_kept_byte_for_byte_and_each_message_knows_its_place() {
    let server = configured(&[]);
    let body =
        envelope(json!({ "messages": [text_message("wamid.T1"), text_message("wamid.T2")] })).replace(':', " : ");
    deliver(&server, &body);
    server.deliver(delivery("m1"));
    let database = Database::open(server.database());
    let text = |sql: &str| database.text(sql);
    assert_eq!(text("SELECT CAST(body AS TEXT) FROM deliveries"), body);
    assert_eq!(
        text("SELECT source || ' ' || fields FROM deliveries"),
        format!("meta X-Hub-Signature-256: sha256={}", sign(APP_SECRET, &body))
    );
    for id in ["wamid.T1", "wamid.T2"] {
        let item = text(&format!(
            "SELECT CAST(substr(body, at + 1, bytes) AS TEXT) FROM details JOIN messages USING (seq)
             JOIN deliveries ON id = delivery WHERE message_id = '{id}'"
        ));
        assert!(body.contains(&item) && json(&item)["id"] == id, "{item}");
    }
    assert_eq!(database.number("SELECT COUNT(*) FROM details"), 2);
}

#[test]
fn the_same_delivery_again_changes_nothing() {
    let server = configured(&[]);
    let status =
        json!({ "id": "wamid.OUT1", "status": "sent", "timestamp": "1790416800", "recipient_id": "12025550143" });
    let messages = [text_message("wamid.T1"), text_message("wamid.T1"), text_message("wamid.T2")];
    let body = envelope(json!({ "messages": messages, "statuses": [status] }));
    let first = deliver(&server, &body);
    assert_eq!(server.log_line(&first)["result"], "created");
    let again = deliver(&server, &body);
    assert_eq!(server.log_line(&again)["result"], "duplicate");
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| deliver(&server, &body));
        }
    });
    assert_eq!(ids(&server.items("")), ["wamid.T1", "wamid.T2"]);
    let database = Database::open(server.database());
    for (table, count) in [("deliveries", 1), ("statuses", 1)] {
        assert_eq!(database.number(&format!("SELECT COUNT(*) FROM {table}")), count, "{table}");
    }
    assert_eq!(database.details(), 2);
    assert_eq!((result(&server, "created"), result(&server, "duplicate")), (1.0, 11.0));
}

/// Ten connections deliver overlapping batches in orders of their own.
#[test]
fn of_shuffled_overlapping_batches_each_message_and_status_is_stored_once() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let server = configured(&[]);
    std::thread::scope(|scope| {
        for thread in 0..10 {
            let server = &server;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ thread);
                let mut connection = Connection::open(server.address()).expect("the server accepts");
                let mut order: Vec<usize> = (0..100).collect();
                random.shuffle(&mut order);
                for batch in order.chunks(7) {
                    let message = |id: &usize| text_message(&format!("wamid.T{id:02}"));
                    let status = |id: &usize| {
                        json!({ "id": format!("wamid.O{id}"), "status": "read", "recipient_id": "12025550143" })
                    };
                    let body = envelope(json!({
                        "messages": batch.iter().map(message).collect::<Vec<_>>(),
                        "statuses": batch.iter().map(status).collect::<Vec<_>>(),
                    }));
                    let signature = format!("sha256={}", sign(APP_SECRET, &body));
                    let fields = [("X-Hub-Signature-256", signature.as_str())];
                    let reply = connection.request("POST", "/webhook/meta", &fields, body.as_bytes());
                    assert_eq!(reply.status, 200, "reply: {reply:?}");
                }
            });
        }
    });
    let expected: Vec<String> = (0..100).map(|id| format!("wamid.T{id:02}")).collect();
    assert_eq!(ids(&server.items("")), expected);
    let database = Database::open(server.database());
    assert_eq!(database.number("SELECT COUNT(*) FROM statuses"), 100);
    assert_eq!(database.details(), 100);
    for seq in 1..=100 {
        assert_eq!(server.get(&format!("/arrivals/{seq}/delivery")).status, 200, "{seq}");
    }
    assert_eq!(server.get("/stats").json()["total_messages"], 100);
}

#[test]
fn an_envelope_of_1000_updates_is_one_delivery() {
    let server = configured(&[]);
    let padding = "x".repeat(2500);
    let messages: Vec<Value> = (0..1000)
        .map(|index| {
            let mut message = text_message(&format!("wamid.T{}", index % 500));
            message["padding"] = json!(padding);
            message
        })
        .collect();
    let body = envelope(json!({ "messages": messages }));
    assert!(body.len() > 2_500_000, "{}", body.len());
    deliver(&server, &body);
    assert_eq!(server.get("/stats").json()["total_messages"], 500);
    assert_eq!(server.metric("inbox_commit_messages_sum"), 1000.0);
}

#[test]
fn a_body_beyond_the_bound_is_413_and_counted_for_meta() {
    let server = configured(&[("MAX_BODY_BYTES", "1000")]);
    assert_eq!(post_signed(&server, APP_SECRET, &"x".repeat(1001)).status, 413);
    assert_eq!(result(&server, "too_large"), 1.0);
}

#[test]
fn statuses_are_stored_once_each_unless_they_are_to_be_dropped() {
    let status = |word: &str, recipient: &str| {
        json!({ "id": "wamid.OUT1", "status": word, "timestamp": "1790416800", "recipient_id": recipient,
                "errors": [{ "code": 131_047 }] })
    };
    let statuses = [status("read", "1"), status("sent", "1"), status("sent", "2"), status("sent", "1")];
    let body = envelope(json!({ "statuses": statuses }));
    let server = configured(&[]);
    deliver(&server, &body);
    let page = server.get("/statuses").json();
    let row = |status: &Value| {
        let [seq, code] = ["seq", "error_code"].map(|name| status[name].as_i64().unwrap());
        format!("{seq} {} {} {code}", status["status"].as_str().unwrap(), status["recipient"].as_str().unwrap())
    };
    let rows: Vec<String> = page["data"].as_array().unwrap().iter().map(row).collect();
    assert_eq!(rows, ["1 read +1 131047", "2 sent +1 131047", "3 sent +2 131047"]);

    let server = configured(&[("META_STATUSES", "drop")]);
    let reply = deliver(&server, &body);
    assert_eq!(server.log_line(&reply)["result"], "ignored");
    let database = Database::open(server.database());
    assert_eq!(database.number("SELECT (SELECT COUNT(*) FROM statuses) + (SELECT COUNT(*) FROM deliveries)"), 0);
}

#[test]
fn the_log_shows_only_the_end_of_an_id() {
    let server = configured(&[]);
    let id = "wamid.HBgLMTIwMjU1NTAxNDMVAgASGBQzQUQwNjY5MDAxMjM0NTY3ODkwMQA=";
    let reply = deliver(&server, &one_message(id));
    let line = server.log_line(&reply);
    assert_eq!(line["message_id_tail"], id[id.len() - 16..]);
    assert!(line["message_id"].is_null() && !server.log().contains("wamid.HBgL"), "{line}");
    assert_eq!(line["dup"], false);
    let reply = deliver(&server, &one_message("é"));
    assert_eq!(server.log_line(&reply)["message_id_tail"], "é");
}

#[test]
fn a_delivery_survives_kill_9() {
    let mut server = configured(&[]);
    deliver(&server, &one_message("wamid.T1"));
    server.kill_and_restart();
    assert_eq!(server.message_ids(), ["wamid.T1"]);
    let reply = deliver(&server, &one_message("wamid.T1"));
    assert_eq!(server.log_line(&reply)["result"], "duplicate");
}

#[test]
fn the_commands_sign_send_and_verify_as_meta_does() {
    let server = configured(&[]);
    let directory = Directory::new();
    let command = |arguments: &str, body: &str| {
        let mut command = command_with_input(&directory, body);
        run(command.env("META_APP_SECRET", APP_SECRET).args(arguments.split(' ')))
    };
    let url = format!("http://{}", server.address());
    let sent = command(&format!("send --scheme meta --id wamid.T1 --ts 2025-01-15T10:00:00Z --url {url}"), "");
    assert!(sent.status.success(), "{sent:?}");
    let item = &server.items("")[0];
    assert_eq!((&item["ts"], &item["from"]), (&json!("2025-01-15T10:00:00Z"), &json!("+919876543210")));
    let right = format!("sha256={}", sign(APP_SECRET, "body"));
    assert_eq!(command("sign --scheme meta", "body").stdout, format!("{right}\n"));
    assert_eq!(command("sign --scheme meta --header", "body").stdout, format!("X-Hub-Signature-256: {right}\n"));
    let verified = command(&format!("verify --scheme meta {right}"), "body");
    assert_eq!((verified.status.code(), verified.stdout.as_str()), (Some(0), "the signature matches\n"));
    let verified = command(&format!("verify --scheme meta {right}"), "body\n");
    assert!(verified.stderr.contains("white space at its end"), "{verified:?}");
}

#[test]
fn a_setting_of_meta_that_cannot_be_used_is_named() {
    for (name, value, what) in [
        ("META_STATUSES", "some", "META_STATUSES is \"some\", which cannot be used. Set it to keep or drop."),
        ("META_APP_SECRET", " ", "META_APP_SECRET cannot be used: it is empty."),
        ("META_VERIFY_TOKEN", " ", "META_VERIFY_TOKEN is only white space."),
    ] {
        let directory = Directory::new();
        let mut command = program();
        command.env("WEBHOOK_SECRET", "s").env(name, value).current_dir(directory.path());
        let ended = run(&mut command);
        assert_eq!(ended.status.code(), Some(78), "{name}\n{ended:?}");
        assert!(ended.stderr.contains(what), "{name}\n{ended:?}");
    }
}

/// The identifier of a message as WhatsApp makes it: it has the number of the sender in it.
fn wamid(number: &str, last: &str) -> String {
    let bytes = [&b"\x1c\x18\x0b"[..], number.as_bytes(), b"\x15\x02\x00\x12\x18\x14", last.as_bytes()].concat();
    format!("wamid.{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

#[test]
fn a_person_who_is_erased_is_in_no_file_any_more_and_does_not_come_back() {
    const NUMBER: &str = "12025550143";
    const USER: &str = "US.10000000000000000001";
    let server = configured(&[]);
    let message = |number: &str, id: &str| {
        let mut message = text_message(&wamid(number, id));
        message["from"] = number.into();
        message
    };
    let mut mine = message(NUMBER, "1");
    mine["from_user_id"] = USER.into();
    let contact = |number: &str, name: &str| json!({ "profile": { "name": name }, "wa_id": number });
    let shared = envelope(json!({
        "contacts": [contact(NUMBER, "Ana Test"), contact("12025550177", "Bo Test")],
        "messages": [mine, message("12025550177", "2")],
        "statuses": [{ "id": wamid(NUMBER, "3"), "status": "read", "recipient_id": NUMBER, "timestamp": "1790416800" }],
    }));
    let mut without_number = text_message("wamid.T4");
    without_number.as_object_mut().unwrap().remove("from");
    without_number["from_user_id"] = USER.into();
    let alone = envelope(json!({ "messages": [without_number] }));
    let unknown = json!({ "object": "whatsapp_business_account", "entry": [{ "changes": [
        { "field": "calls", "value": { "to": NUMBER } }
    ] }] });
    for body in [&shared, &alone, &unknown.to_string()] {
        deliver(&server, body);
    }
    assert_eq!(server.get("/messages").json()["total"], 3);

    let erase = |arguments: &[&str]| {
        let url = database_url(&server.database());
        run(program().args(["erase", "--from", "+12025550143"]).args(arguments).env("DATABASE_URL", url))
    };
    let ended = erase(&["--dry-run"]);
    let person = format!("+{NUMBER}, also called {USER}");
    let statuses = "statuses of messages to them: 1";
    assert_eq!(ended.stdout, format!("2 messages of {person} would be erased; {statuses}\n"), "{ended:?}");
    let ended = erase(&[]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout, format!("2 messages of {person} erased; {statuses}\n"), "{ended:?}");
    assert_eq!(server.items("limit=9").len(), 1, "the other one's is there");
    let database = Database::open(server.database());
    assert_eq!(database.number("SELECT COUNT(*) FROM statuses"), 0);
    let body = database.text("SELECT CAST(body AS TEXT) FROM deliveries WHERE id = 1");
    assert_eq!(body.len(), shared.len());
    assert!(body.contains("Bo Test") && !body.contains("Ana Test"), "{body}");
    assert_eq!(database.number("SELECT altered FROM deliveries WHERE id = 1"), 1);
    assert_nowhere(&server, NUMBER, USER);

    // Of somebody else there is only a status.
    let status =
        json!({ "id": "wamid.O9", "status": "read", "recipient_id": "12025550188", "timestamp": "1790416800" });
    deliver(&server, &envelope(json!({ "statuses": [status] })));
    let url = database_url(&server.database());
    let ended = run(program().args(["erase", "--from", "+12025550188"]).env("DATABASE_URL", url));
    assert_eq!((ended.status.code(), database.number("SELECT COUNT(*) FROM statuses")), (Some(0), 0), "{ended:?}");

    // Meta sends all of it again.
    for body in [&shared, &alone] {
        deliver(&server, body);
    }
    assert_eq!(server.get("/messages").json()["total"], 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM messages WHERE from_msisdn LIKE '%2025550143'"), 0);
}

/// No file of the database has the number or the identifier, as it is or in an id of a message.
#[track_caller]
fn assert_nowhere(server: &Server, number: &str, user: &str) {
    for suffix in ["", "-wal"] {
        let file = format!("{}{suffix}", server.database().display());
        let bytes = std::fs::read(&file).unwrap();
        let has = |bytes: &[u8], text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
        assert!(!has(&bytes, number) && !has(&bytes, user), "{file}");
        for at in memchr::memmem::find_iter(&bytes, "wamid.") {
            let encoded: Vec<u8> = bytes[at + 6..]
                .iter()
                .copied()
                .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'/')
                .collect();
            let decoded = base64::engine::general_purpose::STANDARD_NO_PAD.decode(&encoded[..encoded.len() / 4 * 4]);
            assert!(!has(&decoded.unwrap_or_default(), number), "{file}: {}", String::from_utf8_lossy(&encoded));
        }
    }
}

#[test]
fn arrivals_show_what_a_provider_says_of_a_message_and_filter_by_it() {
    let server = configured(&[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let mut message = text_message("wamid.A");
    message["type"] = "image".into();
    message["image"] = json!({ "id": "9", "caption": "this colour" });
    message["from_user_id"] = "US.1".into();
    let contacts = json!([{ "profile": { "name": "Ana Test" }, "wa_id": "12025550143", "user_id": "US.1" }]);
    deliver(&server, &envelope(json!({ "messages": [message], "contacts": contacts })));
    let arrivals = |query: &str| server.get(&format!("/arrivals{query}")).json()["data"].clone();
    let both = arrivals("");
    assert_eq!(
        (&both[0]["source"], &both[0]["type"], &both[0]["from_id"]),
        (&json!("native"), &json!("text"), &Value::Null)
    );
    assert_eq!((&both[1]["source"], &both[1]["type"]), (&json!("meta"), &json!("image")));
    assert_eq!((&both[1]["from_id"], &both[1]["profile_name"]), (&json!("US.1"), &json!("Ana Test")));
    for query in ["?source=meta", "?type=image", "?from_id=US.1"] {
        assert_eq!(ids(arrivals(query).as_array().unwrap()), ["wamid.A"], "{query}");
    }
    for query in ["?source=native", "?type=text"] {
        assert_eq!(ids(arrivals(query).as_array().unwrap()), ["m1"], "{query}");
    }
    assert_eq!(server.get("/arrivals/2").json()["type"], "image");
}

#[test]
fn a_message_shows_itself_as_it_came_and_its_delivery_can_be_replayed_byte_for_byte() {
    let server = configured(&[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let mut message = text_message("wamid.A");
    message["context"] = json!({ "id": "wamid.OUT" });
    let body = envelope(json!({ "messages": [message, text_message("wamid.B"), text_message("wamid.C")] }));
    deliver(&server, &body);
    let one = server.get("/arrivals/2").json();
    assert_eq!((&one["raw"], &one["context"]), (&message, &json!({ "message_id": "wamid.OUT" })), "{one}");
    assert_eq!(one["channel"], "200000000000002");
    let kept = server.get("/arrivals/2/delivery");
    assert_eq!((kept.status, kept.text()), (200, body.clone()));
    assert_eq!(kept.field("Content-Type"), Some("application/octet-stream"));
    assert_eq!(kept.field("Content-Disposition"), Some("attachment; filename=delivery.json"));
    for seq in 2..=4 {
        let kept = server.get(&format!("/arrivals/{seq}/delivery"));
        assert_eq!((kept.field("Inbox-Last-Seq"), kept.text()), (Some("4"), body.clone()), "{seq}");
    }
    let signature = kept.field("Inbox-Signature").unwrap().strip_prefix("X-Hub-Signature-256: ").unwrap();
    let fields = [("X-Hub-Signature-256", signature)];
    assert_eq!(server.request("POST", "/webhook/meta", &fields, kept.text().as_bytes()).status, 200);
    for nothing in ["/arrivals/1/delivery", "/arrivals/5/delivery"] {
        assert_eq!(server.get(nothing).status, 404, "{nothing}");
    }
    let native = server.get("/arrivals/1").json();
    assert_eq!((&native["raw"], &native["context"]), (&Value::Null, &Value::Null), "{native}");
    Database::open(server.database()).run("UPDATE deliveries SET altered = NOT altered");
    assert_eq!(server.get("/arrivals/2").json()["raw"], Value::Null);
    assert_eq!(server.get("/arrivals/2/delivery").status, 404);
}

#[test]
fn statuses_are_listed_in_the_order_of_arrival_and_the_current_one_is_that_of_the_highest_rank() {
    let server = configured(&[]);
    let status = |id: &str, word: &str, to: &str| json!({ "id": id, "status": word, "recipient_id": to, "timestamp": "1790416800" });
    let sent = [
        status("wamid.A", "read", "12025550143"),
        status("wamid.A", "delivered", "12025550143"),
        status("wamid.A", "sent", "12025550143"),
        status("wamid.B", "read", "12025550177"),
        json!({ "id": "wamid.B", "status": "failed", "recipient_id": "12025550177", "timestamp": "1790416800",
                "errors": [{ "code": 131_047 }] }),
    ];
    deliver(&server, &envelope(json!({ "statuses": sent })));
    let page = |query: &str| server.get(&format!("/statuses{query}")).json();
    let words = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|status| status["status"].as_str().unwrap().to_owned()).collect()
    };
    let all = page("");
    assert_eq!(words(&all), ["read", "delivered", "sent", "read", "failed"], "{all}");
    let first = &all["data"][0];
    assert_eq!((&first["seq"], &first["recipient"]), (&json!(1), &json!("+12025550143")), "{first}");
    assert_eq!((&first["ts"], &first["error_code"]), (&json!("2026-09-26T10:00:00Z"), &Value::Null), "{first}");
    assert_eq!(all["data"][4]["error_code"], 131_047);
    assert_eq!(words(&page("?limit=2")), ["read", "failed"], "the newest");
    let two = page("?after=0&limit=2");
    assert_eq!((words(&two), &two["next"]), (vec!["read".to_owned(), "delivered".to_owned()], &json!("2")));
    assert_eq!(words(&page("?after=2")), ["sent", "read", "failed"]);
    assert_eq!(page("?after=now"), json!({ "data": [], "next": "5" }));
    assert_eq!(words(&page("?recipient=%2B12025550177&status=read")), ["read"]);
    let a = page("?message_id=wamid.A");
    assert_eq!((words(&a).len(), &a["current"]), (3, &json!("read")), "{a}");
    assert_eq!(page("?message_id=wamid.B")["current"], "failed");
    assert_eq!(page("?message_id=wamid.C"), json!({ "data": [], "next": "5" }));
    assert_eq!(words(&page("?message_id=wamid.A&limit=1")), ["sent"], "the newest");
    let mut target = "/statuses?after=0&limit=2&recipient=%2B12025550143".to_owned();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let reply = server.get(&target);
        seen.extend(words(&reply.json()));
        target = reply.next().unwrap_or_default();
    }
    assert_eq!((seen, target.as_str()), (["read", "delivered", "sent"].map(str::to_owned).into(), ""));
    for query in ["limit=1", "limit=1&message_id=wamid.A", "limit=2&recipient=%2B12025550143"] {
        let (mut target, mut pages) = (format!("/statuses?{query}"), Vec::new());
        while !target.is_empty() {
            let reply = server.get(&target);
            pages.insert(0, words(&reply.json()));
            target = crate::arrivals::link(&reply, "prev").unwrap_or_default();
            assert!(pages.len() < 10, "{query}: {pages:?}");
        }
        let expected: &[&str] = if query == "limit=1" {
            &["read", "delivered", "sent", "read", "failed"]
        } else {
            &["read", "delivered", "sent"]
        };
        assert_eq!(pages.concat(), expected, "{query}: backwards through all");
    }
    assert_eq!(page("?before=3")["next"], "2", "what follows the page");
    assert_eq!(server.get("/statuses?after=6").status, 410);
    assert_eq!(server.get("/statuses?wait=1").status, 422, "it needs after");
    assert_eq!(server.get("/statuses?after=x").status, 422);
}

#[test]
fn a_status_wakes_the_client_that_waits_for_it_and_a_message_does_not() {
    let server = configured(&[]);
    let mut clients = ["after=now&wait=30&status=read", "after=0&wait=30&message_id=wamid.A", "after=now&wait=1"]
        .map(|query| crate::waiting::ask(&server, &format!("/statuses?{query}")));
    let mut follower = crate::waiting::ask(&server, "/arrivals?after=now&wait=30");
    until("four clients wait", || server.metric("inbox_waiting_requests") == 4.0);
    deliver(&server, &one_message("wamid.T1"));
    assert_eq!(ids(follower.read_reply("GET").unwrap().json()["data"].as_array().unwrap()), ["wamid.T1"]);
    let [reading, of_message, nothing] = &mut clients;
    assert_eq!(nothing.read_reply("GET").unwrap().json(), json!({ "data": [], "next": "0" }));
    for (id, word) in [("wamid.A", "sent"), ("wamid.B", "read")] {
        let status = json!({ "id": id, "status": word, "recipient_id": "12025550143", "timestamp": "1790416800" });
        deliver(&server, &envelope(json!({ "statuses": [status] })));
    }
    for (client, id, word, next) in [(of_message, "wamid.A", "sent", "1"), (reading, "wamid.B", "read", "2")] {
        let page = client.read_reply("GET").unwrap().json();
        assert_eq!((&page["data"][0]["message_id"], &page["data"][0]["status"]), (&json!(id), &json!(word)), "{page}");
        assert!(page["next"] == next || id == "wamid.A", "{page}");
    }
}

/// The database of a service that has taken in messages of both kinds, statuses, and deliveries with nothing in them.
fn mixed() -> Server {
    let server = configured(&[]);
    let status = |id: &str, status: &str| {
        json!({ "id": id, "status": status, "timestamp": "1790416800", "recipient_id": "12025550143",
                "errors": [{ "code": 131_047 }] })
    };
    deliver(&server, "nothing to store");
    server.deliver(delivery("m1"));
    let mut image = json!({ "from": "12025550143", "id": "wamid.T2", "timestamp": "1790416920", "type": "image",
                            "image": { "id": "9" }, "context": { "id": "wamid.T1" } });
    image["from_user_id"] = json!("US.1");
    deliver(&server, &envelope(json!({ "messages": [text_message("wamid.T1"), image] })));
    deliver(&server, &envelope(json!({ "statuses": [status("wamid.O1", "sent"), status("wamid.O2", "failed")] })));
    server.deliver(delivery("m2"));
    let both = json!({ "messages": [text_message("wamid.T3")], "statuses": [status("wamid.O1", "read")] });
    deliver(&server, &envelope(both));
    let body = b"\xff\x00 is not UTF-8";
    let signature = format!("sha256={}", sign(APP_SECRET, body));
    assert_eq!(server.request("POST", "/webhook/meta", &[("X-Hub-Signature-256", &signature)], body).status, 200);
    server
}

fn exported(server: &Server, arguments: &[&str]) -> String {
    let ended = run(program().arg("export").args(arguments).env("DATABASE_URL", database_url(&server.database())));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    ended.stdout
}

#[track_caller]
fn imported(lines: &str) -> Server {
    let directory = Directory::new();
    for _ in 0..2 {
        // The second time, everything is there already.
        let mut command = command_with_input(&directory, lines);
        let url = database_url(&directory.database());
        let ended = run(command.arg("import").env("DATABASE_URL", url));
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    }
    let settings = [("META_APP_SECRET", APP_SECRET), ("META_VERIFY_TOKEN", TOKEN)];
    Server::in_directory(directory, &settings)
}

#[test]
fn an_export_has_what_the_provider_said_and_an_import_brings_it_back() {
    let server = mixed();
    let lines = exported(&server, &[]);
    let image = json(lines.lines().nth(2).expect("there are five messages"));
    let expected = json!({ "source": "meta", "type": "image", "from_id": "US.1", "profile_name": null,
                           "channel": "200000000000002", "reply_to": "wamid.T1" });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(image[name], *value, "{name}");
    }
    let other = imported(&lines);
    assert_eq!(exported(&other, &[]), lines);
    assert_eq!(other.get("/arrivals").text(), server.get("/arrivals").text());
    assert_eq!(other.get("/arrivals/2/delivery").status, 404);
}

#[test]
fn an_export_with_raw_brings_everything_back() {
    let server = mixed();
    let lines = exported(&server, &["--raw"]);
    assert_eq!(lines.lines().count(), 7, "two native messages and five deliveries:\n{lines}");
    let other = imported(&lines);
    assert_eq!(exported(&other, &["--raw"]), lines);
    for path in ["/messages", "/arrivals", "/arrivals/3", "/statuses?after=0", "/stats"] {
        assert_eq!(other.get(path).text(), server.get(path).text(), "{path}");
    }
    let raw = |server: &Server| server.get("/arrivals/5/delivery");
    assert_eq!(raw(&other).body, raw(&server).body);
    assert_eq!(raw(&other).field("Inbox-Signature"), raw(&server).field("Inbox-Signature"));
    // Meta's retry of a delivery that was imported changes nothing.
    deliver(&other, &envelope(json!({ "messages": [text_message("wamid.T1")] })));
    assert_eq!(exported(&other, &["--raw"]), lines);
}

#[test]
fn a_delivery_whose_message_lies_outside_of_its_body_is_not_imported() {
    let server = mixed();
    let lines = exported(&server, &["--raw"]);
    let line = lines.lines().find(|line| line.contains("wamid.T3")).expect("it was exported");
    let mut bad = json(line);
    bad["messages"][0]["at"] = json!(1_000_000);
    let directory = Directory::new();
    let mut command = command_with_input(&directory, bad.to_string());
    let url = database_url(&directory.database());
    let ended = run(command.arg("import").env("DATABASE_URL", url));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("line 1: message wamid.T3 does not lie within the body"), "{ended:?}");
    assert_eq!(Database::open(directory.database()).number("SELECT COUNT(*) FROM deliveries"), 0);
}
