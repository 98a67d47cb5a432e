//! The subcommands that work on the database: `export`, `import`, `backup`, `check`, `erase`; most of it beside a
//! service that is running and loaded.

use crate::commands::command_with_input;
use crate::harness::{
    Connection, Database, Delivery, Directory, Ended, Server, database_url, delivery, json, program, run, until,
};
use serde_json::Value;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A command on a database, with no other setting.
fn on(database: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).env("DATABASE_URL", database_url(database));
    command
}

/// An import of lines from stdin.
fn import(database: &Path, lines: impl AsRef<[u8]>) -> Ended {
    let directory = Directory::new();
    let mut command = command_with_input(&directory, lines);
    run(command.arg("import").env("DATABASE_URL", database_url(database)))
}

#[track_caller]
fn export(database: &Path, arguments: &[&str]) -> String {
    let ended = run(on(database, &["export"]).args(arguments));
    assert_eq!(ended.status.code(), Some(0), "{arguments:?}\n{ended:?}");
    ended.stdout
}

/// So many messages of seven senders, without created_at.
fn lines(count: usize) -> String {
    (0..count)
        .map(|number| {
            let from = format!("+9198765{:05}", number % 7);
            let text = Some(format!("text {number} {}", "x".repeat(number % 300)));
            Delivery { from, text, ..Delivery::of(&format!("i{number}")) }.body() + "\n"
        })
        .collect()
}

fn count(database: &Path) -> i64 {
    let database = Database::open(database);
    let made = database.number("SELECT COUNT(*) FROM sqlite_schema WHERE name = 'messages'") == 1;
    if made { database.count() } else { 0 }
}

#[track_caller]
fn assert_whole(database: &Path) {
    Database::open(database).assert_whole();
}

/// Messages whose texts, ids and instants are as odd as a delivery can make them.
fn odd_messages() -> Vec<Delivery> {
    let texts = [
        "",
        " ",
        "\0",
        "a\0b",
        "line\nend\r\n",
        "\u{2028}\u{2029}\u{85}",
        "\"quoted\" \\ /",
        "{\"json\":[1]}",
        "𝔘🦀é",
        "\u{feff}bom",
        "\u{7f}\u{1}\u{1f}",
        "ends with \\",
        "\u{10ffff}\u{fffd}",
        "'; DROP TABLE messages; --",
    ];
    let instants = ["0001-01-01T00:00:00Z", "2025-01-15T10:00:00.5Z", "9999-12-31T23:59:59.999999999Z"];
    let mut messages = Vec::new();
    for (number, text) in texts.into_iter().enumerate() {
        messages.push(Delivery { text: Some(text.to_owned()), ..Delivery::of(&format!("text {number}")) });
    }
    for (number, ts) in instants.into_iter().enumerate() {
        messages.push(Delivery { ts: ts.to_owned(), ..Delivery::of(&format!("ts {number}")) });
    }
    messages.push(Delivery { text: None, ..Delivery::of("no text") });
    messages.push(Delivery { text: Some("🦀".repeat(4096)), ..Delivery::of("\n\"\\ 🦀\u{2028}") });
    messages.push(Delivery::of(&"long".repeat(256)));
    messages
}

#[test]
fn an_export_that_is_imported_is_exported_byte_for_byte_and_served_the_same() {
    let server = Server::start();
    for message in odd_messages() {
        assert_eq!(server.deliver(message.body()).status, 200, "{message:?}");
    }
    let exported = export(&server.database(), &[]);
    assert_eq!(exported.lines().count(), odd_messages().len());
    let first = json(exported.lines().next().unwrap());
    let columns: Vec<_> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(columns, ["created_at", "from", "message_id", "text", "to", "ts"]);

    let directory = Directory::new();
    let ended = import(&directory.database(), &exported);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(export(&directory.database(), &[]), exported);
    assert_whole(&directory.database());
    let other = Server::in_directory(directory, &[]);
    assert_eq!(other.items("limit=100"), server.items("limit=100"));
    assert_eq!(other.get("/stats").text(), server.get("/stats").text());
}

#[test]
fn rows_taken_over_are_exported_as_they_are_and_come_back_so() {
    let directory = Directory::new();
    let database = Database::original(&directory);
    database.run(
        "INSERT INTO messages VALUES
            ('m1', 'no number', 'somebody', 'yesterday', NULL, 'at some time'),
            ('', '+1', 'somebody', '2025-01-15T10:00:00Z', NULL, 'at some time')",
    );
    drop(database);
    let ended = run(&mut on(&directory.database(), &["export"]));
    assert_eq!(ended.status.code(), Some(74), "the schema is an older one\n{ended:?}");
    assert!(ended.stderr.contains("Start the service once"), "{ended:?}");
    let server = Server::in_directory(directory, &[]);
    let exported = export(&server.database(), &[]);
    assert_eq!(exported.lines().count(), 2, "{exported}");
    let other = Directory::new();
    assert_eq!(import(&other.database(), &exported).status.code(), Some(0));
    assert_eq!(export(&other.database(), &[]), exported);
}

#[test]
fn the_filters_of_an_export_are_those_of_messages() {
    let server = Server::start();
    let mut bodies = Vec::new();
    for number in 0..60 {
        let from = format!("+1{}", number % 3);
        let ts = format!("2025-01-15T10:00:{number:02}Z");
        let text = (number % 4 > 0).then(|| format!("Größe {}% {}", number % 5, "Ж".repeat(number % 2)));
        bodies.push(Delivery { from, ts, text, ..Delivery::of(&format!("m{number:02}")) }.body());
    }
    server.deliver_all(&bodies, 1);
    for (arguments, query) in [
        (&[][..], ""),
        (&["--from", "+11"], "from=%2B11"),
        (&["--since", "2025-01-15T10:00:30Z"], "since=2025-01-15T10:00:30Z"),
        (&["--q", "GRÖSSE 3%"], "q=GR%C3%96SSE+3%25"),
        (&["--q", "GRÖßE 3%"], "q=GR%C3%96%C3%9FE+3%25"),
        (&["--q", "ж"], "q=%D0%B6"),
        (&["--q", ""], "q="),
        (
            &["--from=+10", "--since=2025-01-15T10:00:10.5Z", "--q=ж"],
            "from=%2B10&since=2025-01-15T10:00:10.5Z&q=%D0%B6",
        ),
        (&["--from", "+999"], "from=%2B999"),
    ] {
        let exported: Vec<Value> = export(&server.database(), arguments).lines().map(json).collect();
        let listed = server.items(query);
        assert_eq!(exported.len(), listed.len(), "{arguments:?}");
        for (exported, listed) in exported.iter().zip(&listed) {
            for name in ["message_id", "from", "to", "ts", "text"] {
                assert_eq!(exported[name], listed[name], "{arguments:?}");
            }
        }
    }
}

#[test]
fn an_export_that_waits_for_its_reader_holds_nothing_up_and_one_whose_reader_has_enough_ends_in_order() {
    let server = Server::start();
    assert_eq!(import(&server.database(), lines(5000)).status.code(), Some(0));
    let mut slow = on(&server.database(), &["export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(slow.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(json(&line)["message_id"], "i0");
    assert_eq!(server.deliver(delivery("meanwhile")).status, 200);
    until("the write-ahead log can be emptied, although the export is not at its end", || {
        let database = Database::open(server.database());
        let busy = database.number("PRAGMA wal_checkpoint(TRUNCATE)");
        busy == 0
    });
    assert!(slow.try_wait().unwrap().is_none(), "it waits for its reader");
    drop(reader);
    assert_eq!(slow.wait().unwrap().code(), Some(0));
    let mut errors = String::new();
    slow.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!(errors, "");
}

#[test]
fn importing_twice_changes_nothing() {
    let directory = Directory::new();
    let input = lines(300);
    let ended = import(&directory.database(), &input);
    assert!(ended.stderr.contains("300 imported, 0 already there, 0 bad lines"), "{ended:?}");
    let exported = export(&directory.database(), &[]);
    let ended = import(&directory.database(), input.replace("text ", "another text "));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("0 imported, 300 already there, 0 bad lines"), "{ended:?}");
    assert_eq!(export(&directory.database(), &[]), exported);
}

#[test]
fn bad_lines_are_reported_with_their_number_and_the_rest_is_imported() {
    let directory = Directory::new();
    let stored = r#"{"message_id":"x","from":"+1","to":"+2","ts":"2025-01-15T10:00:00Z","created_at":"t"}"#;
    let input = [
        (delivery("a"), ""),
        ("no JSON".to_owned(), "not a JSON object"),
        (String::new(), ""),
        (delivery("b") + "\r", ""),
        (r#"["y","+1","+2","2025-01-15T10:00:00Z","t","t"]"#.to_owned(), "not a JSON object"),
        (delivery("c").replace("+919876543210", "919876543210"), "from: String should be an E.164 number"),
        (delivery("d").replace("Hello", r"a\u0000b"), ""),
        (delivery("e").replace("Hello", r"\ud800"), "at column"),
        (delivery(""), "message_id: "),
        (stored.replace(r#""from":"+1","#, ""), "from is missing or null"),
        (r#"{"data":[{"message_id":"p"}],"total":1,"limit":50,"offset":0}"#.to_owned(), "jq -c '.data[]'"),
        (r#"{"data":[],"total":0,"limit":50,"offset":0}"#.to_owned(), "page of GET /messages"),
        (r#"{"data":"no page"}"#.to_owned(), "message_id is missing or null"),
        (stored.replace(r#""+2""#, "5"), "expected a string at column"),
        (r#"{"message_id":"cut off"#.to_owned(), "not a message"),
        (stored.to_owned(), ""),
        ("\u{feff}".to_owned(), "not a JSON object"),
        (delivery("f"), ""), // without an end of line
    ];
    let path = directory.path().join("lines");
    let text: Vec<&str> = input.iter().map(|(line, _)| line.as_str()).collect();
    std::fs::write(&path, text.join("\n")).unwrap();
    let ended = run(on(&directory.database(), &["import"]).arg(&path));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let mut reported = ended.stderr.lines().filter(|line| line.starts_with("line "));
    for (number, (line, said)) in (1..).zip(&input).filter(|(_, (_, said))| !said.is_empty()) {
        let report = reported.next().unwrap_or_default();
        let right = report.starts_with(&format!("line {number}: ")) && report.contains(said);
        assert!(right, "{line:?}: {report:?}\n{ended:?}");
    }
    assert_eq!(reported.next(), None, "{ended:?}");
    assert!(ended.stderr.contains("5 imported, 0 already there, 12 bad lines"), "{ended:?}");
    let ids: Vec<_> = export(&directory.database(), &[]).lines().map(|line| json(line)["message_id"].clone()).collect();
    assert_eq!(ids, ["a", "b", "d", "x", "f"]);

    let ended = import(&directory.database(), [b"\xff\xfe\n", delivery("g").as_bytes()].concat());
    assert!(ended.stderr.contains("line 1: ") && ended.stderr.contains("1 imported"), "not UTF-8\n{ended:?}");
}

#[test]
fn an_import_that_was_killed_is_resumed_by_running_it_again() {
    let directory = Directory::new();
    let (database, input) = (directory.database(), lines(6000));
    let mut child = on(&database, &["import"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // It waits for the rest of its input when it is killed, so some is stored for sure and some is not.
    let half = input.match_indices('\n').nth(2999).unwrap().0 + 1;
    child.stdin.as_mut().unwrap().write_all(&input.as_bytes()[..half]).unwrap();
    until("some lines are stored", || database.exists() && count(&database) >= 1000);
    child.kill().unwrap();
    child.wait().unwrap();
    let stored = count(&database);
    assert!((1000..=3000).contains(&stored), "{stored}");
    assert_whole(&database);

    let ended = import(&database, &input);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains(&format!("{} imported, {stored} already there", 6000 - stored)), "{ended:?}");
    let without_time = |exported: String| -> Vec<Value> {
        let drop_time = |line: &str| {
            let mut item = json(line);
            item.as_object_mut().unwrap().remove("created_at");
            item
        };
        exported.lines().map(drop_time).collect()
    };
    let other = Directory::new();
    import(&other.database(), &input);
    assert!(without_time(export(&database, &[])) == without_time(export(&other.database(), &[])));
}

/// Does some work while messages are posted without a pause from several connections, each answered 200. `acknowledged`
/// has their ids.
fn under_load(server: &Server, acknowledged: &Mutex<HashSet<String>>, work: impl FnOnce()) {
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (over, posted) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (over, posted) = (&over, &posted);
            scope.spawn(move || {
                let mut connection = Connection::open(server.address()).expect("the server accepts");
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("load-{thread}-{number}");
                    let reply = connection.deliver(&delivery(&id)).expect("the server answers");
                    assert_eq!(reply.status, 200, "reply: {reply:?}");
                    acknowledged.lock().expect("nobody panics with the lock").insert(id);
                    posted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = Stop(&over); // also when an assertion of the work fails
        until("the load has begun", || posted.load(Ordering::Relaxed) > 50);
        work();
    });
}

#[test]
fn an_import_beside_a_loaded_service_refuses_nobody_and_the_totals_are_right_after_it() {
    let server = Server::start();
    let acknowledged = Mutex::default();
    under_load(&server, &acknowledged, || {
        let ended = import(&server.database(), lines(5000));
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(server.get("/messages?from=%2B919876500003").json()["total"], 714);
    });
    let total = 5000 + acknowledged.lock().unwrap().len();
    assert_eq!(server.get("/stats").json()["total_messages"], total);
    assert_eq!(server.get("/messages").json()["total"], total);
}

#[test]
fn an_import_waits_until_another_process_releases_the_database() {
    let server = Server::start();
    let other = Database::open(server.database());
    other.lock();
    std::thread::scope(|scope| {
        let import = scope.spawn(|| import(&server.database(), lines(10)));
        // Long enough that it meets the lock; on a machine so busy that it does not, the test passes all the same.
        std::thread::sleep(Duration::from_millis(700));
        assert!(!import.is_finished());
        other.release();
        let ended = import.join().unwrap();
        assert!(ended.stderr.contains("10 imported"), "{ended:?}");
    });
}

#[test]
fn a_backup_under_load_has_every_message_that_was_acknowledged_before_it_began() {
    let server = Server::start();
    assert_eq!(import(&server.database(), lines(20_000)).status.code(), Some(0));
    let backup = server.directory().join("backup.db");
    let acknowledged: Mutex<HashSet<String>> = Mutex::default();
    let before = Mutex::new(HashSet::new());
    under_load(&server, &acknowledged, || {
        for _ in 0..3 {
            *before.lock().unwrap() = acknowledged.lock().unwrap().clone();
            let ended = run(on(&server.database(), &["backup", "--replace"]).arg(&backup));
            assert_eq!(ended.status.code(), Some(0), "{ended:?}");
            assert!(ended.stderr.contains("integrity ok"), "{ended:?}");
        }
    });
    let files: Vec<_> = std::fs::read_dir(server.directory()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().starts_with("backup.db.")), "{files:?}");

    let restored = Directory::new();
    std::fs::rename(&backup, restored.database()).unwrap();
    assert_whole(&restored.database());
    let restored = Server::in_directory(restored, &[]);
    let ids: HashSet<String> = restored.message_ids().into_iter().collect();
    let lost: Vec<_> = before.lock().unwrap().difference(&ids).cloned().collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    assert!((0..20_000).all(|number| ids.contains(&format!("i{number}"))));
    assert_eq!(restored.get("/stats").json()["total_messages"], ids.len());
}

#[test]
fn a_backup_overwrites_nothing_unless_it_is_told_to() {
    let server = Server::start();
    server.deliver(delivery("m1"));
    let file = |name: &str| server.directory().join(name);
    let backup =
        |arguments: &[&str], name: &str| run(on(&server.database(), &["backup"]).args(arguments).arg(file(name)));

    std::fs::write(file("a"), "precious").unwrap();
    let ended = backup(&[], "a");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("--replace"), "{ended:?}");
    assert_eq!(std::fs::read_to_string(file("a")).unwrap(), "precious");
    let ended = backup(&["--replace"], "a");
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("replacing"), "{ended:?}");
    assert_eq!(count(&file("a")), 1);

    symlink(server.database(), file("link")).unwrap();
    for name in ["inbox.db", "inbox.db-wal", "inbox.db-shm", "link"] {
        let ended = backup(&["--replace"], name);
        assert_eq!(ended.status.code(), Some(1), "{name}\n{ended:?}");
        assert!(ended.stderr.contains("the database itself"), "{name}\n{ended:?}");
    }
    let ended = run(on(&server.database(), &["backup", "file:copy.db"]).current_dir(server.directory()));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(count(&file("file:copy.db")), 1, "a name, not a URI");
    std::fs::write(file("b-wal"), "left over").unwrap();
    assert_eq!(backup(&[], "b").status.code(), Some(1), "SQLite would play it back into the copy");
    assert_eq!(backup(&[], "missing/b").status.code(), Some(1));

    std::fs::create_dir(file("directory")).unwrap();
    for arguments in [&[][..], &["--replace"]] {
        let ended = backup(arguments, "directory");
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}\n{ended:?}");
        assert!(ended.stderr.contains("directory is a directory. Name a file in it"), "{arguments:?}\n{ended:?}");
        assert!(!file("directory.partial").exists(), "{arguments:?}");
    }

    // What a backup that was killed has left.
    std::fs::write(file("c.partial"), "rest".repeat(10_000)).unwrap();
    assert_eq!(backup(&[], "c").status.code(), Some(0));
    assert!(!file("c.partial").exists());
    assert_eq!(count(&file("c")), 1);
    assert_eq!(server.deliver(delivery("m2")).status, 200);
}

#[test]
fn a_backup_can_be_read_by_nobody_who_could_not_read_the_database() {
    let server = Server::start();
    for mode in [0o600, 0o640] {
        std::fs::set_permissions(server.database(), PermissionsExt::from_mode(mode)).unwrap();
        let file = server.directory().join(format!("{mode:o}"));
        assert_eq!(run(on(&server.database(), &["backup"]).arg(&file)).status.code(), Some(0));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, mode);
    }
}

#[test]
fn a_database_of_an_older_version_can_be_backed_up_before_it_is_upgraded() {
    let directory = Directory::new();
    let mut database = Database::original(&directory);
    database.insert_all(&[Delivery::of("m1")]);
    drop(database);
    let file = directory.path().join("backup.db");
    let ended = run(on(&directory.database(), &["backup"]).arg(&file));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(count(&file), 1);
    for database in [directory.database(), file] {
        let database = Database::open(database);
        assert_eq!(database.version(), 0, "it was not migrated");
    }
}

#[test]
fn a_database_that_is_not_there_or_cannot_be_used_is_exit_status_74_and_nothing_is_created() {
    let directory = Directory::new();
    let backup = directory.path().join("backup.db");
    let commands =
        [vec!["export"], vec!["backup", backup.to_str().unwrap()], vec!["check"], vec!["erase", "--from", "+1"]];
    let fails = |said: &str| {
        for arguments in &commands {
            let ended = run(on(&directory.database(), arguments).env("WEBHOOK_SECRET", "s"));
            assert_eq!(ended.status.code(), Some(74), "{arguments:?}\n{ended:?}");
            assert!(ended.stderr.contains("inbox.db") && ended.stderr.contains(said), "{arguments:?}\n{ended:?}");
        }
        assert!(!backup.exists());
    };
    fails("no such file");
    assert!(!directory.database().exists());
    std::fs::write(directory.database(), "this is not SQLite".repeat(1000)).unwrap();
    fails("not a database");
    assert_eq!(import(&directory.database(), lines(1)).status.code(), Some(74));

    let newer = Directory::new();
    Database::open(newer.database()).run("PRAGMA user_version = 1000");
    for arguments in [&["export"][..], &["import"], &["check"], &["erase", "--from", "+1"]] {
        let ended = run(on(&newer.database(), arguments).env("WEBHOOK_SECRET", "s"));
        assert_eq!(ended.status.code(), Some(74), "{arguments:?}\n{ended:?}");
        assert!(ended.stderr.contains("newer version"), "{arguments:?}\n{ended:?}");
    }
}

#[test]
fn check_finds_what_is_wrong_with_the_settings_and_the_database() {
    let directory = Directory::new();
    assert_eq!(import(&directory.database(), lines(500)).status.code(), Some(0));
    let check = |secret: &str| run(on(&directory.database(), &["check"]).env("WEBHOOK_SECRET", secret));
    let ended = check("s");
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    let all = "\nconfiguration: ok\nintegrity: ok\nschema: ok\n500 messages and their indexes: ok\n";
    assert!(ended.stdout.ends_with(all), "{ended:?}");
    let ended = check("");
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    assert!(ended.stderr.contains("WEBHOOK_SECRET") && ended.stdout.contains("integrity: ok"), "{ended:?}");

    let sql = |sql: &str| Database::open(directory.database()).run(sql);
    for (damage, said, repair) in [
        (
            "UPDATE messages SET ts_us = ts_us + 1 WHERE message_id = 'i7'",
            "\"i7\" has not the instant of its ts",
            "UPDATE messages SET ts_us = ts_us - 1 WHERE message_id = 'i7'",
        ),
        (
            "DROP INDEX messages_by_sender",
            "messages_by_sender is missing",
            "CREATE INDEX messages_by_sender ON messages (from_msisdn, ts_us, ts_ns)",
        ),
    ] {
        sql(damage);
        let ended = check("s");
        assert_eq!(ended.status.code(), Some(1), "{damage}\n{ended:?}");
        assert!(ended.stderr.contains(said), "{damage}\n{ended:?}");
        sql(repair);
        assert_eq!(check("s").status.code(), Some(0), "{repair}");
    }
    // An index that has not what the table has.
    sql("PRAGMA writable_schema = 1;
         CREATE TABLE other (a, b, c);
         CREATE INDEX swapped ON other (a, b, c);
         UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'swapped')
         WHERE name = 'messages_by_sender';
         DELETE FROM sqlite_schema WHERE name IN ('swapped', 'other')");
    let ended = check("s");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("messages_by_sender") && ended.stderr.contains("restore a backup"), "{ended:?}");
    assert!(ended.stderr.contains("500 messages, but 0 in the index"), "{ended:?}");
    assert_eq!(export(&directory.database(), &[]).lines().count(), 500, "an export needs no index");
}

#[test]
fn erase_removes_one_senders_messages_from_the_files_while_the_service_runs() {
    const TEXT: &str = "a text that nobody else has";
    let server = Server::start();
    assert_eq!(import(&server.database(), lines(3000)).status.code(), Some(0));
    let of = |number| {
        let (from, text) = ("+49555000111".to_owned(), Some(TEXT.to_owned()));
        Delivery { from, text, ..Delivery::of(&format!("d{number}")) }.body()
    };
    let bodies: Vec<String> = (0..400).map(of).collect();
    server.deliver_all(&bodies, 4);
    assert_eq!(server.get("/stats").json()["total_messages"], 3400);
    let times_in_files = || -> usize {
        let files = std::fs::read_dir(server.directory()).unwrap().map(|file| file.unwrap().path());
        let contents = files.filter_map(|file| std::fs::read(file).ok()); // the private socket cannot be read
        contents.map(|bytes| bytes.windows(TEXT.len()).filter(|part| *part == TEXT.as_bytes()).count()).sum()
    };
    assert!(times_in_files() >= 400);
    let erase = |arguments: &[&str]| run(on(&server.database(), &["erase", "--from", "+49555000111"]).args(arguments));

    let ended = erase(&["--dry-run"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "400 messages of +49555000111 would be erased\n");
    assert_eq!(server.get("/stats").json()["total_messages"], 3400);

    let ended = erase(&[]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "400 messages of +49555000111 erased\n");
    let stats = server.get("/stats").json();
    assert_eq!((&stats["total_messages"], &stats["senders_count"]), (&3000.into(), &7.into()), "{stats}");
    assert_eq!(server.get("/messages?from=%2B49555000111").json()["total"], 0);
    assert_eq!(server.get("/messages").json()["total"], 3000);
    assert_eq!(times_in_files(), 0, "it is still in a file");
    assert_whole(&server.database());

    for arguments in [&[][..], &["--dry-run"]] {
        let ended = erase(arguments);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(1), ""), "{arguments:?}\n{ended:?}");
        assert!(ended.stderr.contains("+49555000111 is unknown"), "{arguments:?}\n{ended:?}");
    }
    assert_eq!(server.deliver(&bodies[0]).status, 200, "it is stored again when it is sent again");
    assert_eq!(server.get("/messages?from=%2B49555000111").json()["total"], 1);
}

/// How often a text stands in a file, wherever that may be. A log that is gone has none.
fn times_in(file: &Path, text: &str) -> usize {
    memchr::memmem::find_iter(&std::fs::read(file).unwrap_or_default(), text).count()
}

/// What no other message of these tests has: a number, a text and a part of an id.
const ERASED: [&str; 3] = ["+49555000111", "erase this text", "-erased-id"];

/// A message of the sender that is erased, with an id that sends it to a random place of the index.
fn to_erase(rng: &mut fastrand::Rng) -> Delivery {
    let [from, text, id] = ERASED;
    Delivery {
        from: from.to_owned(),
        text: Some(text.to_owned()),
        ..Delivery::of(&format!("{:016x}{id}", rng.u64(..)))
    }
}

#[track_caller]
fn assert_erased(database: &Path, messages: usize) {
    let backup = database.with_extension("backup");
    let ended = run(&mut on(database, &["erase", "--from", ERASED[0]]));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout, format!("{messages} messages of {} erased\n", ERASED[0]));
    assert_eq!(run(&mut on(database, &["backup", backup.to_str().unwrap()])).status.code(), Some(0));
    for file in [database, &database.with_extension("db-wal"), &backup] {
        let found = ERASED.map(|text| (text, times_in(file, text)));
        assert_eq!(found, ERASED.map(|text| (text, 0)), "{messages} messages in {}", file.display());
    }
    assert_whole(&backup);
    assert_eq!(run(on(database, &["check"]).env("WEBHOOK_SECRET", "s")).status.code(), Some(0));
}

/// Issue 15: the pages that SQLite had split kept copies of texts, ids and numbers.
#[test]
fn what_the_service_has_stored_is_in_no_unused_part_of_a_page_after_erase() {
    for (erased, kept) in [(200, 0), (1_000, 2_000)] {
        let server = Server::start();
        let mut rng = fastrand::Rng::with_seed(15);
        let mut messages: Vec<Delivery> = (0..kept).map(|_| Delivery::of(&format!("{:016x}", rng.u64(..)))).collect();
        messages.extend((0..erased).map(|_| to_erase(&mut rng)));
        rng.shuffle(&mut messages);
        let bodies: Vec<String> = messages.iter().map(Delivery::body).collect();
        server.deliver_all(&bodies, 1);
        assert_erased(&server.database(), erased);
        assert_eq!(server.message_ids().len(), kept);
    }
}

#[test]
fn what_another_program_has_left_is_in_no_unused_part_of_the_file_after_erase() {
    let directory = Directory::new();
    let mut rng = fastrand::Rng::with_seed(15);
    let mut connection = Database::original(&directory);
    for number in 0..3_000 {
        // Rows of several pages too, whose pages go to the freelist.
        let text = Some("long ".repeat(number % 7 * 300));
        let other = Delivery { text, from: "+1".to_owned(), ..Delivery::of(&format!("{:016x}", rng.u64(..))) };
        connection.insert_all([&to_erase(&mut rng), &other]);
    }
    connection.run(
        "PRAGMA secure_delete = OFF;
             DELETE FROM messages WHERE from_msisdn = '+1' AND rowid % 3 = 0;
             DELETE FROM messages WHERE text = 'erase this text' AND rowid < 3000",
    );
    let free = connection.number("PRAGMA freelist_count");
    assert!(free > 100, "{free} pages are free");
    drop(connection);
    let server = Server::in_directory(directory, &[]);
    assert!(times_in(&server.database(), "erase this text") > 1_500, "copies are left of what was deleted");
    assert_erased(&server.database(), 1_500);
    assert_eq!(server.deliver(delivery("new")).status, 200);
    assert_eq!(server.get("/messages").json()["total"], 2_001);
}

/// The journal of what other programs have changed has senders too.
#[test]
fn the_journal_keeps_no_number_after_erase_with_a_service_or_without_one() {
    for with_service in [true, false] {
        let directory = Directory::new();
        let mut server = Server::in_directory(directory, &[]);
        let mut rng = fastrand::Rng::with_seed(15);
        let bodies: Vec<String> = (0..2_500).map(|_| to_erase(&mut rng).body()).collect();
        server.deliver_all(&bodies, 8);
        if !with_service {
            server.kill();
        }
        Database::open(server.database()).run("UPDATE messages SET text = 'erase this text' WHERE seq % 2 = 0");
        assert_erased(&server.database(), 2_500);
        assert_eq!(Database::open(server.database()).number("SELECT COUNT(*) FROM journal"), 0);
    }
}

#[test]
fn erase_says_when_it_cannot_overwrite_the_unused_parts_of_the_file() {
    let directory = Directory::new();
    let empty = Database::open(directory.database());
    empty.run("PRAGMA auto_vacuum = FULL; VACUUM");
    drop(empty);
    let server = Server::in_directory(directory, &[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let ended = run(&mut on(&server.database(), &["erase", "--from", "+919876543210"]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stdout.contains("1 messages") && ended.stderr.contains("VACUUM"), "{ended:?}");
    assert_whole(&server.database());
}

#[test]
fn erase_beside_a_loaded_service_refuses_nobody() {
    let server = Server::start();
    assert_eq!(import(&server.database(), lines(14_000)).status.code(), Some(0));
    let acknowledged = Mutex::default();
    let over = AtomicBool::new(false);
    under_load(&server, &acknowledged, || {
        // Another connection that copies the write-ahead log over and over, as the service does now and then: SQLite
        // lets only one do so, and does not wait.
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| {
                let other = Database::open(server.database());
                while !over.load(Ordering::Relaxed) {
                    other.number("PRAGMA wal_checkpoint"); // it fails for nothing but an error
                }
            });
            let ended = run(&mut on(&server.database(), &["erase", "--from", "+919876500003"]));
            over.store(true, Ordering::Relaxed);
            ended
        });
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_eq!(ended.stdout, "2000 messages of +919876500003 erased\n");
        assert_eq!(server.get("/messages?from=%2B919876500003").json()["total"], 0);
    });
    let total = 12_000 + acknowledged.lock().unwrap().len();
    assert_eq!(server.get("/stats").json()["total_messages"], total);
    assert_whole(&server.database());
}
