//! A database of the original service is migrated in place: nothing is lost, and every row is served as it is.

use crate::harness::{Database, Delivery, Directory, Server, delivery, ids};
use serde_json::{Value, json};

#[test]
fn a_database_of_the_original_service_is_taken_over_with_every_row_as_it_is() {
    let directory = Directory::new();
    let mut rng = fastrand::Rng::with_seed(5);
    let mut rows: Vec<Delivery> = (0..5_000)
        .map(|index| {
            let fraction = rng.choice(["", ".5", ".25", ".123456789", ".000000"]).expect("there are some");
            Delivery {
                from: format!("+{}", rng.u8(1..=20)),
                ts: format!("2025-01-{:02}T{:02}:00:00{fraction}Z", rng.u8(1..=31), rng.u8(0..24)),
                text: rng.bool().then(|| format!("text {index}")),
                ..Delivery::of(&format!("m{index:04}"))
            }
        })
        .collect();
    let mut connection = Database::original(&directory);
    connection.insert_all(&rows);
    drop(connection);
    let mut server = Server::in_directory(directory, &[]);
    rows.sort_by_key(|row| {
        let (seconds, fraction) = row.ts.trim_end_matches('Z').split_at(19);
        (seconds.to_owned(), format!("{:0<9}", fraction.trim_start_matches('.')), row.message_id.clone())
    });
    let expected: Vec<Value> = rows.iter().map(|row| json!(row)).collect();
    for _ in 0..2 {
        assert!(server.items("limit=100") == expected, "the rows are not those that were there, or not in order");
        assert_eq!(server.get("/stats").json()["total_messages"], 5_000);
        assert_eq!(server.get("/stats").json()["senders_count"], 20);
        assert_eq!(server.deliver(delivery("m0000")).status, 200);
        assert_eq!(server.get("/messages").json()["total"], 5_000, "what was stored before is a duplicate");
        server.kill_and_restart();
    }
    let database = Database::open(server.database());
    assert!(database.version() > 0, "the migrations that were applied are recorded");
    let stored = database.text("SELECT created_at FROM messages WHERE message_id = 'm0000'");
    assert_eq!(stored, "2025-01-15T10:00:01Z", "columns that are not served are kept, too");
}

/// The original service's table takes anything, and so does whoever edits it with a shell.
#[test]
fn odd_rows_are_served_too_and_do_no_harm_to_the_others() {
    let directory = Directory::new();
    let connection = Database::original(&directory);
    connection.run(
        "INSERT INTO messages VALUES
                ('no time', '+1', '+2', 'yesterday', 'a', ''),
                ('empty time', '+1', '+2', '', 'a', ''),
                ('offset time', '+1', '+2', '2025-01-15T10:00:00+00:00', 'a', ''),
                ('blob text', '+1', '+2', '2025-01-15T10:00:01Z', x'414243', ''),
                ('no UTF-8', '+1', '+2', '2025-01-15T10:00:02Z', CAST(x'61ff62' AS TEXT), ''),
                ('numbers', 12345, 6.5, '2025-01-15T10:00:03Z', 789, ''),
                ('empty sender', '', '', '2025-01-15T10:00:04Z', 'a', ''),
                ('', '+1', '+2', '2025-01-15T10:00:05Z', 'empty id', ''),
                ('blob sender', x'2b31', '+2', '2025-01-15T10:00:06Z', 'a', ''),
                ('long text', '+1', '+2', '2025-01-15T10:00:07Z', printf('%.5000c', 'x'), ''),
                ('right', '+1', '+2', '2025-01-15T10:00:08Z', 'a', '')",
    );
    drop(connection);
    let server = Server::in_directory(directory, &[]);
    let expected = [
        "empty time",
        "no time",
        "offset time",
        "blob text",
        "no UTF-8",
        "numbers",
        "empty sender",
        "",
        "blob sender",
        "long text",
        "right",
    ];
    let items = server.items("limit=100");
    let mut listed = ids(&items);
    listed[..3].sort_unstable(); // where an instant that cannot be read belongs, the contract does not say
    assert_eq!(listed, expected);
    let item = |id: &str| items.iter().find(|item| item["message_id"] == id).unwrap_or_else(|| panic!("no {id}"));
    assert_eq!(item("no time")["ts"], "yesterday");
    assert_eq!(item("blob text")["text"], "ABC");
    assert_eq!(item("no UTF-8")["text"], "a\u{fffd}b");
    let numbers = item("numbers");
    assert_eq!((&numbers["from"], &numbers["to"], &numbers["text"]), (&json!("12345"), &json!("6.5"), &json!("789")));
    assert_eq!(item("long text")["text"].as_str().map(str::len), Some(5_000));

    for limit in [1, 2, 3] {
        let mut listed = ids(&server.items(&format!("limit={limit}")));
        listed[..3].sort_unstable();
        assert_eq!(listed, expected, "page by page, limit={limit}");
    }
    for (query, total) in [
        ("", 11),
        ("q=a", 8),
        ("q=abc", 1),
        ("q=empty+id", 1),
        ("from=12345", 1),
        ("from=", 1),
        ("since=2025-01-15T10:00:00Z", 8),
        ("since=2025-01-15T10:00:05Z", 4),
        ("since=2025-01-15T10:00:05Z&q=empty", 1),
    ] {
        let reply = server.get(&format!("/messages?{query}"));
        assert_eq!(reply.status, 200, "{query}\nreply: {reply:?}");
        assert_eq!(reply.json()["total"], total, "{query}\nreply: {reply:?}");
    }
    let stats = server.get("/stats").json();
    assert_eq!(stats["total_messages"], 11);
    assert_eq!(
        (&stats["first_message_ts"], &stats["last_message_ts"]),
        (&json!("2025-01-15T10:00:01Z"), &json!("2025-01-15T10:00:08Z"))
    );
    assert_eq!(server.deliver(delivery("new")).status, 200);
    assert_eq!(server.get("/messages").json()["total"], 12);
}

/// What was not text becomes text once, and may then read as another message's identifier.
#[test]
fn identifiers_that_read_the_same_stay_different_messages() {
    let directory = Directory::new();
    Database::original(&directory).run(
        "INSERT INTO messages VALUES
            ('m1', '+1', '+2', '2025-01-15T10:00:00Z', 'text', ''),
            (x'6d31', '+1', '+2', '2025-01-15T10:00:01Z', 'blob', ''),
            (NULL, '+1', '+2', '2025-01-15T10:00:02Z', 'first without', ''),
            (NULL, '+1', '+2', '2025-01-15T10:00:03Z', 'second without', ''),
            (x'6d32', '+1', '+2', '2025-01-15T10:00:04Z', 'blob alone', '')",
    );
    let server = Server::in_directory(directory, &[]);
    assert_eq!(server.message_ids(), ["m1", "m1#2", "", "#4", "m2"]);
    assert_eq!(server.deliver(delivery("m2")).status, 200);
    assert_eq!(server.get("/messages").json()["total"], 5, "it is a duplicate now");
    assert_eq!(server.get("/stats").json()["total_messages"], 5);
}

/// A cursor has to carry the whole message_id, within the head of a request.
#[test]
fn a_message_id_of_more_than_1024_bytes_is_cut_and_gets_the_number_of_its_row() {
    let directory = Directory::new();
    let long = |last: &str| "🦀".repeat(400) + last;
    let kept = "x".repeat(1_024);
    let deliveries = [&long("a"), &long("b"), &kept].map(|id| Delivery::of(id));
    Database::original(&directory).insert_all(&deliveries);
    let server = Server::in_directory(directory, &[]);
    let cut = "🦀".repeat(200) + "…";
    assert_eq!(server.message_ids(), [kept, cut.clone(), format!("{cut}#2")]);
}

#[test]
fn an_empty_file_and_an_empty_table_are_taken_over() {
    for prepare in [
        |path| drop(std::fs::write(path, b"")),
        |path| {
            Database::open(path).run(include_str!("../data/original.sql"));
        },
    ] {
        let prepare: fn(std::path::PathBuf) = prepare;
        let directory = Directory::new();
        prepare(directory.database());
        let server = Server::in_directory(directory, &[]);
        assert_eq!(server.deliver(delivery("m1")).status, 200);
        assert_eq!(server.message_ids(), ["m1"]);
    }
}

#[test]
fn what_kill_9_leaves_beside_the_file_is_read_at_the_next_start() {
    let mut server = Server::start();
    let bodies: Vec<String> = (0..500).map(|index| delivery(&format!("m{index:03}"))).collect();
    server.deliver_all(&bodies, 8);
    server.kill();
    let wal = server.database().with_extension("db-wal");
    assert!(wal.metadata().is_ok_and(|wal| wal.len() > 0), "the test needs a write-ahead log that was not copied");
    server.start_again();
    assert_eq!(server.message_ids().len(), 500);
}

/// The pages end, and hold every row once, whatever a message_id is. The original's PRIMARY KEY takes even NULL.
#[test]
fn the_links_lead_past_message_ids_that_are_no_text() {
    let mut failed = Vec::new();
    for (case, id) in [
        ("NULL", "NULL"),
        ("a blob", "x'6d31'"),
        ("a blob that is not UTF-8", "x'ff'"),
        ("a text that is not UTF-8", "CAST(x'6dff' AS TEXT)"),
        ("empty", "''"),
    ] {
        let directory = Directory::new();
        let insert = format!(
            "INSERT INTO messages VALUES ('a', '+1', '+2', '2025-01-15T10:00:00Z', 'hello', ''),
                ({id}, '+1', '+2', '2025-01-15T10:00:00Z', 'hello', ''),
                ('n', '+1', '+2', '2025-01-15T10:00:00Z', 'hello', ''),
                ('z', '+1', '+2', '2025-01-15T10:00:01Z', 'hello', '')"
        );
        Database::original(&directory).run(&insert);
        let server = Server::in_directory(directory, &[]);
        for filter in ["", "&q=hello", "&from=%2B1", "&since=2025-01-15T10:00:00Z&q=hello"] {
            let (mut next, mut pages) = (Some(format!("/messages?limit=1{filter}")), Vec::new());
            while let Some(target) = next.take().filter(|_| pages.len() < 8) {
                let reply = server.get(&target);
                pages.push(reply.json()["data"][0]["message_id"].to_string());
                next = reply.next();
            }
            let different: std::collections::HashSet<_> = pages.iter().collect();
            if pages.len() != 4 || different.len() != 4 {
                failed.push(format!("{case}{filter}: {pages:?}"));
            }
        }
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}
