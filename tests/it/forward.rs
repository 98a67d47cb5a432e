//! `forward`: what arrives is posted to another URL, in order and at least once, whatever fails or is killed.

use crate::harness::{
    Delivery, Directory, Reply, Running, SECRET, Server, database_url, delivery, own_address, program, run, sign, until,
};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// What the target was sent.
#[derive(Clone, Debug)]
struct Posted {
    line: String,
    fields: Vec<(String, String)>,
    body: String,
    at: Instant,
}

impl Posted {
    fn read(stream: &TcpStream) -> Option<Posted> {
        let mut reader = BufReader::new(stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.strip_suffix("\r\n")? {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let fields = head[1..].iter().filter_map(|line| line.split_once(": "));
        let fields: Vec<_> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let length = fields.iter().find(|(name, _)| name == "Content-Length")?.1.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some(Posted { line: head[0].clone(), fields, body: String::from_utf8(body).ok()?, at: Instant::now() })
    }

    #[track_caller]
    fn field(&self, name: &str) -> &str {
        let values: Vec<_> = self.fields.iter().filter(|(known, _)| known == name).collect();
        assert_eq!(values.len(), 1, "{name}: {self:?}");
        &values[0].1
    }
}

/// How the target treats its next posts; after them, with 200.
type Answers = Arc<Mutex<VecDeque<&'static str>>>;

/// The second system. It keeps what it was sent, and an empty answer leaves the client waiting.
struct Target {
    address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
    answers: Answers,
}

impl Target {
    fn start() -> Target {
        Target::at("127.0.0.1:0")
    }

    fn at(address: &str) -> Target {
        let listener = TcpListener::bind(address).expect("the address is free");
        let address = listener.local_addr().expect("it listens");
        let (posted, answers) = (Arc::<Mutex<Vec<Posted>>>::default(), Answers::default());
        let (kept, next) = (Arc::clone(&posted), Arc::clone(&answers));
        std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for stream in listener.incoming().flatten() {
                let Some(one) = Posted::read(&stream) else { continue }; // it was killed while it posted
                let answer = next.lock().unwrap().pop_front().unwrap_or(OK);
                kept.lock().unwrap().push(one);
                match answer {
                    "" => unanswered.push(stream),
                    answer => (&stream).write_all(answer.as_bytes()).unwrap_or_default(), // it may have been killed
                }
            }
        });
        Target { address, posted, answers }
    }

    fn answer(&self, answers: &[&'static str]) {
        self.answers.lock().unwrap().extend(answers);
    }

    fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    fn bodies(&self) -> Vec<String> {
        self.posted().into_iter().map(|posted| posted.body).collect()
    }

    #[track_caller]
    fn until_posted(&self, bodies: &[impl AsRef<str>]) {
        let right: Vec<_> = bodies.iter().map(|body| body.as_ref().to_owned()).collect();
        until(&format!("these are posted: {right:?}"), || self.bodies() == right);
    }
}

/// A forward's directory with its cursor, and how it is started.
struct Forward {
    directory: Directory,
    service: String,
    target: SocketAddr,
    arguments: Vec<&'static str>,
}

impl Forward {
    fn new(server: &Server, target: SocketAddr, arguments: &[&'static str]) -> Forward {
        let service = server.address().to_string();
        Forward { directory: Directory::new(), service, target, arguments: arguments.to_vec() }
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.directory.path().join(format!("forward.cursor{suffix}"))
    }

    fn command(&self) -> Command {
        let mut command = program();
        command.current_dir(self.directory.path()).args(["forward", "--to", &format!("http://{}/in?x=1", self.target)]);
        command.args(&self.arguments);
        command.envs([
            ("LISTEN_ADDR", self.service.as_str()),
            ("WEBHOOK_SECRET", SECRET),
            ("META_APP_SECRET", "another secret"),
        ]);
        command
    }

    fn start(&self) -> Running {
        Running::start(self.command())
    }

    fn cursor(&self) -> Option<String> {
        std::fs::read_to_string(self.file("")).ok()
    }

    #[track_caller]
    fn until_at(&self, seq: u64) {
        until(&format!("the cursor is {seq}"), || self.cursor() == Some(format!("{seq}\n")));
    }

    #[track_caller]
    fn skipped(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file(".skipped")).unwrap_or_default();
        text.lines().map(crate::harness::json).collect()
    }
}

/// Stores native messages, and returns their bodies.
fn store(server: &Server, ids: impl IntoIterator<Item = u32>) -> Vec<String> {
    let bodies: Vec<String> = ids.into_iter().map(|id| delivery(&format!("m{id}"))).collect();
    for body in &bodies {
        assert_eq!(server.deliver(body).status, 200);
    }
    bodies
}

fn with_meta() -> Server {
    Server::with(&[("META_APP_SECRET", APP_SECRET)])
}

/// An envelope of Meta with these messages, whose bytes no JSON library would print.
fn envelope(ids: &[&str]) -> String {
    let messages = ids.iter().map(|id| {
        json!({ "from": "12025550143", "id": id, "timestamp": "1790416800", "type": "text", "text": { "body": "Hé" } })
    });
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": { "display_phone_number": "12025550100", "phone_number_id": "200000000000002" },
        "messages": messages.collect::<Vec<_>>(),
    });
    let change = json!({ "field": "messages", "value": value });
    let whole = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [change] }] });
    whole.to_string().replace("\":", "\" :\n")
}

fn signature(secret: &str, body: &str) -> String {
    format!("sha256={}", sign(secret, body))
}

#[track_caller]
fn deliver_meta(server: &Server, body: &str) -> Reply {
    let fields = [("X-Hub-Signature-256", signature(APP_SECRET, body))];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
    let reply = server.request("POST", "/webhook/meta", &fields, body.as_bytes());
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

#[test]
fn native_messages_are_posted_in_order_and_signed() {
    let (server, target) = (Server::start(), Target::start());
    let mut bodies = store(&server, 1..=25);
    let silent = Delivery { text: None, ..Delivery::of("m26") }.body();
    assert_eq!(server.deliver(&silent).status, 200);
    bodies.push(silent);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let _running = forward.start();
    target.until_posted(&bodies);
    bodies.extend(store(&server, 27..=28));
    target.until_posted(&bodies);
    forward.until_at(28);
    for posted in target.posted() {
        assert_eq!(posted.line, "POST /in?x=1 HTTP/1.1");
        assert_eq!(posted.field("Content-Type"), "application/json");
        assert_eq!(posted.field("Host"), target.address.to_string());
        assert_eq!(posted.field("X-Signature"), sign(SECRET, &posted.body));
    }
}

#[test]
fn a_delivery_of_meta_is_posted_once_as_it_came_however_many_messages_are_in_it() {
    let (server, target) = (with_meta(), Target::start());
    let many: Vec<String> = (0..100).map(|index| format!("wamid.{index}")).collect();
    let many = envelope(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let (one, both) = (envelope(&["wamid.A"]), envelope(&["wamid.A", "wamid.B", "wamid.C"]));
    for body in [&many, &one, &both, &one] {
        deliver_meta(&server, body);
    }
    let native = store(&server, [1]).remove(0);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let _running = forward.start();
    target.until_posted(&[&many, &one, &both, &native]);
    forward.until_at(104);
    for posted in &target.posted()[..3] {
        assert_eq!(posted.field("X-Hub-Signature-256"), signature(APP_SECRET, &posted.body));
        assert_eq!(posted.field("Content-Type"), "application/json");
    }
}

#[test]
fn another_inbox_takes_what_is_forwarded() {
    let (server, other) = (with_meta(), with_meta());
    for body in [envelope(&["wamid.A", "wamid.B"]), envelope(&["wamid.C"])] {
        deliver_meta(&server, &body);
    }
    let mut forward = Forward::new(&server, other.address(), &["--after", "0"]);
    forward.arguments.extend(["--to", Box::leak(format!("http://{}/webhook/meta", other.address()).into_boxed_str())]);
    let _running = forward.start();
    forward.until_at(3);
    assert_eq!(other.message_ids(), ["wamid.A", "wamid.B", "wamid.C"]);
}

#[test]
fn with_resign_a_delivery_is_signed_with_the_secret_of_the_settings() {
    let (server, target) = (with_meta(), Target::start());
    let body = envelope(&["wamid.A"]);
    deliver_meta(&server, &body);
    let forward = Forward::new(&server, target.address, &["--after", "0", "--resign"]);
    let _running = forward.start();
    target.until_posted(&[&body]);
    assert_eq!(target.posted()[0].field("X-Hub-Signature-256"), signature("another secret", &body));
}

#[test]
fn without_a_secret_a_native_message_cannot_be_posted() {
    let (server, target) = (Server::start(), Target::start());
    store(&server, [1]);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let ended = run(forward.command().env_remove("WEBHOOK_SECRET"));
    assert_eq!(ended.status.code(), Some(78), "{ended:?}");
    assert!(ended.stderr.contains("WEBHOOK_SECRET is not set"), "{ended:?}");
    assert_eq!(target.bodies(), [""; 0]);
}

#[test]
fn without_a_cursor_it_begins_with_what_arrives_and_goes_on_from_there() {
    let (server, target) = (Server::start(), Target::start());
    store(&server, 1..=3);
    let forward = Forward::new(&server, target.address, &[]);
    let mut running = forward.start();
    forward.until_at(3);
    running.signal("TERM");
    assert_eq!(running.until_ended(), Some(0));
    let bodies = store(&server, 4..=6);
    let _running = forward.start();
    target.until_posted(&bodies);
}

#[test]
fn an_answer_other_than_2xx_is_tried_again_and_said_once() {
    let (server, target) = (Server::start(), Target::start());
    let bodies = store(&server, 1..=2);
    let long_after = "HTTP/1.1 429 Slow Down\r\nRetry-After: 3\r\n\r\n";
    let accepted = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n";
    target.answer(&[BUSY, BUSY, long_after, accepted]);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let running = forward.start();
    target.until_posted(&[&bodies[0], &bodies[0], &bodies[0], &bodies[0], &bodies[1]]);
    forward.until_at(2);
    let at: Vec<Instant> = target.posted().iter().map(|posted| posted.at).collect();
    for (index, seconds) in [(1, 1), (2, 2), (3, 4)] {
        let pause = at[index] - at[index - 1];
        assert!(pause >= Duration::from_secs(seconds), "attempt {index} came after {pause:?}");
    }
    let said = running.text("stderr");
    let said: Vec<&str> = said.lines().skip(1).collect();
    let name = format!("webhook-inbox: the target {}", target.address);
    let right = [
        format!("{name} answered 503; trying again in 1 s"),
        format!("{name} answered 429; trying again in 4 s"),
        "webhook-inbox: forwarding continues".to_owned(),
    ];
    assert_eq!(said, right);
}

#[test]
fn retry_after_prolongs_the_pause() {
    let (server, target) = (Server::start(), Target::start());
    let bodies = store(&server, [1]);
    target.answer(&["HTTP/1.1 503 Busy\r\nretry-after: 3\r\n\r\n"]);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let _running = forward.start();
    target.until_posted(&[&bodies[0], &bodies[0]]);
    let posted = target.posted();
    assert!(posted[1].at - posted[0].at >= Duration::from_secs(3));
}

#[test]
fn a_target_that_is_not_there_is_waited_for_even_with_skip_after() {
    let server = Server::start();
    let address = own_address();
    let bodies = store(&server, 1..=2);
    let forward = Forward::new(&server, address.parse().unwrap(), &["--after", "0", "--skip-after", "1"]);
    let running = forward.start();
    until("it says so", || running.text("stderr").contains("does not answer: Connection refused"));
    let target = Target::at(&address);
    target.until_posted(&bodies);
    assert_eq!(forward.skipped(), [Value::Null; 0]);
}

#[test]
fn an_answer_that_is_cut_off_or_is_not_http_is_no_success() {
    let (server, target) = (Server::start(), Target::start());
    let bodies = store(&server, [1]);
    target.answer(&["HTTP/1.1 200 OK\r\nContent", "SSH-2.0-x\r\n\r\n"]);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let running = forward.start();
    target.until_posted(&[&bodies[0], &bodies[0], &bodies[0]]);
    let said = running.text("stderr");
    assert!(said.contains("closed the connection") && said.contains("does not speak HTTP"), "{said}");
}

#[test]
fn what_is_refused_too_often_goes_into_the_file_of_skipped_posts() {
    let (server, target) = (with_meta(), Target::start());
    let meta = envelope(&["wamid.A", "wamid.B"]);
    deliver_meta(&server, &meta);
    let native = store(&server, 1..=2);
    let bad = "HTTP/1.1 422 Unprocessable\r\n\r\n";
    target.answer(&[bad, bad, bad, OK, bad, bad]);
    let forward = Forward::new(&server, target.address, &["--after", "0", "--skip-after", "2"]);
    std::fs::write(forward.file(".skipped"), r#"{"cut off"#).unwrap();
    let running = forward.start();
    target.until_posted(&[&meta, &meta, &native[0], &native[0], &native[1], &native[1]]);
    forward.until_at(4);
    let text = std::fs::read_to_string(forward.file(".skipped")).unwrap();
    let lines: Vec<Value> = text.lines().skip(1).map(crate::harness::json).collect();
    let reason = format!("the target {} answered 422", target.address);
    let line = |seq: u32, last_seq: u32, field: String, body: &str| json!({ "seq": seq, "last_seq": last_seq, "reason": reason, "fields": [field], "body": body });
    let right = [
        line(1, 2, format!("X-Hub-Signature-256: {}", signature(APP_SECRET, &meta)), &meta),
        line(4, 4, format!("X-Signature: {}", sign(SECRET, &native[1])), &native[1]),
    ];
    assert_eq!(lines, right);
    assert!(running.text("stderr").contains("seq 1 was skipped and is in "), "{}", running.text("stderr"));
}

#[test]
fn a_delivery_that_an_erasure_has_altered_goes_into_the_file_of_skipped_posts() {
    let (server, target) = (with_meta(), Target::start());
    let mine = envelope(&["wamid.A"]).replace("12025550143", "12025550177");
    let shared = envelope(&["wamid.B", "wamid.C"]).replacen("12025550143", "12025550177", 1);
    deliver_meta(&server, &mine);
    deliver_meta(&server, &shared);
    let last = store(&server, [1]);
    let database = database_url(&server.database());
    let ended = run(program().args(["erase", "--from", "+12025550177"]).env("DATABASE_URL", database));
    assert!(ended.status.success(), "{ended:?}");
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let _running = forward.start();
    target.until_posted(&last);
    let body =
        r#"{"message_id":"wamid.C","from":"+12025550143","to":"+12025550100","ts":"2026-09-26T10:00:00Z","text":"Hé"}"#;
    let reason = "its delivery is not kept as it came";
    let right = json!({ "seq": 3, "last_seq": 3, "reason": reason, "fields": [], "body": body });
    assert_eq!(forward.skipped(), [right]);
}

#[test]
fn what_is_erased_while_the_target_does_not_take_it_is_not_posted_afterwards() {
    let (server, target) = (Server::start(), Target::start());
    let mine = Delivery { from: "+12025550177".to_owned(), ..Delivery::of("m1") }.body();
    server.deliver(&mine);
    let other = store(&server, [2]);
    target.answer(&[BUSY; 5]);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let running = forward.start();
    until("it was refused", || running.text("stderr").contains("503"));
    let database = database_url(&server.database());
    let ended = run(program().args(["erase", "--from", "+12025550177"]).env("DATABASE_URL", database));
    assert!(ended.status.success(), "{ended:?}");
    let erased = Instant::now();
    target.answers.lock().unwrap().clear();
    until("the other is posted", || target.bodies().last() == other.last());
    let posted = target.posted();
    assert!(!posted.iter().any(|posted| posted.body == mine && posted.at > erased), "{posted:?}");
}

#[test]
fn killed_after_the_target_has_taken_a_message_it_posts_it_again() {
    let (server, target) = (Server::start(), Target::start());
    let bodies = store(&server, 1..=2);
    target.answer(&[""]);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let running = forward.start();
    target.until_posted(&bodies[..1]);
    drop(running); // kill -9, before it has seen an answer
    assert_eq!(forward.cursor(), None);
    let _running = forward.start();
    target.until_posted(&[&bodies[0], &bodies[0], &bodies[1]]);
}

#[test]
fn killed_at_any_moment_it_leaves_nothing_out() {
    let (server, target) = (with_meta(), Target::start());
    let mut right = Vec::new();
    for index in 0..40 {
        let [first, second] = ["a", "b"].map(|letter| format!("wamid.{index}.{letter}"));
        let body = envelope(&[&first, &second]);
        deliver_meta(&server, &body);
        right.push(body);
        right.extend(store(&server, [index]));
    }
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let seed = fastrand::u64(..);
    fastrand::seed(seed);
    let mut kills = 0;
    while target.bodies().last() != right.last() {
        assert!(kills < 2000, "it does not come to an end; seed {seed}");
        let seen = target.bodies().len();
        let running = forward.start();
        // Now and then before it does anything, else after some posts and a moment more.
        let wanted = seen + fastrand::usize(0..6);
        until("it has posted some", || target.bodies().len() >= wanted || target.bodies().last() == right.last());
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..3000))); // the moment of the kill, no wait for anything
        drop(running);
        kills += 1;
    }
    let places: Vec<_> = target.bodies().iter().map(|body| right.iter().position(|known| known == body)).collect();
    let mut without_repetitions = places.clone();
    without_repetitions.dedup(); // the last post again, which is all that may be repeated
    assert_eq!(without_repetitions, (0..right.len()).map(Some).collect::<Vec<_>>(), "seed {seed}");
    assert!(places.len() <= right.len() + kills, "{} posts, {kills} kills, seed {seed}", places.len());
}

#[test]
fn a_service_that_is_killed_is_waited_for() {
    let (address, target) = (own_address(), Target::start());
    let mut server = Server::with(&[("LISTEN_ADDR", &address)]);
    let mut bodies = store(&server, 1..=2);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let running = forward.start();
    target.until_posted(&bodies);
    server.kill();
    until("it says so", || running.text("stderr").contains("trying again in 1 s"));
    server.start_again();
    bodies.extend(store(&server, 3..=4));
    target.until_posted(&bodies);
    until("it says so", || running.text("stderr").contains("forwarding continues"));
}

#[test]
fn a_signal_ends_it_after_the_post_that_it_is_making() {
    let (server, target) = (Server::start(), Target::start());
    let bodies = store(&server, 1..=2);
    target.answer(&["HTTP/1.1 500 Oh\r\n\r\n"]);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let mut running = forward.start();
    until("it pauses", || running.text("stderr").contains("trying again"));
    running.signal("INT");
    assert_eq!(running.until_ended(), Some(0));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = Forward { target: listener.local_addr().unwrap(), ..forward };
    let mut running = forward.start();
    let (stream, _) = listener.accept().unwrap();
    assert_eq!(Posted::read(&stream).unwrap().body, bodies[0]);
    running.signal("TERM");
    (&stream).write_all(OK.as_bytes()).unwrap();
    assert_eq!(running.until_ended(), Some(0));
    assert!(matches!(forward.cursor().as_deref(), Some("1\n" | "2\n")), "{:?}", forward.cursor());
}

#[test]
fn one_cursor_file_is_for_one_forward() {
    let (server, target) = (Server::start(), Target::start());
    let forward = Forward::new(&server, target.address, &[]);
    let _running = forward.start();
    forward.until_at(0);
    let second = run(&mut forward.command());
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(second.stderr.contains("another forward is using "), "{second:?}");
    let _other = Running::start({
        let mut command = forward.command();
        command.args(["--cursor", "other"]);
        command
    });
    until("it has begun", || forward.directory.path().join("other").exists());
}

#[test]
fn a_cursor_that_cannot_be_used_ends_it() {
    let (server, target) = (Server::start(), Target::start());
    store(&server, [1]);
    let forward = Forward::new(&server, target.address, &[]);
    for (cursor, said) in [
        ("2\n", "ahead of the database: an older backup was restored"),
        ("x\n", "holds no cursor"),
        ("-1\n", "holds no cursor"),
        ("", "holds no cursor"),
    ] {
        std::fs::write(forward.file(""), cursor).unwrap();
        let ended = run(&mut forward.command());
        assert_eq!(ended.status.code(), Some(1), "{cursor:?} {ended:?}");
        assert!(ended.stderr.contains(said), "{cursor:?} {ended:?}");
        assert_eq!(forward.cursor().as_deref(), Some(cursor));
    }
    assert_eq!(target.bodies(), [""; 0]);
}

#[test]
fn messages_that_were_deleted_before_they_were_forwarded_are_reported() {
    let (server, target) = (Server::start(), Target::start());
    let bodies = store(&server, 1..=4);
    crate::harness::Database::open(server.database()).run("DELETE FROM messages WHERE seq < 4");
    target.answer(&[BUSY]);
    let forward = Forward::new(&server, target.address, &[]);
    std::fs::write(forward.file(""), "1\n").unwrap();
    let running = forward.start();
    target.until_posted(&[&bodies[3], &bodies[3]]);
    let said = running.text("stderr");
    assert_eq!(said.matches("messages up to seq 3 were deleted before they were forwarded").count(), 1, "{said}");
}

#[test]
fn https_and_a_wrong_read_token_are_refused_with_what_to_do() {
    let ended = run(program().args(["forward", "--to", "https://example.com/"]));
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("does not speak TLS; name a proxy or a tunnel"), "{ended:?}");
    let (server, target) = (Server::with(&[("READ_TOKEN", "right")]), Target::start());
    let bodies = store(&server, [1]);
    let forward = Forward::new(&server, target.address, &["--after", "0"]);
    let ended = run(forward.command().env("READ_TOKEN", "wrong"));
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("401"), "{ended:?}");
    let mut command = forward.command();
    command.env("READ_TOKEN", "right");
    let _running = Running::start(command);
    target.until_posted(&bodies);
}
