//! GET /arrivals?wait: a client waits for messages, and holds up nothing meanwhile.

use crate::harness::{Connection, Database, Delivery, Reply, Server, database_url, delivery, ids, json, run, until};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longer than any test takes.
const LONG: &str = "/arrivals?after=now&wait=30";

/// A client that has asked and not read its answer.
#[track_caller]
pub(crate) fn ask(server: &Server, target: &str) -> Connection {
    let mut connection = Connection::open(server.address()).expect("the server accepts");
    let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.send(request.as_bytes()).expect("the server reads");
    connection
}

#[track_caller]
fn answer(connection: &mut Connection) -> Reply {
    connection.read_reply("GET").expect("the server answers")
}

#[track_caller]
fn until_waiting(server: &Server, count: u32) {
    until("so many clients wait", || server.metric("inbox_waiting_requests") == f64::from(count));
}

fn waits(server: &Server, result: &str) -> f64 {
    server.metric(&format!("inbox_waits_total{{result=\"{result}\"}}"))
}

#[track_caller]
fn message_ids(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "reply: {reply:?}");
    ids(reply.json()["data"].as_array().expect("data is an array"))
}

fn from(id: &str, from: &str) -> String {
    Delivery { from: from.to_owned(), ..Delivery::of(id) }.body()
}

#[test]
fn a_message_wakes_the_client_that_waits_for_it() {
    let server = Server::start();
    server.deliver(delivery("m1"));
    let mut client = ask(&server, LONG);
    until_waiting(&server, 1);
    assert_eq!(server.metric("inbox_requests_in_flight"), 1.0, "the one for this figure");
    server.deliver(delivery("m2"));
    let reply = answer(&mut client);
    assert_eq!(message_ids(&reply), ["m2"]);
    assert_eq!(reply.json()["next"], "2");
    assert_eq!((waits(&server, "message"), server.metric("inbox_waiting_requests")), (1.0, 0.0));
    let line = server.log_line(&reply);
    assert!(line["waited_ms"].as_f64().is_some_and(|ms| ms > 0.0) && line["latency_ms"].is_f64(), "{line}");
    assert_eq!(server.log().matches("\"/arrivals\"").count(), 1, "one line for a request\n{}", server.log());
    assert_eq!(server.metric(r#"http_requests_total{path="/arrivals",status="200"}"#), 1.0);
}

#[test]
fn what_is_there_already_is_not_waited_for() {
    let server = Server::start();
    server.deliver(delivery("m1"));
    let reply = server.get("/arrivals?after=0&wait=30");
    assert_eq!(message_ids(&reply), ["m1"]);
    assert!(server.log_line(&reply).get("waited_ms").is_none());
    assert_eq!(waits(&server, "message"), 0.0, "that was no wait");
}

#[test]
fn a_wait_that_brings_nothing_ends_empty() {
    let server = Server::start();
    server.deliver(delivery("m1"));
    for method in ["GET", "HEAD"] {
        let reply = server.request(method, "/arrivals?after=1&wait=1", &[], b"");
        assert_eq!((reply.status, reply.field("Link")), (200, None), "{method}\nreply: {reply:?}");
        if method == "GET" {
            assert_eq!(reply.text(), r#"{"data":[],"next":"1","oldest":1,"changes":0}"#);
        }
        let line = server.log_line(&reply);
        let ms = |name: &str| line[name].as_f64().expect("a number");
        assert!(ms("latency_ms") < ms("waited_ms"), "the wait is no part of the latency: {line}");
    }
    assert_eq!(waits(&server, "timeout"), 2.0);
}

#[test]
fn a_filter_is_evaluated_from_where_it_was_before() {
    let server = Server::start();
    let mut client = ask(&server, "/arrivals?after=0&wait=30&from=%2B7&q=b&limit=1");
    until_waiting(&server, 1);
    for index in 0..20 {
        server.deliver(from(&format!("other{index}"), "+8"));
    }
    server.deliver(Delivery { text: Some("a".to_owned()), from: "+7".to_owned(), ..Delivery::of("m1") }.body());
    server.deliver(Delivery { text: Some("abc".to_owned()), from: "+7".to_owned(), ..Delivery::of("m2") }.body());
    let reply = answer(&mut client);
    assert_eq!(message_ids(&reply), ["m2"]);
    assert_eq!(reply.json()["next"], "22");
}

#[test]
fn a_message_of_another_program_wakes_too() {
    let server = Server::start();
    let mut client = ask(&server, LONG);
    until_waiting(&server, 1);
    Database::open(server.database()).insert_all(&[Delivery::of("m1")]);
    assert_eq!(message_ids(&answer(&mut client)), ["m1"]);
}

#[test]
fn no_more_than_max_waiters_wait() {
    let server = Server::start();
    let mut clients: Vec<Connection> = (0..64).map(|_| ask(&server, LONG)).collect();
    until_waiting(&server, 64);
    let reply = server.get(LONG);
    assert_eq!(reply.status, 503, "reply: {reply:?}");
    assert_eq!(reply.text(), r#"{"detail":"too many requests wait; ask without wait"}"#);
    assert_eq!(reply.field("Retry-After"), Some("2"));
    assert_eq!(server.log_line(&reply)["reason"], "waiters_max");
    assert_eq!(waits(&server, "refused"), 1.0);
    assert_eq!(server.get("/arrivals?after=now").status, 200, "without wait");
    server.deliver(delivery("m1"));
    for client in &mut clients {
        assert_eq!(message_ids(&answer(client)), ["m1"]);
    }
    assert_eq!(waits(&server, "message"), 64.0);
    let server = Server::with(&[("MAX_WAITERS", "0")]);
    assert_eq!(server.get(LONG).status, 503);
}

#[test]
fn a_client_that_leaves_gives_its_place_to_another() {
    let server = Server::with(&[("MAX_WAITERS", "1")]);
    for left in 1..=3 {
        let client = ask(&server, LONG);
        until_waiting(&server, 1);
        drop(client);
        until_waiting(&server, 0);
        until("it is counted", || waits(&server, "left") == f64::from(left));
    }
    let mut client = ask(&server, LONG);
    until_waiting(&server, 1);
    server.deliver(delivery("m1"));
    assert_eq!(message_ids(&answer(&mut client)), ["m1"]);
}

#[test]
fn a_client_that_has_closed_its_sending_side_is_answered_at_once() {
    let server = Server::start();
    let mut client = ask(&server, LONG);
    client.finish_sending().expect("it is open");
    assert_eq!(message_ids(&answer(&mut client)), Vec::<String>::new());
    assert!(client.is_at_end());
    assert_eq!(waits(&server, "left"), 1.0);
}

#[test]
fn a_request_behind_one_that_waits_is_answered_after_it() {
    let server = Server::start();
    let mut client = ask(&server, LONG);
    client.send(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("the server reads");
    until_waiting(&server, 1);
    server.deliver(delivery("m1"));
    assert_eq!(message_ids(&answer(&mut client)), ["m1"]);
    assert_eq!(answer(&mut client).text(), r#"{"status":"ok"}"#);
}

#[test]
fn who_may_not_read_does_not_wait() {
    let server = Server::with(&[("READ_TOKEN", "right")]);
    assert_eq!(server.get(LONG).status, 401);
    let wrong = server.request("GET", "/arrivals?wait=30", &[("Authorization", "Bearer right")], b"");
    assert_eq!(wrong.status, 422, "reply: {wrong:?}");
    assert_eq!(wrong.json()["detail"][0]["loc"][1], "wait");
}

#[test]
fn idle_connections_make_room_and_those_that_wait_do_not() {
    let server = Server::with(&[("MAX_CONNECTIONS", "16"), ("IDLE_TIMEOUT_MS", "3600000")]);
    let mut clients: Vec<Connection> = (0..8).map(|_| ask(&server, LONG)).collect();
    until_waiting(&server, 8);
    assert_eq!(server.get(LONG).status, 503, "half of the connections are left for others");
    let idle: Vec<Connection> = (0..40).map(|_| Connection::open(server.address()).expect("it accepts")).collect();
    until("some were closed", || server.metric("inbox_connections_evicted_total") >= 30.0);
    server.deliver(delivery("m1"));
    for client in &mut clients {
        assert_eq!(message_ids(&answer(client)), ["m1"]);
    }
    drop(idle);
}

/// An answer that came only at the end of the wait would come after the 10 s that the service takes to stop, so never.
#[test]
fn all_that_wait_are_answered_when_the_service_stops() {
    let mut server = Server::start();
    let mut clients: Vec<Connection> = (0..64).map(|_| ask(&server, LONG)).collect();
    until_waiting(&server, 64);
    server.terminate();
    for client in &mut clients {
        let reply = answer(client);
        assert_eq!(message_ids(&reply), Vec::<String>::new());
        assert_eq!(reply.field("Connection"), Some("close"), "reply: {reply:?}");
    }
    assert_eq!(server.wait_exit().code(), Some(0), "log:\n{}", server.log());
    until("the log says so", || server.log().contains("\"stopped\""));
    let stopped = server.log().lines().find(|line| line.contains("\"stopped\"")).map(json).expect("it is there");
    assert_eq!(stopped["connections_still_open"], 0, "{stopped}");
}

/// What a client has seen that follows the arrivals.
struct Follower {
    filter: &'static str,
    matches: fn(&str) -> bool,
    cursor: String,
    seen: BTreeMap<String, usize>,
    rng: fastrand::Rng,
}

impl Follower {
    fn new(filter: &'static str, matches: fn(&str) -> bool, seed: u64) -> Follower {
        let rng = fastrand::Rng::with_seed(seed);
        Follower { filter, matches, cursor: "0".to_owned(), seen: BTreeMap::new(), rng }
    }

    /// Asks once. True: there was nothing, and nothing more to look at.
    fn poll(&mut self, connection: &mut Connection) -> bool {
        let (limit, wait, cursor) = (self.rng.usize(1..=100), self.rng.usize(0..=1), &self.cursor);
        let target = format!("/arrivals?after={cursor}&limit={limit}&wait={wait}{}", self.filter);
        let reply = connection.request("GET", &target, &[], b"");
        let found = message_ids(&reply);
        let is_end = found.is_empty() && reply.field("Link").is_none();
        for id in found {
            *self.seen.entry(id).or_default() += 1;
        }
        self.cursor = reply.json()["next"].as_str().expect("next is text").to_owned();
        is_end
    }
}

/// A message_id is `ROUND-WRITER-INDEX-from SENDER`. What comes from +4 is erased meanwhile.
#[test]
fn each_message_is_seen_once_whatever_goes_on() {
    const WRITERS: u32 = 32;
    const MESSAGES: u32 = 12;
    fn is_seven(id: &str) -> bool {
        id.split('-').nth(2) == Some("7")
    }
    let is_kept = |id: &str| !id.ends_with("from 4");
    let mut server = Server::start();
    let mut followers = [
        Follower::new("", |_| true, 1),
        Follower::new("&from=%2B1", |id| id.ends_with("from 1"), 2),
        Follower::new("&q=SEVEN", is_seven, 3),
        Follower::new("&from=%2B2&q=seven", |id| is_seven(id) && id.ends_with("from 2"), 4),
        Follower::new("&type=text&since=2025-01-15T10:00:00Z", |_| true, 5),
    ];
    let mut sent = Vec::new();
    for round in 0..3 {
        let done = AtomicBool::new(false);
        let bodies: Vec<Vec<Delivery>> = (0..WRITERS)
            .map(|writer| {
                let message = |index| {
                    let sender = writer % 4 + 1;
                    Delivery {
                        from: format!("+{sender}"),
                        text: Some(if index == 7 { "number Seven" } else { "another" }.to_owned()),
                        ..Delivery::of(&format!("{round}-{writer}-{index}-from {sender}"))
                    }
                };
                (0..MESSAGES).map(message).collect()
            })
            .collect();
        sent.extend(bodies.iter().flatten().map(|message| message.message_id.clone()));
        let (server_now, bodies) = (&server, &bodies);
        std::thread::scope(|scope| {
            let writers: Vec<_> = bodies
                .iter()
                .map(|messages| {
                    scope.spawn(move || {
                        let mut connection = Connection::open(server_now.address()).expect("the server accepts");
                        for message in messages {
                            let reply = connection.deliver(&message.body()).expect("the server answers");
                            assert_eq!(reply.status, 200, "reply: {reply:?}");
                        }
                    })
                })
                .collect();
            for follower in &mut followers {
                scope.spawn(|| {
                    let mut connection = Connection::open(server_now.address()).expect("the server accepts");
                    loop {
                        let done = done.load(Ordering::Relaxed);
                        if follower.poll(&mut connection) && done {
                            return;
                        }
                        // Before the service is killed, some have not seen all.
                        if done && round < 2 && follower.rng.bool() {
                            return;
                        }
                    }
                });
            }
            let url = database_url(&server_now.database());
            let erase = || run(crate::harness::program().env("DATABASE_URL", &url).args(["erase", "--from", "+4"]));
            while !writers.iter().all(|writer| writer.is_finished()) {
                erase(); // there may be none of this sender at the moment
            }
            erase();
            done.store(true, Ordering::Relaxed);
        });
        if round < 2 {
            server.kill_and_restart();
        }
    }
    for follower in &followers {
        let twice: Vec<_> = follower.seen.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "{}: {twice:?}", follower.filter);
        let right = |id: &&String| (follower.matches)(id);
        let missing: Vec<_> =
            sent.iter().filter(right).filter(|id| is_kept(id) && !follower.seen.contains_key(*id)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", follower.filter);
        assert!(follower.seen.keys().all(|id| (follower.matches)(id)), "{}: {:?}", follower.filter, follower.seen);
    }
}
