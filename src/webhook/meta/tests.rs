use super::*;
use crate::message::Message;
use serde_json::{Value, json};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// The same JSON, as Meta escapes it and as UTF-8.
const ESCAPED: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"100000000000001","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"12025550100","phone_number_id":"200000000000002"},"contacts":[{"profile":{"name":"Ana Test"},"wa_id":"12025550143","user_id":"US.10000000000000000001"}],"messages":[{"from":"12025550143","from_user_id":"US.10000000000000000001","id":"wamid.TEST0001","timestamp":"1790416800","type":"text","text":{"body":"Hola, \u00bfqu\u00e9 tal?"}}]},"field":"messages"}]}]}"#;
const ESCAPED_TAG: &str = "bb8fd98cb702e18e8f0c68689ea8b925a646274ab10fec7ead6427d5740f72d2";
const UTF8_TAG: &str = "3e3204a9d062b0ac74ad8820210d329f5d8ccc80972e1124e639b3385593189f";

fn arrived() -> Timestamp {
    Timestamp::parse("2026-09-26T12:00:00.5Z").unwrap()
}

fn received(body: &[u8], statuses: Statuses) -> Delivery {
    let secrets = Secrets { current: Secret::new(SECRET).unwrap(), previous: None };
    let signature = sign(&secrets.current, body);
    let fields = [("x-hub-signature-256", signature.as_str()), ("Host", "inbox")];
    let (verified, _) = verify(&secrets, &fields, body).unwrap();
    parse(verified, &fields, statuses, &arrived())
}

/// One change with this in its `value`, beside a number of the business.
fn envelope(value: Value) -> String {
    let mut whole = json!({ "metadata": { "display_phone_number": "12025550100", "phone_number_id": "2" } });
    whole.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
    let change = json!({ "field": "messages", "value": whole });
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] }).to_string()
}

fn messages(value: Value) -> Vec<Message> {
    received(envelope(value).as_bytes(), Statuses::Keep).messages
}

/// The message that an item becomes.
fn message(item: Value) -> Message {
    let [message] = messages(json!({ "messages": [item] })).try_into().unwrap();
    message
}

#[test]
fn the_two_forms_of_one_json_have_two_signatures_and_one_text() {
    let secret = Secret::new(SECRET).unwrap();
    let utf8 = ESCAPED.replace(r"\u00bf", "¿").replace(r"\u00e9", "é");
    for (body, tag) in [(ESCAPED, ESCAPED_TAG), (&utf8, UTF8_TAG)] {
        assert_eq!(sign(&secret, body.as_bytes()), format!("sha256={tag}"));
        let delivery = received(body.as_bytes(), Statuses::Keep);
        let [message] = &delivery.messages[..] else { panic!("{delivery:?}") };
        assert_eq!(message.id.as_str(), "wamid.TEST0001");
        assert_eq!((message.from.as_str(), message.to.as_str()), ("+12025550143", "+12025550100"));
        assert_eq!(message.ts.as_str(), "2026-09-26T10:00:00Z");
        assert_eq!(message.text.as_ref().unwrap().as_str(), "Hola, ¿qué tal?");
        let details = message.details.as_ref().unwrap();
        assert_eq!(details.from_id.as_deref(), Some("US.10000000000000000001"));
        assert_eq!(details.profile_name.as_deref(), Some("Ana Test"));
        assert_eq!(details.channel.as_deref(), Some("200000000000002"));
        let raw = delivery.raw.unwrap();
        assert_eq!(raw.body, body.as_bytes());
        assert_eq!(raw.fields, format!("X-Hub-Signature-256: sha256={tag}"));
        let item: Value = serde_json::from_str(&body[details.place.clone()]).unwrap();
        assert_eq!(item["id"], "wamid.TEST0001");
    }
}

#[test]
fn each_type_has_the_text_that_a_person_would_call_so() {
    for (item, expected) in [
        (json!({ "type": "text", "text": { "body": "hi" } }), Some("hi")),
        (json!({ "type": "text", "text": { "body": "" } }), Some("")),
        (json!({ "type": "text" }), None),
        (json!({ "type": "image", "image": { "caption": "this colour", "id": "9" } }), Some("this colour")),
        (json!({ "type": "video", "video": { "id": "9" } }), None),
        (json!({ "type": "document", "document": { "caption": "", "filename": "a.pdf" } }), Some("a.pdf")),
        (json!({ "type": "document", "document": { "caption": "c", "filename": "a.pdf" } }), Some("c")),
        (json!({ "type": "audio", "audio": { "voice": true } }), None),
        (json!({ "type": "sticker", "sticker": { "animated": true } }), None),
        (
            json!({ "type": "location", "location": { "latitude": 40.4, "name": "Shop", "address": "Test St 1" } }),
            Some("Shop, Test St 1"),
        ),
        (json!({ "type": "location", "location": { "address": "Test St 1" } }), Some("Test St 1")),
        (json!({ "type": "location", "location": { "latitude": 40.4, "longitude": -3.7 } }), None),
        (
            json!({ "type": "contacts", "contacts": [{ "name": { "formatted_name": "Bo Test" } }, {},
            { "name": { "formatted_name": "Cy Test" } }] }),
            Some("Bo Test, Cy Test"),
        ),
        (json!({ "type": "button", "button": { "payload": "p", "text": "Yes" } }), Some("Yes")),
        (
            json!({ "type": "interactive", "interactive": { "type": "button_reply",
            "button_reply": { "id": "slot-16", "title": "Sat 16:00" } } }),
            Some("Sat 16:00"),
        ),
        (
            json!({ "type": "interactive", "interactive": { "type": "list_reply",
            "list_reply": { "id": "r1", "title": "Row", "description": "d" } } }),
            Some("Row"),
        ),
        (
            json!({ "type": "interactive", "interactive": { "type": "nfm_reply",
            "nfm_reply": { "name": "flow", "body": "Sent", "response_json": "{}" } } }),
            Some("Sent"),
        ),
        (
            json!({ "type": "interactive", "interactive": { "type": "call_permission_reply",
            "call_permission_reply": { "response": "accept" } } }),
            None,
        ),
        (json!({ "type": "interactive", "errors": [{ "code": 131_051 }] }), None),
        (json!({ "type": "reaction", "reaction": { "message_id": "wamid.OUT1", "emoji": "👍" } }), Some("👍")),
        (json!({ "type": "reaction", "reaction": { "message_id": "wamid.OUT1" } }), None),
        (json!({ "type": "reaction", "reaction": { "message_id": "wamid.OUT1", "emoji": "" } }), None),
        (json!({ "type": "order", "order": { "catalog_id": "1", "text": "two please" } }), Some("two please")),
        (json!({ "type": "system", "system": { "body": "User changed id" } }), Some("User changed id")),
        (
            json!({ "type": "edit", "edit": { "original_message_id": "wamid.T1",
            "message": { "type": "text", "text": { "body": "new" } } } }),
            Some("new"),
        ),
        (json!({ "type": "edit", "edit": { "message": { "type": "edit", "edit": { "message": {} } } } }), None),
        (json!({ "type": "revoke", "revoke": { "original_message_id": "wamid.T1" } }), None),
        (json!({ "type": "unsupported", "errors": [{ "code": 131_051 }], "unsupported": { "type": "poll" } }), None),
        (json!({ "type": "hologram", "hologram": { "body": "x" } }), None),
        (json!({}), None),
    ] {
        let mut item = item;
        item["id"] = json!("wamid.T");
        let message = message(item.clone());
        assert_eq!(message.text.as_ref().map(|text| text.as_str()), expected, "{item}");
        let kind = item["type"].as_str().unwrap_or("unknown");
        assert_eq!(message.details.unwrap().kind, kind, "{item}");
    }
}

#[test]
fn a_sender_without_a_number_is_named_by_what_else_is_known() {
    let contact = |id: Value| json!({ "profile": { "name": "Ana Test" }, "id": 1, "wa_id": id, "user_id": "ES.2" });
    for (item, contacts, from, from_id) in [
        (json!({ "from": "12025550143", "from_user_id": "ES.1" }), json!([]), "+12025550143", Some("ES.1")),
        (json!({ "from": "ES.1" }), json!([]), "ES.1", None),
        (json!({ "from_user_id": "ES.1" }), json!([contact(json!("12025550143"))]), "ES.1", Some("ES.1")),
        (json!({}), json!([contact(json!("12025550143"))]), "+12025550143", Some("ES.2")),
        (json!({}), json!([contact(json!(null))]), "ES.2", Some("ES.2")),
        (json!({}), json!([contact(json!("1")), contact(json!("2"))]), "unknown", None),
        (json!({ "from": "", "from_user_id": 7 }), json!("none"), "unknown", None),
        (json!({ "from": "1".repeat(2000) }), json!([]), "unknown", None),
        (
            json!({ "system": { "user_id": "ES.3", "previous_user_id": "ES.2", "wa_id": "1202" } }),
            json!([]),
            "ES.2",
            None,
        ),
        (json!({ "system": { "wa_id": "12025550143" } }), json!([]), "+12025550143", None),
    ] {
        let mut item = item;
        item["id"] = json!("wamid.T");
        let value = json!({ "messages": [item], "contacts": contacts });
        let [message]: [Message; 1] = messages(value.clone()).try_into().unwrap();
        assert_eq!(message.from.as_str(), from, "{value}");
        assert_eq!(message.details.unwrap().from_id.as_deref(), from_id, "{value}");
    }
}

#[test]
fn each_of_several_contacts_names_its_own_messages() {
    let contacts = json!([
        { "profile": { "name": "Ana Test" }, "wa_id": "1" },
        { "profile": { "name": "Bo Test" }, "wa_id": "2", "user_id": "ES.2" }
    ]);
    let items = json!([{ "id": "a", "from": "1" }, { "id": "b", "from_user_id": "ES.2" }, { "id": "c", "from": "3" }]);
    let messages = messages(json!({ "contacts": contacts, "messages": items }));
    let names: Vec<_> = messages.into_iter().map(|message| message.details.unwrap().profile_name).collect();
    assert_eq!(names, [Some("Ana Test".to_owned()), Some("Bo Test".to_owned()), None]);
}

#[test]
fn the_receiver_is_the_number_of_the_business_or_its_id() {
    for (metadata, to) in [
        (json!({ "display_phone_number": "+1 202-555-0100", "phone_number_id": "2" }), "+12025550100"),
        (json!({ "display_phone_number": "none", "phone_number_id": "2" }), "2"),
        (json!({ "phone_number_id": 2 }), "unknown"),
        (json!([]), "unknown"),
    ] {
        let value = json!({ "metadata": metadata, "messages": [{ "id": "a" }] });
        assert_eq!(messages(value.clone())[0].to.as_str(), to, "{value}");
    }
}

#[test]
fn a_time_that_cannot_be_used_is_that_of_the_arrival() {
    for (timestamp, ts) in [
        (json!("1790416800"), "2026-09-26T10:00:00Z"),
        (json!(1_790_416_800), "2026-09-26T10:00:00Z"),
        (json!("0"), "1970-01-01T00:00:00Z"),
        (json!("253402300799"), "9999-12-31T23:59:59Z"),
        (json!("253402300800"), arrived().as_str()),
        (json!(""), arrived().as_str()),
        (json!("-1"), arrived().as_str()),
        (json!(-1), arrived().as_str()),
        (json!("+1"), arrived().as_str()),
        (json!(1.5), arrived().as_str()),
        (json!("99999999999999999999"), arrived().as_str()),
        (json!(null), arrived().as_str()),
        (json!(["1790416800"]), arrived().as_str()),
    ] {
        assert_eq!(message(json!({ "id": "a", "timestamp": timestamp })).ts.as_str(), ts, "{timestamp}");
    }
}

#[test]
fn a_status_keeps_its_word_its_recipient_and_its_first_error() {
    for (item, status, recipient, error_code) in [
        (
            json!({ "status": "delivered", "recipient_id": "12025550143", "recipient_user_id": "US.1" }),
            "delivered",
            "+12025550143",
            None,
        ),
        (json!({ "status": "read", "recipient_user_id": "US.1" }), "read", "US.1", None),
        (
            json!({ "status": "failed", "recipient_id": "1", "errors": [{ "code": 131_047 }, { "code": 1 }] }),
            "failed",
            "+1",
            Some(131_047),
        ),
        (json!({ "status": "failed", "errors": [{ "title": "x" }] }), "failed", "unknown", None),
        (json!({ "status": "teleported", "recipient_id": "g.us" }), "teleported", "g.us", None),
        (json!({ "status": 7, "errors": "x" }), "unknown", "unknown", None),
    ] {
        let mut item = item;
        item["id"] = json!("wamid.OUT1");
        item["timestamp"] = json!("1790416800");
        let body = envelope(json!({ "statuses": [item] }));
        let [update]: [_; 1] = received(body.as_bytes(), Statuses::Keep).statuses.try_into().unwrap();
        assert_eq!(update.message_id.as_str(), "wamid.OUT1");
        assert_eq!(
            (update.status.as_str(), update.recipient.as_str(), update.error_code),
            (status, recipient, error_code)
        );
        assert_eq!(update.ts.as_str(), "2026-09-26T10:00:00Z");
    }
}

#[test]
fn statuses_that_are_dropped_take_their_delivery_along_only_when_they_are_all_of_it() {
    let status = json!({ "id": "wamid.OUT1", "status": "sent" });
    for (value, statuses, kept) in [
        (json!({ "statuses": [status] }), Statuses::Keep, true),
        (json!({ "statuses": [status] }), Statuses::Drop, false),
        (json!({ "statuses": [status], "messages": [{ "id": "a" }] }), Statuses::Drop, true),
        (json!({ "errors": [{ "code": 1 }] }), Statuses::Drop, true),
    ] {
        let delivery = received(envelope(value.clone()).as_bytes(), statuses);
        assert_eq!(delivery.raw.is_some(), kept, "{value}");
        assert_eq!(delivery.statuses.is_empty(), statuses == Statuses::Drop || value["statuses"].is_null(), "{value}");
    }
}

#[test]
fn what_is_not_understood_is_kept_and_hides_nothing_else() {
    let right = r#"{"id":"a","type":"text","text":{"body":"x"}}"#;
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    let message = |items: &str| envelope(json!({ "messages": "ITEMS" })).replace("\"ITEMS\"", &format!("[{items}]"));
    for (body, ids) in [
        ("".to_owned(), &[][..]),
        ("[]".to_owned(), &[]),
        ("{}".to_owned(), &[]),
        ("null".to_owned(), &[]),
        ("{\"object\":".to_owned(), &[]),
        (r#"{"object":"whatsapp_business_account"}"#.to_owned(), &[]),
        (r#"{"object":"whatsapp_business_account","entry":"nope"}"#.to_owned(), &[]),
        (r#"{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages"}]}]}"#.to_owned(), &[]),
        (message(right).replace("whatsapp_business_account", "page"), &[]),
        (message(right).replace("\"field\":\"messages\"", "\"field\":\"calls\""), &[]),
        (message(&format!("{{}},7,{{\"id\":7}},{{\"id\":\"\"}},{right}")), &["a"]),
        (message(&format!("{{\"id\":\"{}\"}},{right}", "x".repeat(1025))), &["a"]),
        (message(&right.replace("\"x\"", r#""\ud800""#)), &["a"]),
        (message(&right.replace("\"a\"", r#""\ud800""#)), &[]),
        (message(&right.replace("\"x\"", r#""\u0000""#)), &["a"]),
        (message(&right.replace("\"x\"", &deep)), &["a"]),
        (message(&right.replace("\"id\":\"a\"", r#""id":"b","id":"a""#)), &["a"]),
        (message(&format!("{right},{right}")), &["a", "a"]),
        (message(right) + "x", &[]),
    ] {
        let delivery = received(body.as_bytes(), Statuses::Keep);
        let known: Vec<&str> = delivery.messages.iter().map(|message| message.id.as_str()).collect();
        assert_eq!(known, ids, "{body}");
        assert_eq!(delivery.raw.unwrap().body, body.as_bytes());
    }
    assert!(received(b"\xff\xfe{}", Statuses::Keep).messages.is_empty());
}

/// Pieces of real envelopes in any order, cut and doubled.
#[test]
fn no_bytes_make_the_parser_panic_and_each_place_holds_the_item() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    let utf8 = ESCAPED.replace(r"\u00bf", "¿");
    for _ in 0..3000 {
        let mut body = if fastrand::bool() { ESCAPED } else { &utf8 }.as_bytes().to_vec();
        for _ in 0..fastrand::usize(0..4) {
            let (from, to) = (fastrand::usize(..body.len()), fastrand::usize(..body.len()));
            let piece = body[from.min(to)..from.max(to)].to_vec();
            match fastrand::u8(0..4) {
                0 => body[from] = fastrand::u8(..),
                1 => drop(body.drain(from.min(to)..from.max(to))),
                2 => drop(body.splice(from..from, piece)),
                _ => body.truncate(from.max(1)),
            }
            if body.is_empty() {
                break;
            }
        }
        let delivery = received(&body, Statuses::Keep);
        for message in delivery.messages {
            let item: Value = serde_json::from_slice(&body[message.details.unwrap().place]).unwrap();
            assert_eq!(item["id"], message.id.as_str());
        }
    }
}

#[test]
fn only_the_right_signature_is_accepted() {
    let secrets = Secrets { current: Secret::new(SECRET).unwrap(), previous: Secret::new(b"previous") };
    let body = ESCAPED.as_bytes();
    let outcome = |fields: &[(&str, &str)]| verify(&secrets, fields, body).map(|(_, matched)| matched);
    let right = format!("sha256={ESCAPED_TAG}");
    let previous = sign(&Secret::new(b"previous").unwrap(), body);
    let other = format!("sha256={UTF8_TAG}");
    assert_eq!(outcome(&[(FIELD, &right)]), Ok(MatchedSecret::Current));
    assert_eq!(outcome(&[(FIELD, &previous)]), Ok(MatchedSecret::Previous));
    for (fields, fault) in [
        (&[][..], SignatureFault::Missing),
        (&[("X-Signature", right.as_str())], SignatureFault::Missing),
        (&[(FIELD, &right), (FIELD, &right)], SignatureFault::Repeated),
        (&[(FIELD, &other)], SignatureFault::Mismatch),
        (&[(FIELD, "sha1=bb8f")], SignatureFault::NotHex),
        (&[(FIELD, &right[..60])], SignatureFault::Length),
    ] {
        assert_eq!(outcome(fields), Err(fault), "{fields:?}");
    }
}
