//! What was acknowledged is on disk, and what the disk or a neighbour does to the service passes by itself.
//!
//! The faults are staged from outside: SIGKILL for a crash, RLIMIT_FSIZE for a full disk (a write beyond it fails as
//! one on a full disk does), a transaction of another connection for a locked database, and pipes that are closed or
//! not read for a log that nobody takes.

use crate::harness::{
    Connection, Database, Directory, RaisedOnDrop, Server, database_url, delivery, ids, own_address, preloadable,
    program, until,
};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[test]
fn every_message_acknowledged_before_kill_9_is_there_after_it() {
    let mut server = Server::start();
    let acknowledged = Mutex::new(HashSet::new());
    for round in 0..4 {
        let (count, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let address = server.address();
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (acknowledged, count, over) = (&acknowledged, &count, &over);
                scope.spawn(move || {
                    let mut connection = Connection::open(address).expect("the server accepts");
                    for number in 0.. {
                        let id = format!("{round}-{thread}-{number}");
                        match connection.deliver(&delivery(&id)) {
                            Ok(reply) if reply.status == 200 => {
                                acknowledged.lock().expect("nobody panics with the lock").insert(id);
                                count.fetch_add(1, Ordering::Relaxed);
                            }
                            Ok(reply) => panic!("reply: {reply:?}"),
                            Err(_) if over.load(Ordering::Relaxed) => return,
                            Err(error) => panic!("{error} before the kill"),
                        }
                    }
                });
            }
            until("some messages are acknowledged", || count.load(Ordering::Relaxed) >= 300);
            over.store(true, Ordering::Relaxed);
            server.kill();
        });
        server.start_again();
        let listed = server.message_ids();
        let different: HashSet<_> = listed.iter().cloned().collect();
        assert_eq!(listed.len(), different.len(), "round {round}: listed twice");
        let acknowledged = acknowledged.lock().expect("nobody panics with the lock");
        let lost: Vec<_> = acknowledged.difference(&different).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} lost: {lost:?}", lost.len(), acknowledged.len());
        assert_eq!(server.get("/stats").json()["total_messages"], listed.len());
    }
    let database = Database::open(server.database());
    database.assert_whole();
}

#[test]
fn a_restart_keeps_messages_counts_and_order() {
    let mut server = Server::start();
    server.deliver_all(&["b", "a", "c"].map(delivery), 1);
    let (messages, stats) = (server.get("/messages").text(), server.get("/stats").text());
    server.terminate();
    server.wait_exit();
    server.start_again();
    assert_eq!((server.get("/messages").text(), server.get("/stats").text()), (messages.clone(), stats.clone()));
    server.kill_and_restart();
    assert_eq!((server.get("/messages").text(), server.get("/stats").text()), (messages, stats));
    assert_eq!(server.deliver(delivery("a")).status, 200);
    assert_eq!(server.metric(r#"webhook_requests_total{result="duplicate"}"#), 1.0, "what was stored before");
}

#[test]
fn a_full_disk_is_answered_503_and_recovered_from_without_a_restart() {
    let server = Server::start();
    assert_eq!(server.deliver(delivery("before")).status, 200);
    for round in 0..3 {
        server.limit_file_size(Some(1));
        for number in 0..20 {
            let reply = server.deliver(delivery(&format!("{round}-{number}")));
            assert_eq!(reply.status, 503, "reply: {reply:?}\nlog:\n{}", server.log());
            assert!(reply.field("Retry-After").is_some_and(|value| value.parse::<u32>().is_ok()), "reply: {reply:?}");
            assert!(reply.json()["detail"].is_string(), "reply: {reply:?}");
            let line = server.log_line(&reply);
            assert_eq!((&line["level"], &line["result"]), (&"ERROR".into(), &"unavailable".into()), "{line}");
        }
        assert_eq!(server.get("/health/ready").status, 503);
        assert_eq!(server.get("/health/live").status, 200);
        assert_eq!(server.get("/messages").json()["total"], 1 + round, "reads go on, and nothing was stored in part");
        assert_eq!(server.get("/stats").json()["total_messages"], 1 + round);

        server.limit_file_size(None);
        until("the service is ready again", || server.get("/health/ready").status == 200);
        assert_eq!(server.deliver(delivery(&format!("{round}-0"))).status, 200, "sent again after a 503");
    }
    assert_eq!(server.message_ids(), ["0-0", "1-0", "2-0", "before"]);
    assert_eq!(server.metric(r#"webhook_requests_total{result="unavailable"}"#), 60.0);
    assert_eq!(server.metric(r#"webhook_requests_total{result="created"}"#), 4.0);
}

/// The kernel takes what it could not write for written, so a second sync alone would succeed and prove nothing: the
/// service has to write the log once more before it believes one.
#[test]
fn while_the_disk_cannot_sync_nothing_is_acknowledged_and_then_the_log_is_written_again() {
    let directory = Directory::new();
    let [fails, writes] = ["fails", "writes"].map(|name| directory.path().join(name));
    let [fails_path, writes_path] = [&fails, &writes].map(|path| path.to_str().expect("a path of the harness is text"));
    let library = preloadable(&directory, "failing_sync.c");
    let settings = [("LD_PRELOAD", library.as_str()), ("SYNC_FAILS", fails_path), ("WRITES_TO_START", writes_path)];
    let mut server = Server::in_directory(directory, &settings);
    assert_eq!(server.deliver(delivery("before")).status, 200);

    std::fs::write(&fails, "").unwrap();
    for _ in 0..3 {
        let reply = server.deliver(delivery("m1"));
        assert_eq!(reply.status, 503, "reply: {reply:?}");
        assert!(reply.field("Retry-After").is_some(), "reply: {reply:?}");
        let line = server.log_line(&reply);
        assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("could not be synced")), "{line}");
        assert_eq!(server.get("/health/ready").status, 503);
    }
    assert_eq!(
        server.get("/messages").json()["total"],
        server.message_ids().len(),
        "a page and its total are one view"
    );

    let log = server.directory().join("inbox.db-wal");
    let log_written_again = |recover: &mut dyn FnMut()| {
        std::fs::remove_file(&fails).unwrap();
        std::fs::remove_file(&writes).unwrap_or_default();
        let length = std::fs::metadata(&log).unwrap().len();
        recover();
        let written = std::fs::read_to_string(&writes).unwrap_or_default();
        assert!(written.lines().any(|line| line == length.to_string()), "{length} bytes of log, writes: {written}");
    };
    log_written_again(&mut || assert_eq!(server.deliver(delivery("m1")).status, 200));
    until("the service is ready again", || server.get("/health/ready").status == 200);
    std::fs::remove_file(&writes).unwrap();
    assert_eq!(server.deliver(delivery("m2")).status, 200);
    assert!(!writes.exists(), "only once");

    // A process that is started after a failure knows nothing of it.
    std::fs::write(&fails, "").unwrap();
    assert_eq!(server.deliver(delivery("m3")).status, 503);
    server.kill();
    log_written_again(&mut || server.start_again());
    assert_eq!(server.deliver(delivery("m3")).status, 200);
    assert_eq!(server.message_ids(), ["before", "m1", "m2", "m3"]);
}

/// Under load, with groups of many requests: whoever got 200 is stored, and nobody else is.
#[test]
fn while_the_disk_fills_up_exactly_the_acknowledged_messages_are_stored() {
    let server = Server::start();
    let (acknowledged, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _over = RaisedOnDrop(&over);
        for thread in 0..16 {
            let (acknowledged, over, server) = (&acknowledged, &over, &server);
            scope.spawn(move || {
                let mut connection = Connection::open(server.address()).expect("the server accepts");
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("{thread:02}-{number:06}");
                    let reply = connection.deliver(&delivery(&id)).expect("the server answers");
                    match reply.status {
                        200 => acknowledged.lock().expect("nobody panics with the lock").push(id),
                        503 => {}
                        _ => panic!("reply: {reply:?}"),
                    }
                }
            });
        }
        let created = || acknowledged.lock().expect("nobody panics with the lock").len();
        for fraction in [100, 200, 300] {
            until("some are stored", || created() >= fraction);
            server.limit_file_size(Some(8192));
            until("some are refused", || server.get("/health/ready").status == 503);
            server.limit_file_size(None);
        }
    });
    let mut acknowledged = acknowledged.into_inner().expect("nobody panics with the lock");
    acknowledged.sort_unstable();
    assert_eq!(server.message_ids(), acknowledged);
    assert_eq!(server.get("/stats").json()["total_messages"], acknowledged.len());
}

#[test]
fn a_locked_database_is_answered_503_while_reads_go_on_and_passes_by_itself() {
    let server = Server::start();
    assert_eq!(server.deliver(delivery("before")).status, 200);
    let other = Database::open(server.database());
    other.lock();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let reply = server.deliver(delivery("m1"));
            over.store(true, Ordering::Relaxed);
            reply
        });
        let mut reads = 0;
        while !over.load(Ordering::Relaxed) {
            assert_eq!(server.get("/messages").json()["total"], 1);
            assert_eq!(server.get("/messages?q=hello").json()["total"], 1);
            assert_eq!(server.get("/stats").json()["total_messages"], 1);
            reads += 1;
        }
        let reply = sender.join().expect("the sender has an answer");
        assert_eq!(reply.status, 503, "reply: {reply:?}");
        assert!(reply.field("Retry-After").is_some(), "reply: {reply:?}");
        assert!(reads > 1, "no read was answered while the delivery waited");
    });
    other.release();
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    assert_eq!(server.message_ids(), ["before", "m1"]);
    until("the service is ready again", || server.get("/health/ready").status == 200);
}

#[test]
fn a_lock_that_is_released_in_time_costs_the_sender_nothing() {
    let server = Server::start();
    let other = Database::open(server.database());
    // Tried again, because on a machine that is slow enough the lock is held for longer than the service waits.
    until("a delivery that had to wait is stored", || {
        other.lock();
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| server.deliver(delivery("m1")));
            let waits = || server.metric("inbox_requests_in_flight") > 1.0;
            until("the delivery waits", || waits() || sender.is_finished());
            other.release();
            sender.join().expect("the sender has an answer").status == 200
        })
    });
}

/// The program with its stdout in the hands of the test.
struct Unread {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    address: std::net::SocketAddr,
    _directory: Directory,
}

impl Unread {
    fn start() -> Unread {
        let directory = Directory::new();
        let mut command = program();
        command
            .env("WEBHOOK_SECRET", crate::harness::SECRET)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", database_url(&directory.database()));
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let address = loop {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("the program writes text");
            let line = crate::harness::json(&line);
            if line["message"] == "listening" {
                break line["address"].as_str().and_then(|address| address.parse().ok()).expect("the line has it");
            }
        };
        Unread { child, stdout, address, _directory: directory }
    }

    /// Requests whose log lines are far more than a pipe and the program's own buffer take.
    fn flood(address: std::net::SocketAddr) -> f64 {
        let path = format!("/{}", "x".repeat(1_000));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let mut connection = Connection::open(address).expect("the server accepts");
                    for number in 0..700 {
                        assert_eq!(connection.request("GET", path, &[], b"").status, 404);
                        if number % 50 == 0 {
                            let reply = connection.deliver(&delivery(&format!("{thread}-{number}")));
                            assert_eq!(reply.expect("the server answers").status, 200);
                        }
                    }
                });
            }
        });
        let mut connection = Connection::open(address).expect("the server accepts");
        let messages = connection.request("GET", "/messages?limit=100", &[], b"").json();
        assert_eq!(messages["total"], 8 * 14);
        assert_eq!(ids(messages["data"].as_array().expect("data is an array")).len(), 100);
        let metrics = connection.request("GET", "/metrics", &[], b"").text();
        let dropped = metrics.lines().find_map(|line| line.strip_prefix("inbox_log_lines_dropped_total "));
        dropped.and_then(|value| value.parse().ok()).expect("the metric is there")
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have failed the test by having ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing_and_the_lines_lost_are_counted() {
    let server = Unread::start();
    assert!(Unread::flood(server.address) > 0.0, "more lines than fit were written");
    assert!(server.stdout.buffer().len() < 1 << 20, "the test has not read on");
}

#[test]
fn a_log_whose_reader_has_gone_holds_up_nothing() {
    let mut server = Unread::start();
    // Dropping the reader closes the pipe; what takes its place is at its end already.
    server.stdout = {
        let mut ended = Command::new("true").stdout(Stdio::piped()).spawn().expect("there is true");
        ended.wait().expect("a child can be waited for");
        BufReader::new(ended.stdout.take().expect("stdout is piped"))
    };
    assert!(Unread::flood(server.address) > 0.0, "lines that nobody took are counted");
    assert!(server.child.try_wait().expect("a child can be waited for").is_none(), "it still runs");
}

#[test]
fn a_service_without_stdout_serves() {
    let mut shell = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_webhook-inbox");
    shell.env_clear().args(["-c", &format!("exec '{binary}' >&-")]);
    let server = Server::launch(shell, Directory::new(), &[("LISTEN_ADDR", &own_address())]);
    server.deliver_all(&["m1", "m2"].map(delivery), 2);
    assert_eq!(server.message_ids(), ["m1", "m2"]);
    assert_eq!(server.log(), "");
    assert!(server.errors().is_empty(), "{}", server.errors());
}

/// Issue 15: SQLite goes on with a log that has no name any more, and a restart finds nothing of it.
fn with_25_messages_and_no_log() -> Server {
    let server = Server::start();
    let bodies: Vec<String> = (0..25).map(|number| delivery(&format!("m{number:02}"))).collect();
    server.deliver_all(&bodies, 4);
    std::fs::remove_file(server.database().with_extension("db-wal")).unwrap();
    server
}

#[test]
fn a_delivery_saves_the_messages_of_a_log_that_was_removed() {
    for removed_too in [None, Some("db-shm")] {
        let mut server = with_25_messages_and_no_log();
        if let Some(extension) = removed_too {
            std::fs::remove_file(server.database().with_extension(extension)).unwrap();
        }
        let reply = server.deliver(delivery("m25"));
        assert_eq!(reply.status, 200, "{removed_too:?}: {reply:?}");
        server.kill_and_restart();
        assert_eq!(server.message_ids().len(), 26, "{removed_too:?}");
        assert_eq!(server.get("/stats").json()["total_messages"], 26, "{removed_too:?}");
    }
}

#[test]
fn a_readiness_probe_saves_the_messages_of_a_log_that_was_removed() {
    let mut server = with_25_messages_and_no_log();
    assert_eq!(server.metric("inbox_ready"), 0.0, "until then it is not ready");
    assert_eq!(server.get("/health/ready").status, 200);
    assert_eq!(server.metric("inbox_ready"), 1.0);
    server.kill_and_restart();
    assert_eq!(server.message_ids().len(), 25);
}

#[test]
fn an_orderly_stop_saves_the_messages_of_a_log_that_was_removed() {
    let mut server = with_25_messages_and_no_log();
    server.terminate();
    assert_eq!(server.wait_exit().code(), Some(0), "log:\n{}", server.log());
    server.start_again();
    assert_eq!(server.message_ids().len(), 25);
}

/// Another program that has the database open would go on with the old log.
#[test]
fn a_log_that_was_removed_beside_another_program_loses_no_message() {
    let mut server = Server::start();
    let other = Database::open(server.database());
    let bodies: Vec<String> = (0..25).map(|number| delivery(&format!("m{number:02}"))).collect();
    server.deliver_all(&bodies, 4);
    assert_eq!(other.count(), 25);
    std::fs::remove_file(server.database().with_extension("db-wal")).unwrap();
    let reply = server.deliver(delivery("m25"));
    assert_eq!(reply.status, 503, "{reply:?}");
    let ready = server.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("inbox.db-wal has been removed"), "{ready:?}");
    assert_eq!(server.get("/messages").json()["total"], 25, "reads go on");

    // The file alone, as the next start would find it after a kill -9 now.
    let copy = server.directory().join("copy.db");
    assert!(Command::new("cp").args([server.database(), copy.clone()]).status().unwrap().success());
    assert_eq!(Database::open(copy).count(), 25);

    drop(other);
    assert_eq!(server.deliver(delivery("m25")).status, 200, "it passes by itself");
    server.kill_and_restart();
    assert_eq!(server.message_ids().len(), 26);
}

#[test]
fn nothing_is_acknowledged_beside_a_log_that_was_replaced() {
    let server = Server::start();
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let log = server.database().with_extension("db-wal");
    let aside = server.directory().join("aside");
    std::fs::rename(&log, &aside).unwrap();
    std::fs::write(&log, "another log").unwrap();
    let reply = server.deliver(delivery("m2"));
    assert_eq!(reply.status, 503, "{reply:?}");
    let ready = server.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("inbox.db-wal has been replaced"), "{ready:?}");
    std::fs::rename(&aside, &log).unwrap();
    assert_eq!(server.deliver(delivery("m2")).status, 200, "it passes by itself");
    assert_eq!(server.message_ids(), ["m1", "m2"]);
}

/// The service would go on with the file that it has open, and what it acknowledged would be gone after a restart.
#[test]
fn nothing_is_acknowledged_into_a_file_that_was_moved_or_removed() {
    let server = Server::start();
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let aside = server.directory().join("aside.db");
    std::fs::rename(server.database(), &aside).unwrap();
    let reply = server.deliver(delivery("m2"));
    assert_eq!(reply.status, 503, "{reply:?}");
    let ready = server.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("moved, removed or replaced"), "{ready:?}");
    assert_eq!(server.metric("inbox_ready"), 0.0, "a write to the moved file that succeeds is no recovery");
    std::fs::rename(&aside, server.database()).unwrap();
    assert_eq!(server.deliver(delivery("m2")).status, 200);
    assert_eq!(server.get("/health/ready").status, 200);
}
