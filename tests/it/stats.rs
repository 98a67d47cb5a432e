//! GET /stats: exact at any time, whoever writes to the database.

use crate::harness::{Database, Delivery, Directory, Server, own_address, program, run, until};
use serde_json::{Value, json};

fn from(id: &str, from: &str, ts: &str) -> String {
    Delivery { from: from.to_owned(), ts: ts.to_owned(), ..Delivery::of(id) }.body()
}

#[test]
fn an_empty_inbox_has_zeros_and_nulls() {
    let server = Server::start();
    let reply = server.get("/stats");
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.text(),
        r#"{"total_messages":0,"senders_count":0,"messages_per_sender":[],"first_message_ts":null,"last_message_ts":null}"#
    );
}

#[test]
fn the_ten_most_frequent_senders_are_listed_and_equal_counts_are_in_the_order_of_the_sender() {
    let server = Server::start();
    let mut bodies = Vec::new();
    // Twelve senders: one with 3 messages, eight with 2, three with 1, of whom only the least sender has a place.
    for (sender, count) in (20..32).zip([2, 1, 2, 2, 3, 2, 1, 2, 2, 2, 1, 2]) {
        bodies
            .extend((0..count).map(|n| from(&format!("{sender}-{n}"), &format!("+{sender}"), "2025-01-15T10:00:00Z")));
    }
    fastrand::Rng::with_seed(3).shuffle(&mut bodies);
    server.deliver_all(&bodies, 1);
    let expected = [(24, 3), (20, 2), (22, 2), (23, 2), (25, 2), (27, 2), (28, 2), (29, 2), (31, 2), (21, 1)];
    let expected: Vec<Value> =
        expected.iter().map(|(sender, count)| json!({ "from": format!("+{sender}"), "count": count })).collect();
    let stats = server.get("/stats").json();
    assert_eq!(stats["messages_per_sender"], json!(expected));
    assert_eq!((&stats["total_messages"], &stats["senders_count"]), (&json!(22), &json!(12)));
}

#[test]
fn senders_are_ordered_by_their_bytes_and_not_as_numbers() {
    let server = Server::start();
    let bodies = ["+9", "+10", "+1", "+100"].map(|sender| from(sender, sender, "2025-01-15T10:00:00Z"));
    server.deliver_all(&bodies, 1);
    let stats = server.get("/stats").json();
    let order: Vec<_> = stats["messages_per_sender"].as_array().unwrap().iter().map(|entry| &entry["from"]).collect();
    assert_eq!(order, ["+1", "+10", "+100", "+9"]);
}

#[test]
fn the_first_and_the_last_timestamp_are_by_instant_and_as_they_were_sent() {
    let server = Server::start();
    for (id, ts, first, last) in [
        ("a", "2025-01-15T10:00:00.5Z", "2025-01-15T10:00:00.5Z", "2025-01-15T10:00:00.5Z"),
        ("b", "2025-01-15T10:00:00Z", "2025-01-15T10:00:00Z", "2025-01-15T10:00:00.5Z"),
        ("c", "2025-01-15T10:00:00.50000001Z", "2025-01-15T10:00:00Z", "2025-01-15T10:00:00.50000001Z"),
        ("d", "2025-01-15T10:00:00.2Z", "2025-01-15T10:00:00Z", "2025-01-15T10:00:00.50000001Z"),
        ("e", "1969-12-31T23:59:59.000Z", "1969-12-31T23:59:59.000Z", "2025-01-15T10:00:00.50000001Z"),
    ] {
        assert_eq!(server.deliver(from(id, "+1", ts)).status, 200);
        let stats = server.get("/stats").json();
        assert_eq!((&stats["first_message_ts"], &stats["last_message_ts"]), (&json!(first), &json!(last)), "{ts}");
    }
}

/// Another program, or an operator with the sqlite3 shell, changes the file while the service runs.
#[test]
fn what_another_program_changes_is_counted_listed_and_ordered_at_once() {
    let server = Server::start();
    let bodies: Vec<String> =
        (0..5).map(|n| from(&format!("m{n}"), "+1", &format!("2025-01-15T10:00:0{n}Z"))).collect();
    server.deliver_all(&bodies, 1);
    let database = Database::open(server.database());
    for (statement, total, senders, first, last, listed) in [
        (
            "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at)
             VALUES ('six columns', '+2', '+3', '2025-01-15T10:00:02.5Z', 'new', '2025-01-15T10:00:00Z')",
            6,
            2,
            "2025-01-15T10:00:00Z",
            "2025-01-15T10:00:04Z",
            "m0 m1 m2 six columns m3 m4",
        ),
        (
            "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at, ts_us, ts_ns)
             VALUES ('all columns', '+2', '+3', '2025-01-15T10:00:05Z', NULL, '', 1736935205000000, 0)",
            7,
            2,
            "2025-01-15T10:00:00Z",
            "2025-01-15T10:00:05Z",
            "m0 m1 m2 six columns m3 m4 all columns",
        ),
        (
            "UPDATE messages SET ts = '2025-01-15T09:00:00Z' WHERE message_id = 'm4'",
            7,
            2,
            "2025-01-15T09:00:00Z",
            "2025-01-15T10:00:05Z",
            "m4 m0 m1 m2 six columns m3 all columns",
        ),
        (
            "UPDATE messages SET from_msisdn = '+4' WHERE message_id IN ('m0', 'm1')",
            7,
            3,
            "2025-01-15T09:00:00Z",
            "2025-01-15T10:00:05Z",
            "m4 m0 m1 m2 six columns m3 all columns",
        ),
        (
            "DELETE FROM messages WHERE message_id IN ('m4', 'all columns') OR from_msisdn = '+4'",
            3,
            2,
            "2025-01-15T10:00:02Z",
            "2025-01-15T10:00:03Z",
            "m2 six columns m3",
        ),
        (
            "UPDATE messages SET message_id = 'M' || message_id",
            3,
            2,
            "2025-01-15T10:00:02Z",
            "2025-01-15T10:00:03Z",
            "Mm2 Msix columns Mm3",
        ),
    ] {
        database.run(statement);
        let stats = server.get("/stats").json();
        assert_eq!(stats["total_messages"], total, "{statement}");
        assert_eq!(stats["senders_count"], senders, "{statement}");
        let counted: u64 =
            stats["messages_per_sender"].as_array().unwrap().iter().filter_map(|entry| entry["count"].as_u64()).sum();
        assert_eq!(counted, total, "{statement}\n{stats}");
        assert_eq!(
            (&stats["first_message_ts"], &stats["last_message_ts"]),
            (&json!(first), &json!(last)),
            "{statement}"
        );
        assert_eq!(server.message_ids().join(" "), listed, "{statement}");
        assert_eq!(server.get("/messages?from=%2B2").json()["total"], if total == 7 { 2 } else { 1 }, "{statement}");
    }
    assert_eq!(server.deliver(from("m9", "+2", "2025-01-15T10:00:09Z")).status, 200);
    assert_eq!(server.get("/stats").json()["messages_per_sender"][1], json!({ "from": "+2", "count": 2 }));
    database.run("DELETE FROM messages");
    assert_eq!(server.get("/stats").json()["first_message_ts"], Value::Null);
    assert_eq!(server.get("/messages").json()["total"], 0);
}

/// A commit of the service's own must not hide that another program has written before it.
#[test]
fn what_another_program_changes_between_two_deliveries_is_in_the_counts_after_the_next_delivery() {
    let server = Server::start();
    let database = Database::open(server.database());
    for round in 0..20 {
        assert_eq!(server.deliver(from(&format!("m{round}"), "+1", "2025-01-15T10:00:00Z")).status, 200);
        database.run(&format!(
            "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at)
             VALUES ('other {round}', '+2', '+3', '2025-01-15T10:00:00Z', NULL, '')"
        ));
        assert_eq!(server.deliver(from(&format!("n{round}"), "+1", "2025-01-15T10:00:00Z")).status, 200);
        assert_eq!(server.get("/stats").json()["total_messages"], 3 * (round + 1), "round {round}");
    }
}

/// The schema gives a row of another program its instant, so no write of the service's own is needed.
#[test]
fn what_another_program_has_written_is_listed_and_counted_while_the_database_is_locked() {
    let server = Server::start();
    assert_eq!(server.deliver(from("m1", "+1", "2025-01-15T10:00:00Z")).status, 200);
    let database = Database::open(server.database());
    database.run(
        "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, text, created_at)
             VALUES ('other', '+2', '+3', '2025-01-15T10:00:00Z', NULL, '');
             BEGIN IMMEDIATE",
    );
    assert_eq!(server.get("/messages").json()["total"], 2);
    assert_eq!(server.message_ids(), ["m1", "other"]);
    assert_eq!(server.get("/stats").json()["total_messages"], 2);
}

#[test]
fn a_backup_that_is_restored_under_the_running_service_is_counted_anew() {
    let server = Server::start();
    for number in 0..5 {
        assert_eq!(server.deliver(from(&format!("m{number}"), "+1", "2025-01-15T10:00:00Z")).status, 200);
    }
    let backup = server.database().with_extension("backup");
    let mut database = Database::open(server.database());
    database.back_up(&backup);
    // The keeper changes the stamp within a second or two of the last change.
    let stamp = |database: &Database| database.number("SELECT stamp FROM arrival");
    let before = stamp(&database);
    assert_eq!(server.deliver(from("after the backup", "+2", "2025-01-15T10:00:01Z")).status, 200);
    until("the database is stamped", || stamp(&database) != before);
    database.restore(&backup);
    assert_eq!(server.get("/stats").json()["total_messages"], 5);
    assert_eq!(server.get("/messages?from=%2B2").json()["total"], 0);
    assert_eq!(server.deliver(from("after the backup", "+2", "2025-01-15T10:00:01Z")).status, 200);
    assert_eq!(server.get("/stats").json()["total_messages"], 6);
}

#[test]
fn the_command_prints_totals_the_last_day_and_the_senders() {
    let server = Server::start();
    let stats = |arguments: &[&str]| {
        let ended = run(program().arg("stats").args(arguments).env("LISTEN_ADDR", server.address().to_string()));
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        ended.stdout
    };
    let empty = "messages  0\nsenders   0\nfirst     none\nlast      none\n\nlast 24 h ························  at most 0 in an hour\n";
    assert_eq!(stats(&[]), empty);
    let now = jiff::Timestamp::now().to_string();
    for (id, sender, ts) in
        [("a", "+919876543210", now.as_str()), ("b", "+1", "2025-01-15T10:00:00Z"), ("c", "+1", &now)]
    {
        assert_eq!(server.deliver(from(id, sender, ts)).status, 200);
    }
    let whole = stats(&[]);
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(lines[0..2], ["messages  3", "senders   2"], "{whole}");
    assert_eq!(lines[2], "first     2025-01-15T10:00:00Z");
    assert!(lines[5].contains('█') && lines[5].ends_with("  at most 2 in an hour"), "{whole}");
    assert_eq!(
        lines[7..],
        ["sender         messages", "+1                    2", "+919876543210         1"],
        "{whole}"
    );
    let json = stats(&["--json", &format!("http://{}", server.address())]);
    assert_eq!(json, server.get("/stats").text() + "\n");
}

/// A database that another program has written can hold any text.
#[test]
fn the_command_shows_what_a_terminal_would_obey_as_marks() {
    let directory = Directory::new();
    let mut database = Database::original(&directory);
    database.insert_all(&[Delivery { from: "\u{1b}[31m\u{202e}\n".to_owned(), ..Delivery::of("m1") }]);
    drop(database);
    let server = Server::in_directory(directory, &[("READ_TOKEN", "token")]);
    let run = |arguments: &[&str], token: &str| {
        run(program().args(arguments).env("LISTEN_ADDR", server.address().to_string()).env("READ_TOKEN", token))
    };
    let shown = run(&["stats"], "token").stdout;
    assert!(shown.contains("\n[U+001B][31m[U+202E]⏎         1\n"), "{shown}");
    let json = run(&["stats", "--json"], "token").stdout;
    assert!(!json.contains('\u{202e}') && json.contains("\\u202e"), "{json}");
    let refused = run(&["stats"], "other");
    assert!(refused.status.code() == Some(1) && refused.stderr.contains("401"), "{refused:?}");
}

#[test]
fn without_a_service_the_command_says_so() {
    for command in ["stats", "sources"] {
        let ended = run(program().arg(command).env("LISTEN_ADDR", own_address()));
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("nothing answers"), "{ended:?}");
    }
}
