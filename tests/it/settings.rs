//! The settings file that the service and the commands share.

use crate::commands::command_with_input;
use crate::harness::{Directory, SECRET, Server, database_url, delivery, own_address, program, run, sign};
use std::path::PathBuf;
use std::process::Command;

/// Writes a settings file, as `install.sh` does: secret and database beside it.
fn settings(directory: &Directory, address: &str) -> PathBuf {
    let (secret, file) = (directory.path().join("secret"), directory.path().join("settings.env"));
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let (secret, database) = (secret.display(), directory.database().display().to_string());
    let text = format!(
        "# Settings\nLISTEN_ADDR={address}\nDATABASE_URL=\"sqlite:///{database}\"\nWEBHOOK_SECRET_FILE={secret}\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

/// The program with the settings of a file alone.
fn with_file(file: impl Into<PathBuf>, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).env("WEBHOOK_INBOX_SETTINGS", file.into());
    command
}

#[test]
fn service_and_commands_find_the_same_settings_in_the_file() {
    let (directory, address) = (Directory::new(), own_address());
    let file = settings(&directory, &address);
    let backup = directory.path().join("backup.db").display().to_string();
    let body = directory.path().join("body").display().to_string();
    std::fs::write(&body, delivery("m1")).unwrap();
    // LISTEN_ADDR is only for the harness, which has to know it; the rest comes from the file.
    let path = file.to_str().unwrap();
    let harness = [("WEBHOOK_INBOX_SETTINGS", path), ("WEBHOOK_SECRET", ""), ("DATABASE_URL", "")];
    let server = Server::in_directory(directory, &[&harness[..], &[("LISTEN_ADDR", &address)]].concat());
    for arguments in [
        &["send", "--id", "m1"][..],
        &["verify", &sign(SECRET, delivery("m1")), &body],
        &["health"],
        &["check"],
        &["backup", &backup],
        &["erase", "--from", "+919876543210", "--dry-run"],
    ] {
        let ended = run(&mut with_file(&file, arguments));
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}\n{ended:?}");
    }
    let exported = run(&mut with_file(&file, &["export"])).stdout;
    assert!(exported.contains(r#""message_id":"m1""#) && exported.lines().count() == 1, "{exported}");
    assert_eq!(run(&mut with_file(&file, &["sign", &body])).stdout.trim(), sign(SECRET, delivery("m1")));
    assert_eq!(server.message_ids(), ["m1"]);
}

#[test]
fn a_variable_of_the_environment_wins_over_the_file() {
    let (directory, other) = (Directory::new(), Directory::new());
    let file = settings(&directory, "127.0.0.1:1");
    let url = database_url(&other.database());
    let mut import = command_with_input(&other, delivery("m1"));
    let ended = run(import.arg("import").env("WEBHOOK_INBOX_SETTINGS", &file).env("DATABASE_URL", url));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(other.database().exists() && !directory.database().exists());

    let body = directory.path().join("body");
    std::fs::write(&body, "body").unwrap();
    let mut of_variable = with_file(&file, &["sign", body.to_str().unwrap()]);
    let ended = run(of_variable.env("WEBHOOK_SECRET", "another"));
    assert_eq!(ended.stdout.trim(), sign("another", b"body"), "the file's WEBHOOK_SECRET_FILE is no contradiction");
}

#[test]
fn a_file_that_cannot_be_used_is_a_fault_of_what_needs_it() {
    let directory = Directory::new();
    let database = database_url(&directory.database());
    let missing = directory.path().join("missing.env");
    let wrong = directory.path().join("wrong.env");
    std::fs::write(&wrong, "LOG_LEVEL=DEBUG\nexport hush=hush\n").unwrap();
    let (missing, wrong) = (missing.to_str().unwrap(), wrong.to_str().unwrap());
    for (file, said) in [
        (missing, format!("there is no file {missing}")),
        (wrong, format!("line 2 of {wrong}: ")),
        (directory.path().to_str().unwrap(), "cannot be read".to_owned()),
        ("/dev/zero", "more than 65536 bytes".to_owned()),
    ] {
        for arguments in [&["serve"][..], &["check"], &["sign"], &["export"], &["health"]] {
            let ended = run(&mut with_file(file, arguments));
            assert_eq!(ended.status.code(), Some(78), "{file} {arguments:?}\n{ended:?}");
            assert_eq!(ended.stderr.lines().count(), 1, "{file} {arguments:?}\n{ended:?}");
            assert!(ended.stderr.contains(&said) && !ended.stderr.contains("hush"), "{file} {arguments:?}\n{ended:?}");
        }
        let ended = run(with_file(file, &["sign"]).env("WEBHOOK_SECRET", SECRET));
        assert_eq!(ended.status.code(), Some(0), "the environment has what it needs\n{ended:?}");
        let ended = run(with_file(file, &["import"]).env("DATABASE_URL", &database));
        assert_eq!(ended.status.code(), Some(0), "the environment has what it needs\n{ended:?}");
    }
}

#[test]
fn check_prints_each_setting_and_where_it_comes_from_but_no_secret() {
    let (directory, credentials) = (Directory::new(), Directory::new());
    let (address, secret) = ("127.0.0.1:1", directory.path().join("secret"));
    let file = settings(&directory, address);
    let mut import = command_with_input(&directory, delivery("m1"));
    assert_eq!(run(import.arg("import").env("WEBHOOK_INBOX_SETTINGS", &file)).status.code(), Some(0));
    std::fs::write(credentials.path().join("READ_TOKEN"), "hush").unwrap();
    let mut check = with_file(&file, &["check"]);
    check.env("WEBHOOK_SECRET_PREVIOUS", "hush").env("CREDENTIALS_DIRECTORY", credentials.path()).env("WORKERS", "7");
    let ended = run(check.env("MAX_BODY_BYTES", "100000000"));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    for line in [
        format!("WEBHOOK_INBOX_SETTINGS: {} (environment)", file.display()),
        format!("WEBHOOK_SECRET: set (file {})", secret.display()),
        "WEBHOOK_SECRET_PREVIOUS: set (environment)".to_owned(),
        "READ_TOKEN: set (credential)".to_owned(),
        format!("LISTEN_ADDR: {address} (settings file)"),
        "LOG_LEVEL: INFO (default)".to_owned(),
        "TRUSTED_PROXIES: none (default)".to_owned(),
        "WORKERS: 7 (environment)".to_owned(),
        "MAX_HELD_BYTES: 100000000 (default)".to_owned(),
    ] {
        assert_eq!(ended.stdout.lines().filter(|printed| **printed == line).count(), 1, "no {line}\n{ended:?}");
    }
    assert!(!ended.stdout.contains("hush") && !ended.stdout.contains(SECRET), "{ended:?}");
    let printed = ended.stdout.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name);
    let help = run(program().args(["serve", "--help"])).stdout;
    let rows = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(" (")).map(|(name, _)| name);
    let names: Vec<&str> = rows.filter(|name| !name.starts_with(' ')).collect();
    assert_eq!(printed.take_while(|name| *name != "configuration").collect::<Vec<_>>(), names);
    let without = run(program().arg("check").env("WEBHOOK_SECRET", SECRET).env("WEBHOOK_INBOX_SETTINGS", "/dev/null"));
    assert!(without.stdout.contains("\nREAD_TOKEN: not set\n"), "{without:?}");
}
