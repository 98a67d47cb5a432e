//! RETENTION_DAYS and STATUS_RETENTION_DAYS: what arrived longer ago is deleted, and nothing else.

use crate::harness::{Database, Delivery, Directory, Server, delivery, sign, until};
use serde_json::json;

const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";

fn deliver_meta(server: &Server, value: &serde_json::Value) {
    let envelope = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [
        { "field": "messages", "value": value }
    ] }] });
    let body = envelope.to_string();
    let signature = format!("sha256={}", sign(APP_SECRET, &body));
    let reply = server.request("POST", "/webhook/meta", &[("X-Hub-Signature-256", &signature)], body.as_bytes());
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[test]
fn messages_that_arrived_longer_ago_are_deleted_and_the_counts_follow() {
    let server = Server::in_directory(Directory::new(), &[("RETENTION_DAYS", "30")]);
    let deliveries: Vec<String> = (0..300)
        .map(|index| Delivery { from: format!("+{}", index % 7), ..Delivery::of(&format!("old{index}")) }.body())
        .collect();
    server.deliver_all(&deliveries, 4);
    let database = Database::open(server.database());
    database.age(29);
    assert_eq!(server.deliver(delivery("young")).status, 200);
    assert_eq!(server.get("/messages").json()["total"], 301, "29 days are not 30");
    database.age(2);
    until("the old ones are deleted", || server.get("/messages").json()["total"] == 1);
    assert_eq!(server.message_ids(), ["young"]);
    let stats = server.get("/stats").json();
    assert_eq!((&stats["total_messages"], &stats["senders_count"]), (&json!(1), &json!(1)), "{stats}");
    assert_eq!(server.metric("inbox_expired_total{kind=\"message\"}"), 300.0);
    let newest = || server.get("/arrivals").json()["data"][0]["seq"].as_i64();
    let last = newest();
    database.age(60);
    until("all are deleted", || server.get("/messages").json()["total"] == 0);
    assert_eq!(server.deliver(delivery("next")).status, 200);
    assert!(newest() > last, "a seq is never given twice");
}

#[test]
fn without_a_setting_everything_is_kept() {
    let server = Server::start();
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let database = Database::open(server.database());
    database.age(36_500);
    database.wait_for_keeper();
    assert_eq!(server.message_ids(), ["m1"]);
}

#[test]
fn a_delivery_goes_with_the_last_of_its_messages_and_statuses() {
    let settings = [("META_APP_SECRET", APP_SECRET), ("RETENTION_DAYS", "30"), ("STATUS_RETENTION_DAYS", "7")];
    let server = Server::in_directory(Directory::new(), &settings);
    let message = json!({ "id": "wamid.A", "from": "12025550143", "timestamp": "1790416800", "type": "text" });
    let status = json!({ "id": "wamid.B", "status": "sent", "recipient_id": "12025550143", "timestamp": "1790416800" });
    deliver_meta(&server, &json!({ "messages": [message], "statuses": [status] }));
    deliver_meta(&server, &json!({ "nothing": "to store" }));
    let database = Database::open(server.database());
    let rows = || {
        let [messages, statuses, deliveries] = ["messages", "statuses", "deliveries"]
            .map(|table| database.number(&format!("SELECT COUNT(*) FROM {table}")));
        [messages, database.details(), statuses, deliveries]
    };
    assert_eq!(rows(), [1, 1, 1, 2]);
    database.age(8);
    until("the status is deleted", || rows() == [1, 1, 0, 2]);
    database.age(30);
    until("all is deleted", || rows() == [0, 0, 0, 0]);
    for (kind, count) in [("message", 1.0), ("status", 1.0), ("delivery", 1.0)] {
        assert_eq!(server.metric(&format!("inbox_expired_total{{kind=\"{kind}\"}}")), count, "{kind}");
    }
}
