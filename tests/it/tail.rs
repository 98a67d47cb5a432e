//! `tail`: what has arrived and what arrives, for people on a terminal and for programs in a pipe.

use crate::harness::{Delivery, Ended, Running, Server, delivery, ids, json, own_address, program, run, until};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::Command;

/// The command for that service, with nothing but these arguments.
fn tail(server: &Server, arguments: &[&str]) -> Command {
    let mut command = program();
    command.arg("tail").args(arguments).env("LISTEN_ADDR", server.address().to_string());
    command
}

/// The message_ids of what was printed.
#[track_caller]
fn printed(stdout: &str) -> Vec<String> {
    ids(&stdout.lines().map(json).collect::<Vec<_>>())
}

#[track_caller]
fn ended(server: &Server, arguments: &[&str]) -> Ended {
    run(&mut tail(server, arguments))
}

#[track_caller]
fn until_printed(running: &Running, right: &[&str]) {
    let whole = |text: &str| text.is_empty() || text.ends_with('\n');
    until("they are printed", || {
        let text = running.text("stdout");
        whole(&text) && printed(&text) == right
    });
}

#[test]
fn the_newest_messages_are_printed_as_the_service_lists_them() {
    let server = Server::start();
    let sent: Vec<String> = (1..=120).map(|index| format!("m{index}")).collect();
    for id in &sent {
        server.deliver(delivery(id));
    }
    for (arguments, right) in [
        (&[][..], &sent[110..]),
        (&["-n", "0"], &[][..]),
        (&["-n", "1"], &sent[119..]),
        (&["-n", "110"], &sent[10..]),
        (&["-n", "1000"], &sent[..]),
        (&["-n", "1000", "--max", "3"], &sent[117..]),
        (&["--after", "0"], &sent[..]),
        (&["--after", "118", "--json"], &sent[118..]),
        (&["--after", "0", "--max", "101"], &sent[..101]),
        (&["--from", "+1"], &[]),
        (&["--from", "+919876543210", "-n", "2", "--type", "text", "--source", "native"], &sent[118..]),
        (&["--q", "HELLO", "-n", "2"], &sent[118..]),
        (&["--since", "2025-01-15T10:00:01Z"], &[]),
    ] {
        let ended = ended(&server, arguments);
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{arguments:?}\n{ended:?}");
        assert_eq!(printed(&ended.stdout), right, "{arguments:?}");
    }
    let line = ended(&server, &["-n", "1"]).stdout;
    assert_eq!(json(&line), server.get("/arrivals?limit=1").json()["data"][0]);
    let url = format!("http://{}/", server.address());
    let ended = run(program().args(["tail", "-n", "1", &url]));
    assert_eq!(ended.stdout, line, "{ended:?}");
}

#[test]
fn with_f_what_arrives_is_printed_until_a_signal_which_shows_the_cursor() {
    let server = Server::start();
    server.deliver(delivery("m1"));
    let mut running = Running::start(tail(&server, &["-f"]));
    until_printed(&running, &["m1"]);
    server.deliver(delivery("m2"));
    until_printed(&running, &["m1", "m2"]);
    until("it waits", || server.metric("inbox_waiting_requests") == 1.0);
    running.signal("INT");
    assert_eq!(running.until_ended(), Some(0));
    assert_eq!(running.text("stderr"), "webhook-inbox: continue with --after 2\n");
}

#[test]
fn a_service_that_is_killed_is_asked_again_and_nothing_is_printed_twice() {
    let address = own_address();
    let mut server = Server::with(&[("LISTEN_ADDR", &address)]);
    server.deliver(delivery("m1"));
    let running = Running::start(tail(&server, &["-f"]));
    until_printed(&running, &["m1"]);
    server.kill();
    until("it says so", || running.text("stderr").contains("Trying again in 1 s."));
    server.start_again();
    server.deliver(delivery("m2"));
    until_printed(&running, &["m1", "m2"]);
}

#[test]
fn a_script_can_wait_for_a_message() {
    let server = Server::start();
    let waiting = ["-f", "-n", "0", "--from", "+7", "--max", "1"];
    let nothing = ended(&server, &[&waiting[..], &["--timeout", "1"]].concat());
    assert_eq!((nothing.status.code(), nothing.stdout.as_str()), (Some(1), ""), "{nothing:?}");
    assert!(nothing.stderr.contains("1 of --max messages have not come"), "{nothing:?}");
    let mut running = Running::start(tail(&server, &[&waiting[..], &["--timeout", "600"]].concat()));
    until("it waits", || server.metric("inbox_waiting_requests") == 1.0);
    server.deliver(delivery("m1"));
    for id in ["m2", "m3"] {
        server.deliver(Delivery { from: "+7".to_owned(), ..Delivery::of(id) }.body());
    }
    assert_eq!(running.until_ended(), Some(0));
    assert_eq!(printed(&running.text("stdout")), ["m2"]);
    let without_max = ended(&server, &["-f", "--timeout", "1"]);
    assert_eq!(without_max.status.code(), Some(0), "{without_max:?}");
    assert_eq!(printed(&without_max.stdout), ["m1", "m2", "m3"]);
}

#[test]
fn a_refusal_ends_it_with_what_the_service_said() {
    let server = Server::with(&[("READ_TOKEN", "right")]);
    server.deliver(delivery("m1"));
    for (arguments, token, said) in [
        (&["-f"][..], "wrong", "401"),
        (&["-f", "--after", "2"], "right", "410"),
        (&["-f", "--source", "x", "--after", "9223372036854775807"], "right", "ahead of the database"),
    ] {
        let ended = run(tail(&server, arguments).env("READ_TOKEN", token));
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}\n{ended:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}\n{ended:?}");
    }
    let ended = run(tail(&server, &[]).env("READ_TOKEN", "right"));
    assert_eq!(printed(&ended.stdout), ["m1"], "{ended:?}");
    let ended = run(program().arg("tail").env("LISTEN_ADDR", own_address()));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("nothing answers"), "{ended:?}");
}

/// What is shown on a terminal, up to and with the last line of these.
#[track_caller]
fn shown(mut command: Command, lines: usize) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    unlockpt(&terminal).expect("it is new");
    let name = OsString::from_vec(ptsname(&terminal, Vec::new()).expect("it has a name").into_bytes());
    let slave = || File::options().write(true).open(Path::new(&name)).expect("it can be opened");
    let kept_open = slave();
    let mut child = command.stdout(slave()).spawn().expect("the program can be started");
    assert!(child.wait().expect("a child can be waited for").success());
    let mut terminal = File::from(terminal);
    let mut text = String::new();
    while text.matches("\r\n").count() < lines {
        let mut buffer = [0; 4096];
        let count = terminal.read(&mut buffer).expect("the lines are there");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("the lines are UTF-8, and short"));
    }
    drop(kept_open);
    text
}

#[test]
fn on_a_terminal_a_message_is_a_line_that_cannot_harm() {
    let server = Server::start();
    let text = "line\nbreak \u{1b}[31mred \u{202e}turned \u{9b}2J";
    server.deliver(Delivery { text: Some(text.to_owned()), ..Delivery::of("m1") }.body());
    server.deliver(Delivery { text: None, ..Delivery::of("m2") }.body());
    let time = |seq: u32| {
        let received = server.get(&format!("/arrivals/{seq}")).json()["received_at"].clone();
        received.as_str().expect("an instant")[11..19].to_owned()
    };
    let plain = "line⏎break [U+001B][31mred [U+202E]turned [U+009B]2J";
    let mut command = tail(&server, &[]);
    command.env("NO_COLOR", "1");
    let right = format!(
        "{} +919876543210 → +14155550100 {plain}\r\n{} +919876543210 → +14155550100 [message]\r\n",
        time(1),
        time(2)
    );
    assert_eq!(shown(command, 2), right);
    let coloured = shown(tail(&server, &["--after", "1"]), 1);
    let right = format!("\u{1b}[2m{}\u{1b}[0m \u{1b}[1m+919876543210\u{1b}[0m → +14155550100 [message]\r\n", time(2));
    assert_eq!(coloured, right);
    let json_line = shown(tail(&server, &["--json", "--after", "0", "--max", "1"]), 1);
    assert!(json_line.bytes().all(|byte| byte >= b' ' || byte == b'\r' || byte == b'\n'), "{json_line:?}");
    assert!(!json_line.contains(['\u{202e}', '\u{9b}']), "{json_line:?}");
    assert_eq!(json(&json_line)["text"], text);
}
