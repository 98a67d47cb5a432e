//! The subcommands for those who try it out: `sign`, `send`, `verify`; and what all subcommands have in common.

use crate::harness::{Directory, Ended, SECRET, Server, base64, delivery, json, own_address, program, run, sign};
use std::fs::File;
use std::process::{Command, Stdio};

/// Runs a command with a secret and an input.
fn with_input(arguments: &[&str], secret: &str, input: impl AsRef<[u8]>) -> Ended {
    let directory = Directory::new();
    run(command_with_input(&directory, input).args(arguments).env("WEBHOOK_SECRET", secret))
}

/// The program, with an input on its stdin.
pub(crate) fn command_with_input(directory: &Directory, input: impl AsRef<[u8]>) -> Command {
    let path = directory.path().join("input");
    std::fs::write(&path, input).expect("the directory can be written");
    let mut command = program();
    command.stdin(File::open(path).expect("the file was just written"));
    command
}

const COMMANDS: [&str; 14] = [
    "serve", "tail", "forward", "stats", "sources", "health", "sign", "send", "verify", "export", "import", "backup",
    "check", "erase",
];

#[test]
fn every_command_has_help_and_version_which_need_no_settings() {
    let general = run(program().arg("--help")).stdout;
    for name in COMMANDS {
        for flag in ["--help", "-h"] {
            let ended = run(program().args([name, flag]));
            assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{name} {flag}");
            assert!(ended.stdout.starts_with(&format!("webhook-inbox {name}: ")), "{}", ended.stdout);
            assert!(ended.stdout.contains("Usage: ") && ended.stdout.contains("Exit status: "), "{}", ended.stdout);
        }
        let ended = run(program().args([name, "--version"]));
        assert_eq!(ended.status.code(), Some(0), "{name}");
        assert!(ended.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", ended.stdout);
        assert!(general.contains(name), "{general}");
    }
}

#[test]
fn wrong_usage_of_a_command_is_exit_status_2_and_leads_to_its_help() {
    for arguments in [
        &["sign", "a", "b"][..],
        &["sign", "--headers"],
        &["send", "--from"],
        &["send", "hello"],
        &["send", "--port=1"],
        &["verify"],
        &["verify", "a", "b", "c"],
        &["export", "--since", "yesterday"],
        &["export", "--limit", "5"],
        &["export", "messages.jsonl"],
        &["import", "a", "b"],
        &["import", "--force"],
        &["backup"],
        &["backup", "a", "b"],
        &["backup", "--replace"],
        &["check", "inbox.db"],
        &["erase"],
        &["erase", "+919876543210"],
        &["erase", "--from", "919876543210"],
        &["export", "--from", "+91 98765 43210"],
        &["erase", "--dry-run"],
        &["health", "--url", "x"],
        &["tail", "-n", "1001"],
        &["tail", "-n", "ten"],
        &["tail", "--after", "now"],
        &["tail", "--max", "0"],
        &["tail", "--timeout", "5"],
        &["tail", "--from", "919"],
        &["tail", "a", "b"],
        &["forward"],
        &["forward", "--to", "127.0.0.1:9000"],
        &["forward", "--to", "http://127.0.0.1:9000", "--skip-after", "0"],
        &["stats", "now"],
        &["sources", "--jsonl"],
        &["health", "127.0.0.1:8000"],
        &["send", "--url", "ftp://x"],
        &["send", "--scheme", "other"],
        &["sign", "--id", "msg_1"],
        &["sign", "--scheme", "standard", "--id", "msg.1"],
        &["verify", "--scheme", "standard"],
        &["send", "--url", "https://localhost/webhook"],
        &["send", "--url", "localhost:8000"],
    ] {
        let ended = run(program().args(arguments));
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}\n{ended:?}");
        assert!(ended.stderr.contains(&format!("webhook-inbox {} --help", arguments[0])), "{arguments:?}\n{ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_command_needs_only_the_settings_that_it_uses() {
    for (arguments, variable) in [
        (&["sign"][..], "WEBHOOK_SECRET"),
        (&["send"], "WEBHOOK_SECRET"),
        (&["verify", "ab"], "WEBHOOK_SECRET"),
        (&["export"], "DATABASE_URL"),
        (&["import"], "DATABASE_URL"),
        (&["backup", "x"], "DATABASE_URL"),
        (&["erase", "--from", "+1"], "DATABASE_URL"),
    ] {
        let ended = run(program().args(arguments).env("DATABASE_URL", "postgres://x"));
        assert_eq!(ended.status.code(), Some(78), "{arguments:?}\n{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{arguments:?}\n{ended:?}");
        assert!(ended.stderr.contains(variable), "{arguments:?}\n{ended:?}");
    }
}

#[test]
fn sign_prints_the_signature_that_the_service_takes() {
    let body = delivery("m1");
    let ended = with_input(&["sign"], SECRET, &body);
    assert_eq!((ended.status.code(), ended.stdout), (Some(0), format!("{}\n", sign(SECRET, &body))));

    let header = with_input(&["sign", "--header"], SECRET, &body).stdout;
    let (name, value) = header.strip_suffix('\n').and_then(|line| line.split_once(": ")).unwrap();
    let server = Server::start();
    assert_eq!(server.request("POST", "/webhook", &[(name, value)], body.as_bytes()).status, 200, "{header}");
    assert_eq!(server.message_ids(), ["m1"]);

    let directory = Directory::new();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let by_file = run(command_with_input(&directory, &body).arg("sign").env("WEBHOOK_SECRET_FILE", &secret));
    assert_eq!(by_file.stdout, format!("{}\n", sign(SECRET, &body)), "{by_file:?}");

    let file = directory.path().join("body");
    std::fs::write(&file, &body).unwrap();
    let of_file = run(program().arg("sign").arg(&file).env("WEBHOOK_SECRET", SECRET));
    assert_eq!(of_file.stdout, format!("{}\n", sign(SECRET, &body)), "{of_file:?}");

    // Exactly the bytes of stdin, whatever they are.
    for body in [&b""[..], b"\n", b"a\r\n", b"\xff\0"] {
        assert_eq!(with_input(&["sign"], SECRET, body).stdout, format!("{}\n", sign(SECRET, body)), "{body:?}");
    }
}

#[test]
fn send_posts_a_message_that_is_right_by_default_and_prints_the_answer() {
    let address = own_address();
    let server = Server::with(&[("LISTEN_ADDR", &address)]);
    let send = |arguments: &[&str]| {
        run(program().arg("send").args(arguments).env("WEBHOOK_SECRET", SECRET).env("LISTEN_ADDR", &address))
    };
    for _ in 0..2 {
        let ended = send(&[]);
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), "200 {\"status\":\"ok\"}\n"), "{ended:?}");
    }
    assert_eq!(server.message_ids().len(), 2, "each has an id of its own");

    let ts = "2030-01-15T10:00:00.5Z";
    let ended = send(&["--from", "+1", "--to=+2", "--text", "Grüße \"🦀\"", "--id", "m1", "--ts", ts]);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let expected = serde_json::json!(
        { "message_id": "m1", "from": "+1", "to": "+2", "ts": ts, "text": "Grüße \"🦀\"" }
    );
    assert_eq!(server.items("from=%2B1"), std::slice::from_ref(&expected));
    let posted = ended.stderr.split_once(" {").map(|(_, body)| json(&format!("{{{body}"))).unwrap();
    assert_eq!(posted, expected, "what is posted is shown");

    for url in [format!("http://{address}"), format!("http://{address}/"), format!("http://{address}/webhook")] {
        assert_eq!(send(&["--url", &url]).status.code(), Some(0), "{url}");
    }
}

/// As in `webhook-inbox send 2>&1 | head -1`.
#[test]
fn a_command_whose_stderr_nobody_reads_does_what_it_is_for_and_keeps_its_exit_code() {
    let address = own_address();
    let server = Server::with(&[("LISTEN_ADDR", &address)]);
    for (arguments, code) in [(["send", "--id=m1", "--from=+1"], 0), (["send", "--id=m2", "--from=919"], 1)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program();
        command.args(arguments).env("WEBHOOK_SECRET", SECRET).env("LISTEN_ADDR", &address);
        let status = command.stdout(Stdio::null()).stderr(writer).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
    assert_eq!(server.message_ids(), ["m1"]);
}

#[test]
fn send_shows_every_refusal_and_fails() {
    let address = own_address();
    let _server = Server::with(&[("LISTEN_ADDR", &address)]);
    let send = |arguments: &[&str], secret: &str| {
        run(program().arg("send").args(arguments).env("WEBHOOK_SECRET", secret).env("LISTEN_ADDR", &address))
    };
    let ended = send(&["--from", "919"], SECRET);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stdout.starts_with("422 {") && ended.stdout.contains("E.164"), "{ended:?}");
    let ended = send(&[], "another secret");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stdout, "401 {\"detail\":\"invalid signature\"}\n", "{ended:?}");
    let nobody = own_address();
    let ended = send(&["--url", &format!("http://{nobody}")], SECRET);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("nothing answers"), "{ended:?}");
}

#[test]
fn verify_says_that_a_signature_matches() {
    let body = delivery("m1");
    let signature = sign(SECRET, &body);
    let upper = signature.to_uppercase();
    for given in [
        signature.clone(),
        upper,
        format!("sha256={signature}"),
        format!(" {signature} "),
        format!("X-Signature: {signature}"),
        format!("x-signature:sha256={signature}\n"),
    ] {
        let ended = with_input(&["verify", &given], SECRET, &body);
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{given:?}\n{ended:?}");
    }
    let directory = Directory::new();
    let file = directory.path().join("body");
    std::fs::write(&file, &body).unwrap();
    let ended = run(program().args(["verify", &signature]).arg(&file).env("WEBHOOK_SECRET", SECRET));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let rotated = run(program()
        .args(["verify", &signature])
        .arg(&file)
        .envs([("WEBHOOK_SECRET", "the next one"), ("WEBHOOK_SECRET_PREVIOUS", SECRET)]));
    assert_eq!(rotated.status.code(), Some(0), "{rotated:?}");
    assert!(rotated.stdout.contains("WEBHOOK_SECRET_PREVIOUS"), "{rotated:?}");
    let missing = run(program().args(["verify", &signature, "missing.json"]).env("WEBHOOK_SECRET", SECRET));
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(missing.stderr.contains("missing.json"), "{missing:?}");
}

#[test]
fn verify_says_why_a_signature_does_not_match() {
    let body = r#"{ "message_id":"m1","text":"Grüße/\n"}"#;
    let secret = "736563726574"; // the hex of "secret"
    let right = sign(secret, body);
    let of = |body: &str| sign(secret, body);
    let encoded = base64(&hex::decode(&right).unwrap());
    for (case, signature, said) in [
        ("nothing", String::new(), "empty"),
        ("only the prefix", "sha256=".to_owned(), "empty"),
        ("too short", right[..62].to_owned(), "62 hex digits"),
        ("an odd number of digits", right[1..].to_owned(), "63 hex digits"),
        ("SHA-1", "0".repeat(40), "SHA-1 40"),
        (
            "the prefix twice",
            format!("sha256=sha256={right}"),
            "\"sha256\" is before its digits. Only `sha256=` may be, once; otherwise it is right",
        ),
        ("the prefix in capitals", format!("SHA256={right}"), "\"SHA256\" is before its digits"),
        ("another prefix", format!("sha1={right}"), "\"sha1\" is before its digits"),
        ("in quotes", format!("\"{right}\""), "quotes; otherwise it is right"),
        ("base64", encoded.clone(), "base64 instead of hex; otherwise it is right"),
        ("base64 without padding", encoded.trim_end_matches('=').to_owned(), "base64 instead of hex; otherwise"),
        ("another's base64", format!("sha256={}", base64(&[7; 32])), "base64 instead of hex."),
        ("not hex", format!("{}g", &right[1..]), "'g' is not a hex digit"),
        (
            "a newline after the body there",
            of(&format!("{body}\n")),
            "not the one that was signed. The signed body had a newline at its end",
        ),
        ("CR and LF after the body there", of(&format!("{body}\r\n")), "had CR and LF at its end"),
        ("JSON.stringify", of(r#"{"message_id":"m1","text":"Grüße/\n"}"#), "JSON.stringify"),
        ("json.dumps", of(r#"{"message_id": "m1", "text": "Gr\u00fc\u00dfe/\n"}"#), "json.dumps"),
        ("json_encode", of(r#"{"message_id":"m1","text":"Gr\u00fc\u00dfe\/\n"}"#), "json_encode"),
        (
            "a newline after the secret",
            sign(format!("{secret}\n"), body),
            "another secret. The sender's secret has a newline",
        ),
        ("the secret from hex", sign("secret", body), "another secret. The sender decodes the secret from hex"),
        ("the secret in hex", sign(hex::encode(secret), body), "another secret. The sender encodes the secret in hex"),
        ("another secret", sign("other", body), "not in one of the usual ways"),
    ] {
        let ended = with_input(&["verify", &signature], secret, body);
        assert_eq!(ended.status.code(), Some(1), "{case}\n{ended:?}");
        assert!(ended.stderr.contains(said), "{case}\n{ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.contains(secret), "{case}\n{ended:?}");
        assert!(!ended.stderr.contains(&right), "{case}: the right signature is not told\n{ended:?}");
    }
    let lines = "{\n}\n";
    for (case, signed, secret_here, body_here, said) in [
        ("a newline after the secret here", body, format!("{secret}\n"), body.to_owned(), "white space around it"),
        (
            "a newline after the body here",
            body,
            secret.to_owned(),
            format!("{body}\n"),
            "This body has white space at its end",
        ),
        (
            "CRLF here",
            lines,
            secret.to_owned(),
            lines.replace('\n', "\r\n"),
            "CRLF line endings; the signed one had LF",
        ),
        ("CRLF there", "{\r\n}\r\n", secret.to_owned(), lines.to_owned(), "LF line endings; the signed one had CRLF"),
        ("curl -d", "{}", secret.to_owned(), lines.to_owned(), "--data-binary"),
    ] {
        let ended = with_input(&["verify", &of(signed)], &secret_here, body_here);
        assert_eq!(ended.status.code(), Some(1), "{case}\n{ended:?}");
        assert!(ended.stderr.contains(said), "{case}\n{ended:?}");
    }
}
