//! /health/live, /health/ready and the subcommand that asks for the latter.

use crate::harness::{Database, Directory, Server, delivery, program, run, until};
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

#[test]
fn a_service_that_works_is_live_and_ready() {
    let server = Server::start();
    assert_eq!(server.get("/health/live").text(), r#"{"status":"ok"}"#);
    assert_eq!(server.get("/health/ready").text(), r#"{"status":"ready"}"#);
    assert_eq!(server.get("/health/ready").field("Content-Type"), Some("application/json"));
}

#[test]
fn the_health_subcommand_tells_by_its_exit_status_whether_the_service_is_ready() {
    let server = Server::start();
    let ask = |address: &str| run(program().arg("health").env("LISTEN_ADDR", address));
    let ended = ask(&server.address().to_string());
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(ended.stdout.trim(), r#"{"status":"ready"}"#);
    let everywhere = format!("0.0.0.0:{}", server.address().port());
    assert_eq!(ask(&everywhere).status.code(), Some(0), "an unspecified address stands for this machine");

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ended = ask(&nobody);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&nobody), "{ended:?}");
    for path in ["", "/", "/health/ready", "/health/live"] {
        let url = format!("http://{}{path}", server.address());
        let ended = run(program().args(["health", &url]));
        assert_eq!(ended.status.code(), Some(0), "{url}\n{ended:?}");
    }
    let ended = run(program().args(["health", &format!("http://{nobody}")]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let ended = ask("nonsense");
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
}

/// The user of the service is not root, which may write everything.
#[test]
fn a_database_made_read_only_is_not_ready_before_a_delivery_fails() {
    let directory = Directory::new();
    let binary = directory.path().join("webhook-inbox"); // where any user can reach it
    // By another process: a file that this one has open for writing is open in each process that another test starts just
    // then, and cannot be executed meanwhile (ETXTBSY).
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_webhook-inbox")).arg(&binary).status();
    assert!(copied.unwrap().success());
    let (mut command, owner) = match directory.path().metadata().unwrap().uid() {
        0 => (Command::new("setpriv"), 65_534),
        own => (Command::new("env"), own),
    };
    if owner == 65_534 {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        std::os::unix::fs::chown(directory.path(), Some(owner), Some(owner)).unwrap();
    }
    command.arg(binary);
    let server = Server::launch(command, directory, &[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    for read_only in [server.database(), server.directory().to_owned()] {
        let mode = |mode| std::fs::set_permissions(&read_only, Permissions::from_mode(mode)).unwrap();
        assert_eq!(server.get("/health/ready").status, 200);
        mode(0o555);
        let reply = server.get("/health/ready");
        assert_eq!(reply.status, 503, "{reply:?}");
        let reason = format!("{} cannot be written", read_only.display());
        assert!(reply.text().contains(&reason), "no {reason:?}\n{reply:?}");
        assert_eq!(server.metric("inbox_ready"), 0.0);
        mode(0o755);
        assert_eq!(server.metric("inbox_ready"), 1.0);
    }
    assert_eq!(server.get("/health/ready").status, 200);
}

#[test]
fn a_disk_that_takes_no_writes_is_reported_before_a_delivery_fails() {
    let server = Server::start();
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    server.limit_file_size(Some(0));
    until("a probe reports it", || server.get("/health/ready").status == 503);
    assert_eq!(server.metric("inbox_ready"), 0.0);
    server.limit_file_size(None);
    until("it is ready again", || server.get("/health/ready").status == 200);
    assert_eq!(server.metric("inbox_commit_failures_total"), 0.0, "no delivery has failed");
}

#[test]
fn readiness_probes_leave_the_log_as_it_is() {
    let server = Server::start();
    let database = Database::open(server.database());
    let stamp = || database.number("SELECT stamp FROM arrival");
    until("the new database is stamped", || stamp() != 0);
    let before = stamp();
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    until("nothing is left to be written", || stamp() != before);
    let log = server.database().with_extension("db-wal");
    let before = (std::fs::read(&log).unwrap(), log.metadata().unwrap().modified().unwrap());
    until("a probe has written", || {
        assert_eq!(server.get("/health/ready").status, 200);
        log.metadata().unwrap().modified().unwrap() != before.1
    });
    assert!(std::fs::read(&log).unwrap() == before.0, "the log has changed");
}

#[test]
fn readiness_ends_with_a_failed_write_and_returns_with_the_first_that_succeeds() {
    let server = Server::start();
    let lock = Database::open(server.database());
    lock.lock();
    assert_eq!(server.deliver(delivery("m1")).status, 503);
    let reply = server.get("/health/ready");
    assert_eq!(reply.status, 503, "reply: {reply:?}");
    let body = reply.json();
    assert_eq!(body["status"], "not_ready");
    assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
    assert_eq!(body.as_object().map(|body| body.len()), Some(2), "{body}");
    assert_eq!(server.get("/health/live").status, 200);
    let ended = run(program().arg("health").env("LISTEN_ADDR", server.address().to_string()));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");

    lock.release();
    until("the service is ready again, without a delivery that shows it", || server.get("/health/ready").status == 200);
}
