//! Who may read, and with which secrets one may write: tokens, files, credentials, rotation.

use crate::harness::{
    Connection, Directory, Ended, READS, SECRET, Server, database_url, delivery, json, program, run, sign, until,
};

const TOKEN: &str = "dG9rZW4-._~+/0123456789==";

/// The program on settings that would do, without a secret, run to its end.
fn refused(settings: &[(&str, &str)]) -> Ended {
    let directory = Directory::new();
    let url = database_url(&directory.database());
    run(program().env("LISTEN_ADDR", "127.0.0.1:0").env("DATABASE_URL", url).envs(settings.iter().copied()))
}

/// A file in the directory, and its path as a setting.
fn file(directory: &Directory, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, content).expect("the directory can be written");
    path.to_str().expect("the path is UTF-8").to_owned()
}

/// A server that gets its secret from elsewhere than `WEBHOOK_SECRET`.
fn without_secret(directory: Directory, settings: &[(&str, &str)]) -> Server {
    let settings: Vec<_> = [("WEBHOOK_SECRET", "")].into_iter().chain(settings.iter().copied()).collect();
    Server::in_directory(directory, &settings)
}

#[test]
fn with_a_read_token_reads_need_it_and_nothing_else_does() {
    let server = Server::with(&[("READ_TOKEN", TOKEN)]);
    let with = |target: &str, fields: &[(&str, &str)]| server.request("GET", target, fields, b"");
    let right = format!("Bearer {TOKEN}");
    for target in READS {
        for method in ["GET", "HEAD"] {
            let reply = server.request(method, target, &[], b"");
            assert_eq!(reply.status, 401, "{method} {target}\nreply: {reply:?}");
            assert_eq!(reply.field("WWW-Authenticate"), Some("Bearer"), "{method} {target}\nreply: {reply:?}");
            assert!(reply.field("X-Request-ID").is_some(), "{method} {target}\nreply: {reply:?}");
        }
        assert_eq!(with(target, &[]).json(), json(r#"{"detail":"invalid read token"}"#), "{target}");
        assert_ne!(with(target, &[("Authorization", &right)]).status, 401, "{target}");
    }
    for target in ["/health/live", "/health/ready"] {
        assert_eq!(with(target, &[]).status, 200, "{target}");
    }
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    assert_eq!(with("/nowhere", &[]).status, 404);
    assert_eq!(server.request("POST", "/messages", &[], b"").status, 405);
    assert_eq!(with("/messages", &[("Authorization", &right)]).json()["data"][0]["message_id"], "m1");
    let page = with("/metrics", &[("Authorization", &right)]).text();
    assert!(page.contains(r#"http_requests_total{path="/stats",status="401"} 3"#), "{page}");
    assert!(!server.log().contains(TOKEN), "log:\n{}", server.log());
}

#[test]
fn only_the_very_token_in_one_bearer_field_is_right() {
    let server = Server::with(&[("READ_TOKEN", TOKEN)]);
    let (right, longer, shorter) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}="), &TOKEN[..TOKEN.len() - 1]);
    for (case, fields, status) in [
        ("right", &[("Authorization", right.as_str())][..], 200),
        ("scheme in lower case", &[("Authorization", &right.replace("Bearer", "bearer"))], 200),
        ("two spaces", &[("Authorization", &right.replace(' ', "  "))], 200),
        ("one character more", &[("Authorization", &longer)], 401),
        ("one character less", &[("Authorization", &format!("Bearer {shorter}"))], 401),
        ("other case", &[("Authorization", &format!("Bearer {}", TOKEN.to_uppercase()))], 401),
        ("no token", &[("Authorization", "Bearer")], 401),
        ("an empty token", &[("Authorization", "Bearer ")], 401),
        ("no scheme", &[("Authorization", TOKEN)], 401),
        ("another scheme", &[("Authorization", &format!("Basic {TOKEN}"))], 401),
        ("in the wrong place", &[("X-Signature", &right)], 401),
        ("twice", &[("Authorization", &right), ("Authorization", &right)], 401),
        ("beside another", &[("Authorization", &right), ("Authorization", "Bearer x")], 401),
        ("not ASCII", &[("Authorization", "Bearer é")], 401),
    ] {
        let reply = server.request("GET", "/messages", fields, b"");
        assert_eq!(reply.status, status, "{case}\nreply: {reply:?}");
    }
    assert_eq!(server.request("GET", &format!("/messages?access_token={TOKEN}"), &[], b"").status, 401);
}

#[test]
fn without_a_read_token_reads_are_open_and_the_log_warns_unless_the_address_is_loopback() {
    for (address, token, warned) in [
        ("127.0.0.1:0", "", false),
        ("[::1]:0", "", false),
        ("0.0.0.0:0", "", true),
        ("[::]:0", "", true),
        ("0.0.0.0:0", TOKEN, false),
    ] {
        let server = Server::with(&[("LISTEN_ADDR", address), ("READ_TOKEN", token)]);
        let status = if token.is_empty() { 200 } else { 401 };
        let reply = server.get("/messages");
        assert_eq!(reply.status, status, "{address}");
        server.log_line(&reply);
        if warned {
            until("the log warns", || server.log().contains("WARNING"));
        }
        let warning = server.log().lines().map(json).find(|line| line["level"] == "WARNING");
        assert_eq!(warning.is_some(), warned, "{address}\nlog:\n{}", server.log());
        if let Some(warning) = warning {
            assert!(warning["message"].as_str().is_some_and(|text| text.contains("READ_TOKEN")), "{warning}");
        }
    }
}

#[test]
fn without_a_read_token_reads_are_answered_only_under_a_name_that_no_web_page_can_have() {
    const REBOUND: &str = "rebind.attacker.example";
    let ask = |server: &Server, method: &str, target: &str, host: &str| {
        let mut connection = Connection::open(server.address()).expect("the server accepts");
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        connection.send(request.as_bytes()).expect("the server reads");
        connection.read_reply(method).expect("the server answers")
    };
    let server = Server::with(&[("ALLOWED_HOSTS", "inbox.example.com, other.example")]);
    server.deliver(delivery("m1"));
    for target in READS.into_iter().chain(["/openapi.json"]) {
        for method in ["GET", "HEAD"] {
            let reply = ask(&server, method, target, REBOUND);
            assert_eq!(reply.status, 421, "{method} {target}\nreply: {reply:?}");
        }
        let reply = ask(&server, "GET", target, REBOUND);
        let detail = reply.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("READ_TOKEN") && detail.contains("ALLOWED_HOSTS"), "{target}\nreply: {reply:?}");
        assert!(!reply.text().contains("m1"), "{target}\nreply: {reply:?}");
    }
    for host in ["127.0.0.1", "[::1]:8000", "localhost:8000", "inbox", "INBOX.example.com:8000", "other.example"] {
        assert_eq!(ask(&server, "GET", "/messages", host).json()["data"][0]["message_id"], "m1", "{host}");
    }
    for target in ["/health/live", "/health/ready"] {
        assert_eq!(ask(&server, "GET", target, REBOUND).status, 200, "{target}");
    }
    let body = delivery("m2");
    let fields = format!("Host: {REBOUND}\r\nX-Signature: {}\r\nContent-Length: {}", sign(SECRET, &body), body.len());
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    connection.send(format!("POST /webhook HTTP/1.1\r\n{fields}\r\n\r\n{body}").as_bytes()).expect("it reads");
    assert_eq!(connection.read_reply("POST").expect("it answers").status, 200, "a delivery proves itself");
    connection.send(b"GET http://rebind.attacker.example/stats HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    assert_eq!(connection.read_reply("GET").expect("it answers").status, 421, "the target's authority counts");
    connection.send(b"GET /stats HTTP/1.0\r\n\r\n").expect("it reads");
    assert_eq!(connection.read_reply("GET").expect("it answers").status, 200, "HTTP/1.0 has no Host");

    let server = Server::with(&[("READ_TOKEN", TOKEN)]);
    assert_eq!(ask(&server, "GET", "/messages", REBOUND).status, 401, "with a token the name does not matter");
    assert_eq!(ask(&server, "GET", "/openapi.json", REBOUND).status, 200);
    let ended = refused(&[("WEBHOOK_SECRET", SECRET), ("ALLOWED_HOSTS", "https://inbox.example.com")]);
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    assert!(ended.stderr.contains("ALLOWED_HOSTS") && ended.stderr.contains("inbox.example.com"), "{ended:?}");
}

#[test]
fn a_secret_in_a_file_is_all_of_it_but_one_end_of_line() {
    for (content, secret) in [
        (&b"from a file"[..], &b"from a file"[..]),
        (b"from a file\n", b"from a file"),
        (b"from a file\r\n", b"from a file"),
        (b"two ends\n\n", b"two ends\n"),
        (b" spaces \t\n", b" spaces \t"),
        (b"two\nlines\n", b"two\nlines"),
        (b"no text: \xff\x00\n", b"no text: \xff\x00"),
        (&[b'x'; 65_536], &[b'x'; 65_536]),
    ] {
        let directory = Directory::new();
        let path = file(&directory, "secret", content);
        let server = without_secret(directory, &[("WEBHOOK_SECRET_FILE", &path)]);
        let body = delivery("m1");
        let reply = server.post("/webhook", Some(&sign(secret, &body)), &body);
        assert_eq!(reply.status, 200, "{content:?}\nreply: {reply:?}");
    }
}

/// As `export WEBHOOK_SECRET="$(cat secret; echo)"` in a script, or a variable that was written with an editor.
#[test]
fn a_secret_that_ends_in_a_newline_is_used_and_warned_about() {
    for name in ["WEBHOOK_SECRET", "WEBHOOK_SECRET_PREVIOUS"] {
        let server = Server::with(&[(name, "s\n")]);
        let body = delivery("m1");
        assert_eq!(server.post("/webhook", Some(&sign("s\n", &body)), &body).status, 200);
        let warning = format!("{name} ends in a newline");
        until("the log has the warning", || {
            server.log().lines().any(|line| line.contains(r#""level":"WARNING""#) && line.contains(&warning))
        });
        let url = database_url(&server.database());
        let ended = run(program().arg("check").env("WEBHOOK_SECRET", SECRET).env(name, "s\n").env("DATABASE_URL", url));
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.stderr.contains(&warning), "{ended:?}");
    }
    let server = Server::start();
    assert_eq!(server.get("/health/ready").status, 200);
    assert!(!server.log().contains("newline"), "{}", server.log());
}

#[test]
fn a_read_token_may_be_in_a_file_too() {
    let directory = Directory::new();
    let path = file(&directory, "token", format!("{TOKEN}\n"));
    let server = Server::in_directory(directory, &[("READ_TOKEN_FILE", &path)]);
    assert_eq!(server.get("/stats").status, 401);
    assert_eq!(server.request("GET", "/stats", &[("Authorization", &format!("Bearer {TOKEN}"))], b"").status, 200);
}

#[test]
fn what_no_variable_gives_is_taken_from_the_credentials() {
    let credentials = Directory::new();
    for (name, content) in [("WEBHOOK_SECRET", "new\n"), ("WEBHOOK_SECRET_PREVIOUS", "old\n"), ("READ_TOKEN", TOKEN)] {
        file(&credentials, name, content);
    }
    let path = credentials.path().to_str().unwrap();
    let server = without_secret(Directory::new(), &[("CREDENTIALS_DIRECTORY", path)]);
    for (secret, status) in [("new", 200), ("old", 200), (SECRET, 401)] {
        let body = delivery(secret);
        assert_eq!(server.post("/webhook", Some(&sign(secret, &body)), &body).status, status, "{secret}");
    }
    assert_eq!(server.get("/stats").status, 401);

    let server = Server::with(&[("CREDENTIALS_DIRECTORY", path), ("WEBHOOK_SECRET", "variable")]);
    let body = delivery("m1");
    assert_eq!(server.post("/webhook", Some(&sign("variable", &body)), &body).status, 200);
    assert_eq!(server.post("/webhook", Some(&sign("new", &body)), &body).status, 401);
}

/// As the installed service has both: systemd has read the file for it, which it may not read itself.
#[test]
fn a_credential_stands_for_the_file_of_its_setting() {
    let credentials = Directory::new();
    file(&credentials, "WEBHOOK_SECRET", SECRET);
    let path = credentials.path().to_str().unwrap();
    let unreadable = credentials.path().join("missing").to_str().unwrap().to_owned();
    let settings = [("CREDENTIALS_DIRECTORY", path), ("WEBHOOK_SECRET_FILE", &unreadable)];
    let server = without_secret(Directory::new(), &settings);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
}

#[test]
fn a_confidential_value_that_cannot_be_used_is_named_and_why_and_never_quoted() {
    let directory = Directory::new();
    let (secret, empty) = (file(&directory, "secret", "hush-hush"), file(&directory, "empty", "\n"));
    let (large, spaced) = (file(&directory, "large", "x".repeat(65_537)), file(&directory, "spaced", "hush hush"));
    let missing = directory.path().join("missing").to_str().unwrap().to_owned();
    let place = directory.path().to_str().unwrap();
    let credentials = Directory::new();
    file(&credentials, "WEBHOOK_SECRET", "");
    let credentials = credentials.path().to_str().unwrap();
    let given = ("WEBHOOK_SECRET", "hush-hush");
    for (settings, parts) in [
        (&[][..], &["WEBHOOK_SECRET is not set", "WEBHOOK_SECRET_FILE"][..]),
        (&[given, ("WEBHOOK_SECRET_FILE", &secret)], &["WEBHOOK_SECRET and WEBHOOK_SECRET_FILE are both set"]),
        (&[("WEBHOOK_SECRET_FILE", &missing)], &["WEBHOOK_SECRET_FILE", &missing, "no file"]),
        (&[("WEBHOOK_SECRET_FILE", place)], &["WEBHOOK_SECRET_FILE", place, "directory"]),
        (&[("WEBHOOK_SECRET_FILE", &empty)], &["WEBHOOK_SECRET_FILE", &empty, "is empty"]),
        (&[("WEBHOOK_SECRET_FILE", &large)], &["WEBHOOK_SECRET_FILE", &large, "65536"]),
        (&[("WEBHOOK_SECRET_FILE", "/dev/zero")], &["WEBHOOK_SECRET_FILE", "/dev/zero", "65536"]),
        (&[("WEBHOOK_SECRET_PREVIOUS", "hush-hush")], &["WEBHOOK_SECRET is not set"]),
        (&[given, ("WEBHOOK_SECRET_PREVIOUS_FILE", &empty)], &["WEBHOOK_SECRET_PREVIOUS_FILE", "is empty"]),
        (&[("CREDENTIALS_DIRECTORY", credentials)], &["the credential WEBHOOK_SECRET", credentials, "is empty"]),
        (&[("CREDENTIALS_DIRECTORY", place)], &["WEBHOOK_SECRET is not set"]),
        (&[given, ("READ_TOKEN", "hush hush")], &["READ_TOKEN", "Bearer", "letters, digits"]),
        (&[given, ("READ_TOKEN", "hush\n")], &["READ_TOKEN", "letters, digits"]),
        (&[given, ("READ_TOKEN_FILE", &spaced)], &["READ_TOKEN", "letters, digits"]),
        (&[given, ("READ_TOKEN_FILE", &missing)], &["READ_TOKEN_FILE", &missing]),
        (&[given, ("READ_TOKEN", "t"), ("READ_TOKEN_FILE", &secret)], &["READ_TOKEN and READ_TOKEN_FILE"]),
    ] {
        let ended = refused(settings);
        assert_eq!(ended.status.code(), Some(78), "{settings:?}\n{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{settings:?}\n{ended:?}");
        for part in parts {
            assert!(ended.stderr.contains(part), "{settings:?}: no {part:?}\n{ended:?}");
        }
        assert!(!ended.stderr.contains("hush"), "{settings:?}\n{ended:?}");
    }
    let ended = refused(&[("READ_TOKEN", "a b"), ("WEBHOOK_SECRET_PREVIOUS_FILE", &missing), ("WORKERS", "0")]);
    assert_eq!(ended.stderr.lines().count(), 4, "all faults at once, with the missing secret\n{ended:?}");
}

#[test]
fn while_a_secret_is_changed_either_verifies_and_a_metric_says_which() {
    let server = Server::with(&[("WEBHOOK_SECRET", "new"), ("WEBHOOK_SECRET_PREVIOUS", "old")]);
    let matches =
        |server: &Server, secret: &str| server.metric(&format!("inbox_signature_matches_total{{secret=\"{secret}\"}}"));
    for (id, secret, body, status) in [
        ("m1", "new", delivery("m1"), 200),
        ("m2", "old", delivery("m2"), 200),
        ("m2 again", "old", delivery("m2"), 200),
        ("signed but not valid", "old", "{}".to_owned(), 422),
        ("m3", "older", delivery("m3"), 401),
    ] {
        let reply = server.post("/webhook", Some(&sign(secret, &body)), &body);
        assert_eq!(reply.status, status, "{id}\nreply: {reply:?}");
    }
    assert_eq!((matches(&server, "current"), matches(&server, "previous")), (1.0, 3.0));
    assert_eq!(server.message_ids(), ["m1", "m2"]);

    let server = Server::with(&[("WEBHOOK_SECRET", "new")]);
    let body = delivery("m1");
    assert_eq!(server.post("/webhook", Some(&sign("old", &body)), &body).status, 401);
    assert_eq!((matches(&server, "current"), matches(&server, "previous")), (0.0, 0.0));
}
