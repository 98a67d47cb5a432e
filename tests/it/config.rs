//! The settings, the command line and the exit statuses: what stops a start-up, and what it says.

use crate::harness::{Database, Directory, SECRET, Server, comes_to_hold, database_url, delivery, program, run, sign};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The program with settings that would do, if a test did not change one of them.
fn serve(directory: &Directory, settings: &[(&str, &str)]) -> Command {
    let mut command = program();
    command
        .env("WEBHOOK_SECRET", SECRET)
        .env("LISTEN_ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", database_url(&directory.database()))
        .envs(settings.iter().copied());
    command
}

/// What is said of a URL of PostgreSQL that names no host.
const POSTGRES_REFUSED: &str = if cfg!(feature = "postgres") { "names no host" } else { "webhook-inbox-postgres" };

#[test]
fn the_database_may_be_named_in_a_file_and_its_password_is_shown_nowhere() {
    let directory = Directory::new();
    let file = directory.path().join("url");
    std::fs::write(&file, database_url(&directory.database()) + "\n").unwrap();
    let server =
        Server::in_directory(directory, &[("DATABASE_URL", ""), ("DATABASE_URL_FILE", file.to_str().unwrap())]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let directory = Directory::new();
    for url in ["mysql://inbox:sesame@db/inbox", "postgres://inbox:sesame@/inbox", "postgres://inbox:ses:am@e:x/inbox"]
    {
        std::fs::write(directory.path().join("url"), url).unwrap();
        let file = directory.path().join("url").display().to_string();
        for (name, value) in [("DATABASE_URL", url), ("DATABASE_URL_FILE", &file)] {
            for command in ["serve", "check"] {
                let ended = run(serve(&directory, &[("DATABASE_URL", ""), (name, value)]).arg(command));
                assert_eq!(ended.status.code(), Some(78), "{url}\n{ended:?}");
                let said = format!("{}{}", ended.stdout, ended.stderr);
                assert!(said.contains("inbox:***@") && !said.contains("ses"), "{url}\n{ended:?}");
            }
        }
    }
}

#[test]
fn a_value_that_cannot_be_used_stops_the_start_and_is_named_with_its_variable_and_what_would_be_right() {
    let directory = Directory::new();
    for (name, value, right) in [
        ("DATABASE_URL", "postgresql:///app", POSTGRES_REFUSED),
        ("DATABASE_URL", "mysql:///x", "sqlite:///"),
        ("DATABASE_URL", "sqlite://", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:", "sqlite:///"),
        ("DATABASE_URL", "/data/app.db", "sqlite:///"),
        ("PAGE", "yes", "on or off"),
        ("LOG_LEVEL", "LOUD", "DEBUG, INFO, WARNING or ERROR"),
        ("LOG_LEVEL", "INFO ", "DEBUG, INFO, WARNING or ERROR"),
        ("LISTEN_ADDR", "8000", "127.0.0.1:8000"),
        ("LISTEN_ADDR", "127.0.0.1", "127.0.0.1:8000"),
        ("LISTEN_ADDR", "127.0.0.1:65536", "127.0.0.1:8000"),
        ("LISTEN_ADDR", "localhost.invalid:80", "127.0.0.1:8000"),
        ("WORKERS", "0", "from 1 to"),
        ("WORKERS", "-1", "from 1 to"),
        ("WORKERS", "many", "from 1 to"),
        ("WORKERS", "4.0", "from 1 to"),
        ("WORKERS", "99999999999999999999", "from 1 to"),
        ("MAX_BODY_BYTES", "0", "from 1 to"),
        ("MAX_BODY_BYTES", "4M", "from 1 to"),
        ("MAX_BODY_BYTES", "+5", "from 1 to"),
    ] {
        let ended = run(&mut serve(&directory, &[(name, value)]));
        assert_eq!(ended.status.code(), Some(78), "{name}={value}\n{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{name}={value}\n{ended:?}");
        for part in [name, &format!("{value:?}"), right] {
            assert!(ended.stderr.contains(part), "{name}={value}: no {part}\n{ended:?}");
        }
        assert_eq!(ended.stdout, "", "{name}={value}");
    }
    assert!(!directory.database().exists(), "nothing is touched before the settings are right");
}

#[test]
fn all_wrong_values_are_reported_at_once_a_line_for_each() {
    let directory = Directory::new();
    let wrong = [
        ("DATABASE_URL", "redis://x"),
        ("LOG_LEVEL", "LOUD"),
        ("LISTEN_ADDR", "here"),
        ("WORKERS", "none"),
        ("MAX_BODY_BYTES", "big"),
    ];
    let ended = run(serve(&directory, &wrong).env_remove("WEBHOOK_SECRET"));
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 6, "{ended:?}");
    for (name, value) in wrong {
        let line = ended.stderr.lines().find(|line| line.contains(name));
        assert!(line.is_some_and(|line| line.contains(value)), "{name}\n{ended:?}");
    }
}

#[test]
fn without_a_secret_the_service_does_not_start() {
    let directory = Directory::new();
    let missing = run(serve(&directory, &[]).env_remove("WEBHOOK_SECRET"));
    let empty = run(&mut serve(&directory, &[("WEBHOOK_SECRET", "")]));
    for ended in [missing, empty] {
        assert_eq!(ended.status.code(), Some(78), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains("WEBHOOK_SECRET"), "{ended:?}");
    }
}

#[test]
fn a_secret_may_be_any_text() {
    for secret in ["s", " leading and trailing ", "ключ 🦀", &"long".repeat(1000)] {
        let server = Server::with(&[("WEBHOOK_SECRET", secret)]);
        let body = crate::harness::delivery("m1");
        let reply = server.post("/webhook", Some(&sign(secret, &body)), &body);
        assert_eq!(reply.status, 200, "{secret}\nreply: {reply:?}");
        assert_eq!(server.post("/webhook", Some(&sign(secret.trim_end(), "x")), &body).status, 401);
    }
}

#[test]
fn each_setting_is_taken_at_both_of_its_bounds() {
    for (name, value) in [
        ("WORKERS", "1"),
        ("WORKERS", "1024"),
        ("MAX_BODY_BYTES", "1"),
        ("MAX_BODY_BYTES", "1073741824"),
        ("LOG_LEVEL", "debug"),
        ("LISTEN_ADDR", "[::1]:0"),
        ("WORKERS", ""),
    ] {
        let server = Server::with(&[(name, value)]);
        assert_eq!(server.get("/health/ready").status, 200, "{name}={value}");
    }
    let directory = Directory::new();
    for (name, value) in [("WORKERS", "1025"), ("MAX_BODY_BYTES", "1073741825")] {
        assert_eq!(run(&mut serve(&directory, &[(name, value)])).status.code(), Some(78), "{name}={value}");
    }
}

#[test]
fn a_relative_database_url_is_a_file_in_the_working_directory() {
    for url in ["sqlite:///./inbox.db", "sqlite:///inbox.db"] {
        let directory = Directory::new();
        let mut command = program();
        command.current_dir(directory.path());
        let server = Server::launch(command, directory, &[("DATABASE_URL", url)]);
        assert!(server.database().exists(), "{url}");
        assert_eq!(server.directory(), server.database().parent().unwrap_or(Path::new("")));
    }
}

#[test]
fn a_database_that_cannot_be_opened_is_named_with_the_reason_and_exit_status_74() {
    let directory = Directory::new();
    let file = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let text = file("text.db", &b"This is no database. ".repeat(100));
    let foreign = directory.path().join("foreign.db");
    Database::open(&foreign).run("CREATE TABLE messages (id INTEGER)");
    for (path, why) in [
        (directory.path().join("missing/inbox.db"), "no directory"),
        (text.clone(), "not a database"),
        (directory.path().to_owned(), "unable to open"),
        (text.join("inbox.db"), "no directory"),
        (foreign, "without the column"),
    ] {
        let url = format!("sqlite:///{}", path.display());
        let ended = run(&mut serve(&directory, &[("DATABASE_URL", &url)]));
        assert_eq!(ended.status.code(), Some(74), "{url}\n{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{url}\n{ended:?}");
        for part in [path.to_str().unwrap(), why] {
            assert!(ended.stderr.contains(part), "{url}: no {part:?}\n{ended:?}");
        }
    }
    assert_eq!(std::fs::read(&text).unwrap(), b"This is no database. ".repeat(100), "what is not ours is left alone");
}

#[test]
fn a_second_service_on_a_database_is_refused_and_names_the_first() {
    let mut first = Server::start();
    let link = first.directory().join("link.db");
    std::os::unix::fs::symlink(first.database(), &link).unwrap();
    let url = format!("sqlite:///{}", link.display());
    let elsewhere = Directory::new();
    let ended = run(&mut serve(&elsewhere, &[("DATABASE_URL", &url)]));
    assert_eq!(ended.status.code(), Some(74), "{ended:?}");
    let process = format!("process {} already serves it", first.pid());
    assert!(ended.stderr.contains(&process), "no {process:?}\n{ended:?}");
    assert_eq!(first.deliver(delivery("m1")).status, 200, "the first one goes on");
    first.kill_and_restart();
    assert_eq!(first.message_ids(), ["m1"]);
}

#[test]
fn a_service_starts_when_the_one_before_it_ends_meanwhile() {
    let mut first = Server::start();
    assert_eq!(first.deliver(delivery("m1")).status, 200);
    let elsewhere = Directory::new();
    let url = format!("sqlite:///{}", first.database().display());
    std::thread::scope(|scope| {
        let second = scope.spawn(|| Server::in_directory(elsewhere, &[("DATABASE_URL", &url)]));
        let started = || second.is_finished();
        assert!(!comes_to_hold(Duration::from_millis(200), started), "it started beside the first one");
        first.terminate();
        first.wait_exit();
        assert_eq!(second.join().expect("the second one starts").message_ids(), ["m1"]);
    });
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_byte_for_byte() {
    let directory = Directory::new();
    let connection = Database::original(&directory);
    connection.run("PRAGMA user_version = 1000");
    drop(connection);
    let before = std::fs::read(directory.database()).unwrap();
    let ended = run(&mut serve(&directory, &[]));
    assert_eq!(ended.status.code(), Some(74), "{ended:?}");
    for part in [directory.database().to_str().unwrap(), "newer", "1000"] {
        assert!(ended.stderr.contains(part), "no {part:?}\n{ended:?}");
    }
    assert!(std::fs::read(directory.database()).unwrap() == before, "the file has changed");
}

#[test]
fn an_address_that_is_taken_is_named_with_exit_status_1() {
    let directory = Directory::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&mut serve(&directory, &[("LISTEN_ADDR", &address)]));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&address) && ended.stderr.contains("LISTEN_ADDR"), "{ended:?}");
}

#[test]
fn wrong_usage_is_exit_status_2_and_leads_to_the_help() {
    for arguments in [&["dance"][..], &["--loud"], &["serve", "serve"], &["health", "now"], &["serve", "--port=1"]] {
        let ended = run(program().args(arguments));
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}\n{ended:?}");
        assert!(ended.stderr.contains("--help"), "{arguments:?}\n{ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn help_and_version_need_no_settings() {
    let help = run(program().arg("--help"));
    assert_eq!((help.status.code(), help.stderr.as_str()), (Some(0), ""));
    for name in ["WEBHOOK_SECRET", "DATABASE_URL", "LISTEN_ADDR", "LOG_LEVEL", "WORKERS", "MAX_BODY_BYTES", "health"] {
        assert!(help.stdout.contains(name), "no {name}\n{}", help.stdout);
    }
    let serve = run(program().args(["serve", "--help"])).stdout;
    for part in [
        "  DATABASE_URL (sqlite:////data/app.db)\n",
        "  WEBHOOK_SECRET (required, or else STANDARD_WEBHOOKS_SECRET or META_APP_SECRET)\n",
        ", 1 to 1073741824\n",
    ] {
        assert!(serve.contains(part), "no {part:?}\n{serve}");
    }
    let version = run(program().arg("--version"));
    assert_eq!((version.status.code(), version.stderr.as_str()), (Some(0), ""));
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", version.stdout);
}

#[test]
fn an_address_that_is_not_this_machines_is_a_fault_of_the_configuration() {
    let directory = Directory::new();
    // TEST-NET-3, RFC 5737: no machine has it, and nothing is sent to it.
    let ended = run(&mut serve(&directory, &[("LISTEN_ADDR", "203.0.113.7:8000")]));
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    assert!(ended.stderr.contains("LISTEN_ADDR") && ended.stderr.contains("203.0.113.7:8000"), "{ended:?}");
}
