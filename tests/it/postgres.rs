//! Several instances on one server of PostgreSQL, and what becomes of them when it fails.

use crate::harness::engine::{self, Cluster, postgres_url};
use crate::harness::{
    Connection, Database, Delivery, Directory, PATIENCE, RaisedOnDrop, Server, comes_to_hold, delivery, encoded, ids,
    json, preloadable, program, run, sign, until,
};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Instances on one database, each in a directory of its own.
fn instances<const N: usize>(url: &str, settings: &[(&str, &str)]) -> [Server; N] {
    let settings: Vec<_> = settings.iter().copied().chain([("DATABASE_URL", url)]).collect();
    std::array::from_fn(|_| Server::with(&settings))
}

/// How many messages the server has, by its own count.
fn stored(cluster: &Cluster, database: &str) -> u64 {
    cluster.sql(database, "SELECT count(*) FROM messages").parse().unwrap()
}

/// Delivers messages of its own over some connections to servers in turn until it is told to stop. Each one that was
/// answered 200 is in `acknowledged`; one that was not is sent again to the next server. Returns the statuses other than 200.
fn deliver_until_stopped(
    servers: &[&Server],
    connections: usize,
    stop: &AtomicBool,
    acknowledged: &Mutex<HashSet<String>>,
) -> Vec<u16> {
    let others = Mutex::new(Vec::new());
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..connections {
            let (others, count) = (&others, &count);
            scope.spawn(move || {
                let mut turn = thread;
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("m{}", count.fetch_add(1, Ordering::Relaxed));
                    let body = Delivery { from: format!("+{}", 1 + turn % 7), ..Delivery::of(&id) }.body();
                    loop {
                        turn += 1;
                        let reply = Connection::open(servers[turn % servers.len()].address())
                            .and_then(|mut connection| connection.deliver(&body));
                        match reply {
                            Ok(reply) if reply.status == 200 => {
                                acknowledged.lock().unwrap().insert(id);
                                break;
                            }
                            Ok(reply) => {
                                others.lock().unwrap().push(reply.status);
                                std::thread::sleep(Duration::from_millis(20));
                            }
                            Err(_) => std::thread::sleep(Duration::from_millis(20)), // it was killed
                        }
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                }
            });
        }
    });
    others.into_inner().unwrap()
}

/// That counts, lists and rows say the same.
#[track_caller]
fn assert_consistent(server: &Server, cluster: &Cluster, database: &str) {
    let count = stored(cluster, database);
    let stats = server.get("/stats").json();
    assert_eq!(stats["total_messages"], count, "{stats}");
    assert_eq!(server.get("/messages").json()["total"], count);
    assert_eq!(server.message_ids().len() as u64, count);
    assert_eq!(arrivals(server).len() as u64, count);
    let ended = run(program().arg("check").env("WEBHOOK_SECRET", "s").env("DATABASE_URL", cluster.url(database)));
    assert!(ended.status.success(), "{ended:?}");
}

/// All in the order of arrival, page by page, with their seqs.
fn arrivals(server: &Server) -> Vec<(i64, String)> {
    let (mut all, mut after) = (Vec::new(), "0".to_owned());
    loop {
        let page = server.get(&format!("/arrivals?after={after}&limit=100")).json();
        let data = page["data"].as_array().unwrap();
        if data.is_empty() {
            return all;
        }
        let item = |item: &Value| (item["seq"].as_i64().unwrap(), item["message_id"].as_str().unwrap().to_owned());
        all.extend(data.iter().map(item));
        after = page["next"].as_str().unwrap().to_owned();
    }
}

#[test]
fn two_hundred_senders_of_one_message_over_three_instances_store_it_once() {
    let directory = Directory::new();
    let servers: [Server; 3] = instances(&postgres_url(&directory.database()), &[]);
    let body = delivery("once");
    std::thread::scope(|scope| {
        for index in 0..200 {
            let (server, body) = (&servers[index % 3], &body);
            scope.spawn(move || {
                let reply = server.deliver(body);
                assert_eq!(reply.status, 200, "{reply:?}");
            });
        }
    });
    let result = |result: &str| -> f64 {
        servers.iter().map(|server| server.metric(&format!("webhook_requests_total{{result=\"{result}\"}}"))).sum()
    };
    assert_eq!((result("created"), result("duplicate")), (1.0, 199.0));
    for server in &servers {
        assert_eq!(server.message_ids(), ["once"]);
    }
}

#[test]
fn what_one_instance_has_acknowledged_another_has_in_its_next_answer() {
    let directory = Directory::new();
    let [one, other]: [Server; 2] = instances(&postgres_url(&directory.database()), &[]);
    for index in 1..=20 {
        let (to, of) = if index % 2 == 0 { (&one, &other) } else { (&other, &one) };
        let id = format!("m{index:02}");
        assert_eq!(to.deliver(delivery(&id)).status, 200);
        assert_eq!(of.get("/messages").json()["total"], index);
        assert_eq!(of.get("/stats").json()["total_messages"], index);
        let newest = of.get("/arrivals?limit=1").json();
        assert_eq!((&newest["data"][0]["message_id"], &newest["data"][0]["seq"]), (&json!(id), &json!(index)));
    }
}

/// So the page works behind a load balancer, whichever instance a request goes to.
#[test]
fn a_session_of_the_page_holds_at_every_instance_until_the_token_is_another() {
    let directory = Directory::new();
    let url = postgres_url(&directory.database());
    let [one, other]: [Server; 2] = instances(&url, &[("READ_TOKEN", "token-1")]);
    let fields = [("Sec-Fetch-Site", "same-origin")];
    let reply = one.request("POST", "/inbox/login", &fields, b"token=token-1");
    let cookie = reply.field("Set-Cookie").and_then(|cookie| cookie.split(';').next()).unwrap_or_default();
    let read = |server: &Server| server.request("GET", "/messages", &[("Cookie", cookie)], b"").status;
    assert_eq!((read(&one), read(&other)), (200, 200));
    let [changed]: [Server; 1] = instances(&url, &[("READ_TOKEN", "token-2")]);
    let elsewhere = Directory::new();
    let [stranger]: [Server; 1] = instances(&postgres_url(&elsewhere.database()), &[("READ_TOKEN", "token-1")]);
    assert_eq!((read(&changed), read(&stranger)), (401, 401));
}

#[test]
fn who_waits_at_one_instance_is_woken_by_a_message_at_another() {
    let directory = Directory::new();
    let [one, other]: [Server; 2] = instances(&postgres_url(&directory.database()), &[]);
    for index in 0..3 {
        let after = one.get("/arrivals?after=now").json()["next"].as_str().unwrap().to_owned();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| one.get(&format!("/arrivals?after={after}&wait=30")).json());
            until("it waits", || one.metric("inbox_waiting_requests") == 1.0);
            let id = format!("m{index}");
            assert_eq!(other.deliver(delivery(&id)).status, 200);
            let page = waiting.join().unwrap();
            assert_eq!(page["data"][0]["message_id"], id, "{page}");
        });
    }
}

/// The answers of a moment: each instance counts in its own way only if something is wrong.
#[test]
fn counts_pages_and_numbers_are_exact_while_three_instances_accept_messages() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let servers: [Server; 3] = instances(&cluster.url("inbox"), &[]);
    let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(HashSet::new()));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| deliver_until_stopped(&servers.each_ref()[..], 8, &stop, &acknowledged));
        let _stop = RaisedOnDrop(&stop);
        let (mut seen, mut after) = (Vec::new(), "0".to_owned());
        let begun = Instant::now();
        let mut turn = 0;
        while acknowledged.lock().unwrap().len() < 1500 || turn < 60 {
            assert!(begun.elapsed() < Duration::from_secs(120), "the load is too slow");
            turn += 1;
            let server = &servers[turn % 3];
            let before = acknowledged.lock().unwrap().len() as u64;
            let total = server.get("/messages?limit=1").json()["total"].as_u64().unwrap();
            assert!(total >= before, "{total} {before}");
            let stats = server.get("/stats").json();
            let of_senders = stats["messages_per_sender"].as_array().unwrap().iter();
            let sum: u64 = of_senders.map(|sender| sender["count"].as_u64().unwrap()).sum();
            assert_eq!(stats["total_messages"].as_u64(), Some(sum), "all seven senders are in it: {stats}");
            let page = server.get(&format!("/arrivals?after={after}&limit=100")).json();
            seen.extend(page["data"].as_array().unwrap().iter().map(|item| item["seq"].as_i64().unwrap()));
            after = page["next"].as_str().unwrap().to_owned();
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(load.join().unwrap(), [0; 0], "nobody was refused");
        let all: Vec<i64> = arrivals(&servers[0]).into_iter().map(|(seq, _)| seq).collect();
        assert_eq!(seen, all[..seen.len()], "whoever has seen a number finds no new one below it");
        assert!(all.iter().copied().eq(1..=all.len() as i64), "no number is left out");
    });
    for server in &servers {
        assert_consistent(server, &cluster, "inbox");
    }
    let listed: HashSet<String> = servers[1].message_ids().into_iter().collect();
    assert!(acknowledged.lock().unwrap().is_subset(&listed));
    let log = std::fs::read_to_string(cluster.directory.join("server.log")).unwrap();
    assert!(!log.contains("deadlock"), "{log}");
}

#[test]
fn pages_by_cursor_repeat_and_skip_nothing_while_messages_arrive() {
    let directory = Directory::new();
    let servers: [Server; 2] = instances(&postgres_url(&directory.database()), &[]);
    // In front of and behind what is paged through, and among it.
    let bodies: Vec<String> = (0..300).map(|index| at(&format!("a{index:03}"), index)).collect();
    servers[0].deliver_all(&bodies, 8);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (stop, servers) = (&stop, &servers);
        let later = scope.spawn(move || {
            let mut index = 0;
            while !stop.load(Ordering::Relaxed) {
                index += 1;
                assert_eq!(servers[index % 2].deliver(at(&format!("b{index}"), index * 7 % 300)).status, 200);
            }
        });
        let _stop = RaisedOnDrop(stop);
        for _ in 0..3 {
            let (mut paged, mut next, mut turn) = (Vec::new(), Some("/messages?limit=17".to_owned()), 0);
            while let Some(target) = next {
                turn += 1;
                let reply = servers[turn % 2].get(&target);
                paged.extend(ids(reply.json()["data"].as_array().unwrap()));
                next = reply.next();
            }
            let firsts: Vec<String> = paged.iter().filter(|id| id.starts_with('a')).cloned().collect();
            assert_eq!(firsts, (0..300).map(|index| format!("a{index:03}")).collect::<Vec<_>>());
            assert_eq!(paged.iter().collect::<HashSet<_>>().len(), paged.len(), "none twice");
        }
        stop.store(true, Ordering::Relaxed);
        later.join().unwrap();
    });
}

/// A message at a second of its own.
fn at(id: &str, second: usize) -> String {
    let ts = format!("2025-01-15T10:{:02}:{:02}Z", second / 60, second % 60);
    Delivery { ts, ..Delivery::of(id) }.body()
}

/// A database whose collation is not that of bytes.
const ICU_DATABASE: &str =
    "CREATE DATABASE inbox TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C.UTF-8'";

/// U+0000 and U+0001, and the order of bytes in a database whose collation is another one.
#[test]
fn ids_are_compared_and_ordered_by_bytes_whatever_the_collation() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", ICU_DATABASE);
    let [server]: [Server; 1] = instances(&cluster.url("inbox"), &[]);
    let mut sent = ["b", "a", "B", "A", "é", "e", "a\0", "a\u{1}", "a\u{1}\u{1}", "a\0b", "\u{1}", "\0", "_", "-"];
    for id in sent {
        let text = Some(format!("Text {id} %"));
        assert_eq!(server.deliver(Delivery { text, ..Delivery::of(id) }.body()).status, 200, "{id:?}");
    }
    let longest = "🦀".repeat(256);
    assert_eq!(server.deliver(delivery(&longest)).status, 200);
    sent.sort_unstable();
    let listed = server.message_ids();
    assert_eq!(listed, sent.iter().map(|id| (*id).to_owned()).chain([longest]).collect::<Vec<_>>());
    let cursor: Vec<String> = ids(&server.items("limit=1"));
    assert_eq!(cursor, listed);
    for (q, found) in [("%00b", 1), ("TEXT%20%C3%89", 1), ("%01%01", 1), ("%25", 14), ("_", 1), ("%00", 3)] {
        assert_eq!(server.get(&format!("/messages?q={q}")).json()["total"], found, "{q}");
    }
}

/// The collation is another one than that of bytes, and `A` stands for U+0000 in what a search looks at.
#[test]
fn a_search_finds_what_it_finds_on_sqlite() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // Letters with several forms, or whose forms are of several letters; several scripts; and what LIKE has a meaning for.
    let alphabet: Vec<char> =
        "aAkK\u{212a}sSſßẞfiﬁIİıΣσςΐäÄ\u{308}ЖжԱաևაᲐᎠꭰǅनم日🦀𐐀𐐨%_\\'\0\u{1}\u{2} ".chars().collect();
    let mut text = |length: std::ops::Range<usize>| -> String {
        let length = random.usize(length);
        (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect()
    };
    let texts: Vec<String> = (0..400).map(|_| text(0..30)).collect();
    let needles: Vec<String> = (0..400).map(|index| text(1..2 + index % 4)).collect();
    let bodies = texts.iter().enumerate().map(|(index, text)| {
        Delivery { text: Some(text.clone()), from: format!("+{}", index % 3), ..Delivery::of(&format!("m{index:03}")) }
            .body()
    });
    let bodies: Vec<String> = bodies.collect();

    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", ICU_DATABASE);
    let [postgres]: [Server; 1] = instances(&cluster.url("inbox"), &[]);
    let directory = Directory::new();
    let [sqlite]: [Server; 1] = instances(&format!("sqlite:///{}", directory.path().join("other.db").display()), &[]);
    for server in [&postgres, &sqlite] {
        server.deliver_all(&bodies, 4);
    }
    let mut found = 0;
    for needle in &needles {
        for target in ["/messages?limit=100", "/messages?limit=100&from=%2B1"] {
            let target = format!("{target}&q={}", encoded(needle));
            let page = sqlite.get(&target);
            found += page.json()["total"].as_u64().unwrap();
            assert_eq!(postgres.get(&target).text(), page.text(), "{needle:?}, seed {seed}");
        }
    }
    assert!(found > 1000, "the texts and the needles have little in common: {found}");
}

#[test]
fn the_same_groups_in_opposite_order_at_two_instances_wait_for_each_other() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let servers: [Server; 2] = instances(&cluster.url("inbox"), &[]);
    for round in 0..5 {
        let mut bodies: Vec<String> = (0..400).map(|index| delivery(&format!("r{round}m{index}"))).collect();
        std::thread::scope(|scope| {
            let forward = bodies.clone();
            let one = &servers[0];
            scope.spawn(move || one.deliver_all(&forward, 16));
            bodies.reverse();
            servers[1].deliver_all(&bodies, 16);
        });
    }
    assert_eq!(stored(&cluster, "inbox"), 2000);
    let log = std::fs::read_to_string(cluster.directory.join("server.log")).unwrap();
    assert!(!log.contains("deadlock"), "{log}");
    assert_consistent(&servers[0], &cluster, "inbox");
}

#[test]
fn connections_that_the_server_ends_amid_commits_lose_and_double_nothing() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let servers: [Server; 2] = instances(&cluster.url("inbox"), &[]);
    let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(HashSet::new()));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| deliver_until_stopped(&servers.each_ref()[..], 8, &stop, &acknowledged));
        let _stop = RaisedOnDrop(&stop);
        for round in 0..20 {
            let before = acknowledged.lock().unwrap().len();
            until("some are acknowledged", || acknowledged.lock().unwrap().len() > before + 20);
            let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'webhook-inbox'";
            cluster.sql("inbox", end);
            if round % 5 == 4 {
                servers[0].get("/stats");
            }
        }
        stop.store(true, Ordering::Relaxed);
        let refused = load.join().unwrap();
        assert!(refused.iter().all(|status| *status == 503), "{refused:?}");
    });
    let listed: HashSet<String> = servers[0].message_ids().into_iter().collect();
    assert!(acknowledged.lock().unwrap().is_subset(&listed));
    assert_consistent(&servers[1], &cluster, "inbox");
}

/// A backend that is killed takes all others with it, and the server starts again; a server that is stopped is not there.
#[test]
fn a_server_that_stops_is_answered_503_and_all_is_well_by_itself_when_it_is_back() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let [server]: [Server; 1] = instances(&cluster.url("inbox"), &[]);
    assert_eq!(server.deliver(delivery("before")).status, 200);
    let writer = "SELECT pid FROM pg_stat_activity WHERE query LIKE '-- One group%' LIMIT 1";
    let pid = cluster.sql("postgres", writer);
    assert!(std::process::Command::new("kill").args(["-s", "KILL", &pid]).status().unwrap().success());
    until("it is ready again", || server.get("/health/ready").status == 200);
    assert_eq!(server.deliver(delivery("after a crash")).status, 200);
    let mut cluster = cluster;
    for signal in ["INT", "QUIT"] {
        cluster.stop(signal);
        let reply = server.deliver(delivery(signal));
        assert_eq!((reply.status, reply.field("Retry-After").is_some()), (503, true), "{reply:?}");
        assert_eq!(server.get("/messages").status, 503);
        assert_eq!(server.get("/health/live").status, 200);
        let ready = server.get("/health/ready");
        assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("not_ready")), "{ready:?}");
        cluster.start_again();
        until("it is ready again", || server.get("/health/ready").status == 200);
        assert_eq!(server.deliver(delivery(signal)).status, 200);
    }
    assert_eq!(server.message_ids().len(), 4);
    assert_consistent(&server, &cluster, "inbox");
}

#[test]
fn a_server_that_is_frozen_is_answered_for_within_the_deadline() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let [server]: [Server; 1] = instances(&cluster.url("inbox"), &[]);
    assert_eq!(server.deliver(delivery("before")).status, 200);
    assert_eq!(server.get("/messages").status, 200);
    cluster.signal_all("STOP");
    let frozen = Instant::now();
    std::thread::scope(|scope| {
        let write = scope.spawn(|| server.deliver(delivery("frozen")).status);
        let read = scope.spawn(|| server.get("/messages").status);
        let ready = scope.spawn(|| server.get("/health/ready").status);
        assert_eq!(server.get("/health/live").status, 200);
        assert_eq!([write, read, ready].map(|thread| thread.join().unwrap()), [503; 3]);
    });
    assert_eq!(server.deliver(delivery("frozen")).status, 503, "at once, or after the deadline");
    while frozen.elapsed() < Duration::from_secs(20) {
        assert_eq!(server.get("/messages").status, 503, "each time after 2 s, or 10");
    }
    cluster.signal_all("CONT");
    until("it is ready again", || server.get("/health/ready").status == 200);
    assert_eq!(server.deliver(delivery("frozen")).status, 200);
    assert_eq!(server.message_ids(), ["before", "frozen"]);
    // A read does not number what came while numbering has just failed.
    until("both are numbered", || arrivals(&server).len() == 2);
    assert_consistent(&server, &cluster, "inbox");
}

#[test]
fn twelve_instances_started_at_once_on_an_empty_database_all_start() {
    let directory = Directory::new();
    let url = postgres_url(&directory.database());
    let servers: Vec<Server> = std::thread::scope(|scope| {
        let start = || Server::with(&[("DATABASE_URL", url.as_str()), ("WORKERS", "2")]);
        let starting: Vec<_> = (0..12).map(|_| scope.spawn(start)).collect();
        starting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (index, server) in servers.iter().enumerate() {
        assert_eq!(server.deliver(delivery(&format!("m{index}"))).status, 200);
    }
    assert_eq!(servers[0].get("/messages").json()["total"], 12);
    assert_eq!(Database::postgres(directory.database()).version(), 1);
}

#[test]
fn an_instance_that_is_killed_amid_commits_and_folds_leaves_counts_exact() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let [survivor, mut victim]: [Server; 2] = instances(&cluster.url("inbox"), &[]);
    for round in 0..5 {
        let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(HashSet::new()));
        std::thread::scope(|scope| {
            let both = [&survivor, &victim];
            let (stop, acknowledged) = (&stop, &acknowledged);
            let load = scope.spawn(move || {
                let servers = [both[1], both[0], both[1]];
                deliver_until_stopped(&servers, 6, stop, acknowledged)
            });
            let _stop = RaisedOnDrop(stop);
            until("some are acknowledged", || acknowledged.lock().unwrap().len() > 50);
            let folding = scope.spawn(move || (0..20).for_each(|_| drop(both[0].get("/arrivals?after=now"))));
            both[1].signal("KILL");
            folding.join().unwrap();
            stop.store(true, Ordering::Relaxed);
            load.join().unwrap();
        });
        let listed: HashSet<String> = survivor.message_ids().into_iter().collect();
        assert!(acknowledged.lock().unwrap().is_subset(&listed), "round {round}");
        victim.kill_and_restart();
    }
    assert_consistent(&survivor, &cluster, "inbox");
}

/// SQLSTATE 40001 is what distributed engines answer in the ordinary course of things.
#[test]
fn serialization_failures_are_tried_again() {
    let cluster = Cluster::start(&["default_transaction_isolation=serializable"]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let servers: [Server; 2] = instances(&cluster.url("inbox"), &[]);
    let bodies: Vec<String> = (0..400).map(|index| delivery(&format!("m{index}"))).collect();
    std::thread::scope(|scope| {
        for server in &servers {
            let bodies = &bodies;
            scope.spawn(move || server.deliver_all(bodies, 8));
        }
        for _ in 0..30 {
            for target in ["/messages", "/stats", "/arrivals"] {
                assert_eq!(servers[0].get(target).status, 200, "{target}");
            }
        }
    });
    assert_consistent(&servers[1], &cluster, "inbox");
}

#[test]
fn a_lock_on_the_table_is_answered_503_within_the_deadline() {
    let directory = Directory::new();
    let [server]: [Server; 1] = instances(&postgres_url(&directory.database()), &[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let database = Database::postgres(directory.database());
    database.lock();
    let reply = server.deliver(delivery("m2"));
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(server.message_ids(), ["m1"], "reads go on");
    database.release();
    until("it is ready again", || server.get("/health/ready").status == 200);
    assert_eq!(server.deliver(delivery("m2")).status, 200);
}

/// This takes the 30 s that a search has: the bound is a constant.
#[test]
fn a_read_past_its_time_is_answered_503_and_left_to_no_backend() {
    let cluster = Cluster::start(&[]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let [server]: [Server; 1] = instances(&cluster.url("inbox"), &[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let waiting = || {
        let waiting = "SELECT count(*) FROM pg_stat_activity
                       WHERE application_name = 'webhook-inbox' AND wait_event_type = 'Lock'";
        cluster.sql("postgres", waiting)
    };
    let mut psql = cluster.psql("inbox").stdin(Stdio::piped()).spawn().unwrap();
    writeln!(psql.stdin.as_mut().unwrap(), "BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE;").unwrap();
    let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted";
    until("the table is locked", || cluster.sql("inbox", locked) == "1");

    let ask = |target: &str| {
        let mut client = TcpStream::connect(server.address()).unwrap();
        client.set_read_timeout(Some(2 * PATIENCE)).unwrap();
        write!(client, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        client
    };
    let answer = |mut client: TcpStream| {
        let mut reply = String::new();
        client.read_to_string(&mut reply).unwrap();
        reply
    };
    let log = || std::fs::read_to_string(cluster.directory.join("server.log")).unwrap();
    let (page, search) = (ask("/messages"), ask("/messages?q=hello"));
    until("both wait for the lock", || waiting() == "2");
    let reply = answer(page);
    assert!(reply.starts_with("HTTP/1.1 503 "), "{reply}");
    until("the server notices that the connection for the page is closed", || {
        log().contains("connection to client lost")
    });
    let late = "canceling statement due to statement timeout";
    assert!(!log().contains(late), "it has ended before its time at the server:\n{}", log());
    let reply = answer(search);
    assert!(reply.starts_with("HTTP/1.1 503 ") && reply.contains("narrow it"), "{reply}");
    assert_eq!(waiting(), "0", "both statements have ended, although the table is still locked");
    assert!(log().contains(late), "{}", log());

    drop(psql.stdin.take());
    psql.wait().unwrap();
    assert_eq!(server.get("/messages?q=hello").json()["total"], 1);
}

#[test]
fn a_message_that_the_server_refuses_fails_no_other_of_its_group() {
    let directory = Directory::new();
    let [server]: [Server; 1] = instances(&postgres_url(&directory.database()), &[]);
    let database = Database::postgres(directory.database());
    // Each commit takes so long that deliveries come together in one group.
    database.run(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON messages FOR EACH STATEMENT EXECUTE FUNCTION slow();
         CREATE FUNCTION no_loops() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF NEW.text = 'loop' THEN RAISE 'no loops'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER no_loops BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION no_loops();
         ALTER TABLE messages ADD CONSTRAINT no_spam CHECK (text <> 'spam')",
    );
    std::thread::scope(|scope| {
        let server = &server;
        let deliver = |id: String, text: &str| {
            let body = Delivery { text: Some(text.to_owned()), ..Delivery::of(&id) }.body();
            scope.spawn(move || server.deliver(body))
        };
        let bad =
            [("spam", "no_spam"), ("loop", "no loops")].map(|(text, said)| (deliver(text.to_owned(), text), said));
        let good: Vec<_> = (0..20).map(|index| deliver(format!("m{index:02}"), "Hello")).collect();
        for good in good {
            let reply = good.join().unwrap();
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        for (bad, said) in bad {
            let reply = bad.join().unwrap();
            assert_eq!((reply.status, reply.field("Retry-After").is_some()), (503, true), "{reply:?}");
            let line = server.log_line(&reply);
            let reason = line["reason"].as_str().unwrap();
            assert!(reason.starts_with("the server refuses a row: ") && reason.contains(said), "{line}");
            assert_eq!(line["level"], "ERROR", "{line}");
        }
    });
    assert_eq!(server.metric("inbox_ready"), 1.0, "writing works");
    assert_eq!(server.message_ids().len(), 20);
    database.run("ALTER TABLE messages DROP CONSTRAINT no_spam");
    let spam = Delivery { text: Some("spam".to_owned()), ..Delivery::of("spam") }.body();
    assert_eq!(server.deliver(spam).status, 200);
}

#[test]
fn a_person_who_is_erased_is_in_no_table_and_does_not_come_back() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let directory = Directory::new();
    let url = postgres_url(&directory.database());
    let [server]: [Server; 1] = instances(&url, &[("META_APP_SECRET", SECRET)]);
    let message = |id: &str, from: &str, user: &str| {
        json!({ "id": id, "from": from, "from_user_id": user, "timestamp": "1790416800", "type": "text",
                "text": { "body": "Hello" } })
    };
    let contact =
        |number: &str, user: &str, name: &str| json!({ "wa_id": number, "user_id": user, "profile": { "name": name } });
    let body = json!({ "object": "whatsapp_business_account", "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": {
        "messages": [message("wamid.A", "12025550143", "US.77001"), message("wamid.B", "12025550177", "US.77002")],
        "contacts": [contact("12025550143", "US.77001", "Ana Test"), contact("12025550177", "US.77002", "Bo Test")],
        "statuses": [{ "id": "wamid.C", "status": "sent", "recipient_id": "12025550143", "timestamp": "1790416800" }],
    } }] }] })
    .to_string();
    let send = || {
        let signature = format!("sha256={}", sign(SECRET, &body));
        let fields = [("X-Hub-Signature-256", signature.as_str())];
        assert_eq!(server.request("POST", "/webhook/meta", &fields, body.as_bytes()).status, 200);
    };
    send();
    for index in 0..700 {
        let body = Delivery { from: "+12025550143".to_owned(), ..Delivery::of(&format!("n{index}")) }.body();
        assert_eq!(server.deliver(body).status, 200);
    }
    let ended = run(program().args(["erase", "--from", "+12025550143"]).env("DATABASE_URL", &url));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("701 messages of +12025550143, also called"), "{ended:?}");
    let dump = || {
        let dumped = run(engine::program("pg_dump").args(["--data-only", "-d", &url]));
        assert!(dumped.status.success(), "{dumped:?}");
        dumped.stdout
    };
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let is_nowhere = || {
        let dump = dump();
        for text in ["2025550143", "US.77001", "Ana Test"] {
            assert!(!dump.contains(text) && !dump.contains(&hex(text)), "{text}\n{dump}");
        }
        assert!(dump.contains("wamid.B") && dump.contains(&hex("Bo Test")), "{dump}");
    };
    is_nowhere();
    assert_eq!(server.message_ids(), ["wamid.B"]);
    assert_eq!(server.get("/statuses").json()["data"], json!([]));
    assert_eq!(server.get("/stats").json()["senders_count"], 1);
    send();
    assert_eq!(server.message_ids(), ["wamid.B"], "it does not come back");
    let check = run(program().arg("check").env("WEBHOOK_SECRET", "s").env("DATABASE_URL", &url));
    assert!(check.status.success(), "{check:?}");
}

/// The server's clock decides when a message arrived and what is old.
#[test]
fn instances_whose_clocks_are_wrong_answer_the_same_and_delete_nothing_too_early() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let directory = Directory::new();
    let url = postgres_url(&directory.database());
    let library = preloadable(&directory, "wrong_clock.c");
    let wrong = |days: i64| {
        let ahead = (days * 86_400).to_string();
        [("LD_PRELOAD", library.clone()), ("CLOCK_AHEAD_S", ahead), ("DATABASE_URL", url.clone())]
    };
    let start = |days: i64| {
        let mut settings = vec![("RETENTION_DAYS", "30"), ("META_APP_SECRET", SECRET)];
        let wrong = wrong(days);
        settings.extend(wrong.iter().map(|(name, value)| (*name, value.as_str())));
        Server::with(&settings)
    };
    let database = Database::postgres(directory.database());
    let folded = || until("all is folded", || database.number("SELECT COUNT(*) FROM commits") == 0);
    let deliver = |server: &Server, id: &str| {
        let message = json!({ "id": id, "from": "12025550143", "timestamp": "1736935200", "type": "text",
                              "text": { "body": "Hello" } });
        let value = json!({ "messages": [message], "statuses": [{ "id": format!("{id}s"), "status": "sent",
                            "recipient_id": "12025550177", "timestamp": "1736935200" }] });
        let body = json!({ "object": "whatsapp_business_account",
                           "entry": [{ "id": "1", "changes": [{ "field": "messages", "value": value }] }] });
        let (native, meta) = (delivery(&format!("n{id}")), body.to_string());
        assert_eq!(server.deliver(native).status, 200);
        let fields = [("X-Hub-Signature-256", format!("sha256={}", sign(SECRET, &meta)))];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(server.request("POST", "/webhook/meta", &fields, meta.as_bytes()).status, 200);
    };
    // Each one expires between two folds, and is alone then.
    for days in [-40, 40] {
        let server = start(days);
        for turn in 0..2 {
            deliver(&server, &format!("{days}.{turn}"));
            folded();
        }
    }
    let [behind, ahead] = [start(-40), start(40)];
    let month = |server: &Server| server.get("/stats").field("Date").unwrap()[8..16].to_owned();
    assert_ne!(month(&behind), month(&ahead), "their clocks are wrong");
    for target in ["/messages", "/arrivals?after=0", "/statuses?after=0", "/stats"] {
        assert_eq!(behind.get(target).text(), ahead.get(target).text(), "{target}");
    }
    assert_eq!(behind.get("/messages").json()["total"], 8);
    let wrong_times =
        "SELECT (SELECT COUNT(*) FROM messages WHERE abs(extract(epoch FROM now() - created_at::timestamptz)) > 600)
        + (SELECT COUNT(*) FROM statuses WHERE abs(extract(epoch FROM now() - received_at::timestamptz)) > 600)
        + (SELECT COUNT(*) FROM deliveries WHERE abs(extract(epoch FROM now() - received_at::timestamptz)) > 600)";
    assert_eq!(database.number(wrong_times), 0);

    // Erased by one, and sent again to the other.
    let mut erase = program();
    let ended = run(erase.args(["erase", "--from", "+12025550143"]).envs(wrong(-40)));
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    deliver(&ahead, "40.1");
    assert_eq!(ahead.get("/messages").json()["total"], 4, "it does not come back");

    database.age(31);
    until("all is old", || behind.get("/messages").json()["total"] == 0);
    assert_eq!(database.number("SELECT COUNT(*) FROM deliveries"), 0);
}

#[test]
fn an_export_of_sqlite_imported_gives_the_same_answers() {
    let directory = Directory::new();
    let sqlite = format!("sqlite:///{}", directory.path().join("moved.db").display());
    let one = Server::with(&[("DATABASE_URL", &sqlite)]);
    let texts = ["Hello", "ПРИВЕТ", "a\0b\u{1}", "100 %", "_", "", "straße"];
    for index in 0..200 {
        let body = Delivery {
            from: format!("+{}", 1 + index % 5),
            ts: format!("2025-01-15T10:00:{:02}.{}Z", index * 7 % 60, index % 3),
            text: (index % 11 > 0).then(|| texts[index % texts.len()].to_owned()),
            ..Delivery::of(&format!("m{}\0{}", index * 13 % 200, index % 2))
        };
        assert_eq!(one.deliver(body.body()).status, 200);
    }
    let lines = run(program().arg("export").env("DATABASE_URL", &sqlite)).stdout;
    let file = directory.path().join("lines");
    std::fs::write(&file, &lines).unwrap();
    let url = postgres_url(&directory.database());
    let ended = run(program().arg("import").arg(&file).env("DATABASE_URL", &url));
    assert!(ended.stderr.contains("200 imported, 0 already there, 0 bad lines"), "{ended:?}");
    assert_eq!(run(program().arg("export").env("DATABASE_URL", &url)).stdout, lines);
    let [other]: [Server; 1] = instances(&url, &[]);
    let queries = [
        "",
        "limit=7",
        "from=%2B2",
        "q=%D0%BF",
        "q=STRASSE",
        "q=%25",
        "q=%00",
        "offset=150",
        "from=%2B1&q=h",
        "since=2025-01-15T10:00:30.1Z",
        "from=%2B3&since=2025-01-15T10:00:30Z&limit=3&offset=2",
    ];
    for query in queries {
        let target = format!("/messages?{query}");
        assert_eq!(one.get(&target).text(), other.get(&target).text(), "{query}");
        assert_eq!(one.items(query), other.items(query), "{query}");
    }
    assert_eq!(one.get("/stats").text(), other.get("/stats").text());
    assert_eq!(one.get("/arrivals").json()["next"], other.get("/arrivals").json()["next"]);
}

#[test]
fn a_server_that_would_lose_what_it_acknowledges_is_refused() {
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let cluster = Cluster::start(&[&format!("{setting}=off")]);
        let url = cluster.url("postgres");
        let mut command = program();
        let ended = run(command.env("DATABASE_URL", url).env("WEBHOOK_SECRET", "s").env("LISTEN_ADDR", "127.0.0.1:0"));
        assert_eq!(ended.status.code(), Some(74), "{ended:?}");
        assert!(ended.stderr.contains(&format!("{setting} = off")), "{ended:?}");
    }
}

#[test]
fn a_wrong_password_or_database_is_named_without_the_password() {
    let cluster = Cluster::start(&[]);
    let nobody = format!("postgres://inbox:sesame@127.0.0.1:{}/nothing", cluster.port);
    let closed = "postgresql://inbox:sesame@127.0.0.1:1,127.0.0.1:2/inbox".to_owned();
    for (url, said) in [(&nobody, "\"nothing\" does not exist"), (&closed, "refused")] {
        let mut command = program();
        let ended = run(command.env("DATABASE_URL", url).env("WEBHOOK_SECRET", "s").env("LISTEN_ADDR", "127.0.0.1:0"));
        assert_eq!(ended.status.code(), Some(74), "{ended:?}");
        assert!(ended.stderr.contains(said) && ended.stderr.contains("inbox:***@"), "{ended:?}");
        assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("sesame"), "{ended:?}");
    }
    let several = format!("postgresql://inbox:sesame@127.0.0.1:1,127.0.0.1:{}/postgres", cluster.port);
    let [server]: [Server; 1] = instances(&several, &[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200, "the second host answers");
    assert!(!server.log().contains("sesame"), "{}", server.log());
    let opened = server.log().lines().find(|line| line.contains("database opened")).map(json).unwrap();
    assert!(opened["durability"].as_str().unwrap().contains("synchronous_standby_names is not set"), "{opened}");
}

#[test]
fn connections_beyond_the_servers_are_not_ready_and_come_back() {
    let cluster = Cluster::start(&["max_connections=12", "superuser_reserved_connections=0"]);
    cluster.sql("postgres", "CREATE DATABASE inbox");
    let [server]: [Server; 1] = instances(&cluster.url("inbox"), &[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let mut others = Vec::new();
    while others.len() < 12 {
        let mut psql = cluster.psql("postgres");
        psql.stdin(Stdio::piped()).stderr(Stdio::null());
        others.push(psql.spawn().unwrap());
    }
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'webhook-inbox'";
    // One of the others asks for it: a new connection may not be had.
    let stdin = others[0].stdin.as_mut().unwrap();
    let not_ready = comes_to_hold(Duration::from_secs(20), || {
        let _ = writeln!(stdin, "{end};"); // it may be one that was refused
        let ready = server.get("/health/ready");
        ready.status == 503 && ready.text().contains("too many")
    });
    for mut other in others {
        drop(other.stdin.take());
        let _ = other.wait(); // it ends by itself
    }
    assert!(not_ready, "{}", server.log());
    until("it is ready again", || server.get("/health/ready").status == 200);
    assert_eq!(server.deliver(delivery("m2")).status, 200);
}

/// A pair of servers, of which the second is the synchronous standby of the first, and the URL of both.
fn pair() -> (Cluster, Cluster, String) {
    let primary = Cluster::start(&["wal_retrieve_retry_interval=200ms"]);
    primary.sql("postgres", "CREATE DATABASE inbox");
    let standby = primary.standby();
    let url = format!("postgres://inbox@127.0.0.1:{},127.0.0.1:{}/inbox", primary.port, standby.port);
    (primary, standby, url)
}

/// How many backends of the instances wait for the standby.
fn waiting(primary: &Cluster) -> u64 {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    primary.sql("postgres", waiting).parse().unwrap()
}

#[test]
fn no_acknowledged_message_is_lost_when_the_primary_is_killed_and_the_standby_promoted_under_load() {
    let (primary, standby, url) = pair();
    let servers: [Server; 2] = instances(&url, &[]);
    let opened = servers[0].log().lines().find(|line| line.contains("database opened")).map(json).unwrap();
    assert!(opened["durability"].as_str().unwrap().contains("and of a standby"), "{opened}");
    let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(HashSet::new()));
    let count = || acknowledged.lock().unwrap().len();
    std::thread::scope(|scope| {
        let load = scope.spawn(|| deliver_until_stopped(&servers.each_ref()[..], 8, &stop, &acknowledged));
        let _stop = RaisedOnDrop(&stop);
        until("some are acknowledged", || count() > 500);
        let killed = Instant::now();
        primary.signal_all("KILL");
        standby.sql("postgres", "SELECT pg_promote()");
        let promoted = killed.elapsed();
        let before = count();
        until("some are acknowledged again", || count() > before + 20);
        println!(
            "{before} acknowledged, promoted after {promoted:?}, acknowledging again after {:?}",
            killed.elapsed()
        );
        until("many are acknowledged again", || count() > before + 500);
        stop.store(true, Ordering::Relaxed);
        let refused = load.join().unwrap();
        assert!(refused.iter().all(|status| *status == 503), "{refused:?}");
    });
    let listed: HashSet<String> = servers[0].message_ids().into_iter().collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    let lost: Vec<_> = acknowledged.difference(&listed).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
    for server in &servers {
        until("it is ready", || server.get("/health/ready").status == 200);
    }
    assert_consistent(&servers[1], &standby, "inbox");
}

#[test]
fn without_its_standby_nothing_is_acknowledged_and_nothing_is_lost_from_view() {
    let (primary, standby, url) = pair();
    let [server]: [Server; 1] = instances(&url, &[]);
    assert_eq!(server.deliver(delivery("before")).status, 200);
    standby.signal_all("STOP");
    for index in 0..6 {
        let reply = server.deliver(delivery(&format!("m{}", index % 3)));
        assert_eq!(reply.status, 503, "{reply:?}");
    }
    assert_eq!(server.get("/health/ready").status, 503);
    assert!(waiting(&primary) <= 2, "one commit and one fold: {}", waiting(&primary));
    assert_eq!(server.get("/messages").json()["data"][0]["message_id"], "before", "reads go on");
    standby.signal_all("CONT");
    until("it is ready again", || server.get("/health/ready").status == 200);
    for index in 0..3 {
        assert_eq!(server.deliver(delivery(&format!("m{index}"))).status, 200);
    }
    assert_eq!(server.message_ids(), ["before", "m0", "m1", "m2"]);
    assert_consistent(&server, &primary, "inbox");
}

/// The server says success, with a warning, when a wait for the standby is cancelled; and a duplicate of a message that is
/// only here would be acknowledged at once, if its transaction wrote nothing.
#[test]
fn a_cancelled_wait_for_the_standby_acknowledges_neither_the_message_nor_its_duplicate() {
    let (primary, standby, url) = pair();
    let [server]: [Server; 1] = instances(&url, &[]);
    assert_eq!(server.deliver(delivery("before")).status, 200);
    until("it is folded", || primary.sql("inbox", "SELECT count(*) FROM commits") == "0");
    standby.signal_all("STOP");
    std::thread::scope(|scope| {
        let reply = scope.spawn(|| server.deliver(delivery("m1")));
        until("it waits for the standby", || waiting(&primary) > 0);
        let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        primary.sql("postgres", cancel);
        let reply = reply.join().unwrap();
        assert_eq!(reply.status, 503, "{reply:?}");
    });
    assert_eq!(primary.sql("inbox", "SELECT count(*) FROM messages WHERE message_id = 'm1'"), "1", "it is there");
    for _ in 0..2 {
        let reply = server.deliver(delivery("m1"));
        assert_eq!(reply.status, 503, "the standby has it not: {reply:?}");
    }
    standby.signal_all("CONT");
    until("it is ready again", || server.get("/health/ready").status == 200);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    until("the standby has it", || standby.sql("inbox", "SELECT count(*) FROM messages") == "2");
    assert_consistent(&server, &primary, "inbox");
}

#[test]
fn where_only_a_standby_is_reachable_the_start_fails_and_says_so() {
    let (primary, standby, _) = pair();
    primary.signal_all("KILL");
    let url = standby.url("inbox");
    let mut command = program();
    let ended = run(command.env("DATABASE_URL", url).env("WEBHOOK_SECRET", "s").env("LISTEN_ADDR", "127.0.0.1:0"));
    assert_eq!(ended.status.code(), Some(74), "{ended:?}");
    assert!(ended.stderr.contains("takes writes"), "{ended:?}");
}

/// The server's certificate has to come from a known authority, and to name the host.
#[test]
fn with_an_sslmode_the_connection_is_encrypted_and_the_server_authenticated() {
    let cluster = Cluster::start(&[]);
    let (certificate, key) = (cluster.directory.join("server.crt"), cluster.directory.join("server.key"));
    let mut openssl = engine::command("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]);
    openssl.args(["-subj", "/CN=inbox", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let made = run(openssl.arg("-out").arg(&certificate).arg("-keyout").arg(&key));
    assert!(made.status.success(), "{made:?}");
    cluster.sql("postgres", "ALTER SYSTEM SET ssl = on");
    cluster.sql("postgres", "SELECT pg_reload_conf()");
    until("it speaks TLS", || cluster.sql("postgres", "SHOW ssl") == "on");
    let url = |host: &str, query: &str| format!("postgres://inbox@{host}:{}/postgres?{query}", cluster.port);
    let authority = format!("sslmode=verify-full&sslrootcert={}", certificate.display());
    let [server]: [Server; 1] = instances(&url("127.0.0.1", &authority), &[]);
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    assert_eq!(server.message_ids(), ["m1"]);
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE application_name = 'webhook-inbox' AND NOT ssl";
    assert_eq!(cluster.sql("postgres", plain), "0");
    for (host, query) in [("127.0.0.1", "sslmode=require"), ("localhost", authority.as_str())] {
        let mut command = program();
        command.env("DATABASE_URL", url(host, query)).env("WEBHOOK_SECRET", "s").env("LISTEN_ADDR", "127.0.0.1:0");
        let ended = run(&mut command);
        assert_eq!(ended.status.code(), Some(74), "{ended:?}");
        assert!(ended.stderr.contains("certificate"), "{ended:?}");
    }
}

/// While instances are upgraded one by one, the first new one migrates, and the old ones go on.
#[test]
fn an_instance_serves_on_a_newer_schema_as_long_as_that_allows_it() {
    let directory = Directory::new();
    let url = postgres_url(&directory.database());
    let [server]: [Server; 1] = instances(&url, &[]);
    let database = Database::postgres(directory.database());
    database.run("UPDATE inbox_schema SET version = 1000");
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let [other]: [Server; 1] = instances(&url, &[]);
    assert_eq!(other.message_ids(), ["m1"]);
    database.run("UPDATE inbox_schema SET oldest_program = 1000");
    let mut command = program();
    let ended = run(command.env("DATABASE_URL", &url).env("WEBHOOK_SECRET", "s").env("LISTEN_ADDR", "127.0.0.1:0"));
    assert_eq!(ended.status.code(), Some(74), "{ended:?}");
    assert!(ended.stderr.contains("this program is too old"), "{ended:?}");
    database.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'webhook-inbox'",
    );
    let reply = server.deliver(delivery("m2"));
    assert_eq!(reply.status, 503, "it looks again with each new connection: {reply:?}");
}

/// Fills each large table, as 120,000 messages do: every other one of a provider, and with it a status.
const FILL: &str = "
    INSERT INTO messages (message_key, message_id, from_msisdn, to_msisdn, ts, text, text_folded, created_at, ts_us, ts_ns,
            source, type, from_id, delivery_key, at, bytes)
        SELECT decode(md5('m' || n), 'hex'), 'm' || n, '+' || n % 1000, '+1', '2025-01-15T10:00:00Z', 'Text ' || n, 'text ' || n,
            '2025-01-15T10:00:00.000Z', n * 1000000::bigint, 0, source, type, from_id, delivery_key, at, bytes
        FROM generate_series(1, 120000) AS n LEFT JOIN LATERAL (SELECT 'meta', CASE n % 1001 WHEN 0 THEN 'image' ELSE 'text' END,
            'US.' || n % 1000, decode(md5('d' || n / 3), 'hex'), 0, 10) AS provider (source, type, from_id, delivery_key, at, bytes)
            ON n % 2 = 1;
    INSERT INTO arrivals SELECT n, decode(md5('m' || n), 'hex') FROM generate_series(1, 120000) AS n;
    INSERT INTO deliveries SELECT decode(md5('d' || n), 'hex'), 'meta', '2025-01-15T10:00:00.000Z', '', '{}', n % 1000 = 0, false
        FROM generate_series(1, 40000) AS n;
    INSERT INTO statuses SELECT decode(md5('s' || n), 'hex'), 'm' || n, CASE n % 1000 WHEN 0 THEN 'failed' ELSE 'sent' END,
            '+' || n % 1000, '', NULL, '2025-01-15T10:00:00.000Z', decode(md5('d' || n / 3), 'hex')
        FROM generate_series(1, 60000) AS n;
    INSERT INTO status_arrivals SELECT n, decode(md5('s' || n), 'hex') FROM generate_series(1, 60000) AS n;
    INSERT INTO tally_senders SELECT '+' || n, 120 FROM generate_series(0, 999) AS n;
    UPDATE inbox_state SET last_seq = 120000, last_status_seq = 60000, messages = 120000";

/// Statements with filters that may be absent.
const OPTIONAL: [(&str, &str); 6] = [
    ("page.sql", include_str!("../../sql/postgres/page.sql")),
    ("page_far.sql", include_str!("../../sql/postgres/page_far.sql")),
    ("arrivals_after.sql", include_str!("../../sql/postgres/arrivals_after.sql")),
    ("arrivals_before.sql", include_str!("../../sql/postgres/arrivals_before.sql")),
    ("statuses_after.sql", include_str!("../../sql/postgres/statuses_after.sql")),
    ("statuses_before.sql", include_str!("../../sql/postgres/statuses_before.sql")),
];

/// The parameters of a statement: each combination of what each may be.
fn combinations(parameters: &[&[&str]]) -> Vec<String> {
    parameters.iter().fold(Vec::new(), |begun, values| match begun.as_slice() {
        [] => values.iter().map(|value| (*value).to_owned()).collect(),
        begun => begun.iter().flat_map(|begun| values.iter().map(move |value| format!("{begun}, {value}"))).collect(),
    })
}

/// Tables with a row for each message, delivery or status.
const LARGE: [&str; 5] = ["messages", "arrivals", "deliveries", "statuses", "status_arrivals"];

#[test]
fn a_page_far_from_the_beginning_is_the_one_that_belongs_there() {
    let directory = Directory::new();
    let [server]: [Server; 1] = instances(&postgres_url(&directory.database()), &[]);
    let database = Database::postgres(directory.database());
    database.run(FILL);
    // 250 at each moment, and every other moment of one sender.
    database.run("UPDATE messages SET ts_us = ts_us / 500000000, ts_ns = ts_us / 1000000 % 2");
    database.run("UPDATE messages SET from_msisdn = '+7' WHERE ts_ns = 1");
    for (condition, filter) in [
        ("true", ""),
        ("from_msisdn = '+7'", "&from=%2B7"),
        ("(ts_us, ts_ns) >= (20, 0)", "&since=1970-01-01T00:00:00.00002Z"),
        ("from_msisdn = '+7' AND (ts_us, ts_ns) >= (20, 0)", "&from=%2B7&since=1970-01-01T00:00:00.00002Z"),
    ] {
        let total = database.number(&format!("SELECT count(*) FROM messages WHERE {condition}"));
        for offset in [9_999, 10_000, 10_001, 10_249, 10_250, 31_234, total - 1, total, total + 1] {
            let page = server.get(&format!("/messages?limit=3&offset={offset}{filter}")).json();
            let expected = database.text(&format!(
                "SELECT coalesce(string_agg(message_id, ' '), '') FROM (SELECT message_id FROM messages WHERE {condition}
                     ORDER BY ts_us, ts_ns, message_id COLLATE \"C\" OFFSET {offset} LIMIT 3) AS page"
            ));
            let listed = ids(page["data"].as_array().unwrap()).join(" ");
            assert_eq!((listed, page["total"].as_i64()), (expected, Some(total)), "offset={offset}{filter}");
        }
    }
}

/// Without statistics and with few rows the planner reads tables whole; here it may only where no index would do.
#[test]
fn no_statement_reads_a_large_table_whole_unless_the_reason_is_known() {
    let allowed = [
        ("counts.sql", "check, a command"),
        ("count_statuses.sql", "a command; recipients have no index"),
        ("statuses_of_person.sql", "a command; recipients have no index"),
        ("deliveries_without_messages.sql", "export --raw, a command"),
    ];
    let unplanned =
        ["settings.sql", "version.sql", "set_version.sql", "migration_lock.sql", "is_migrated.sql", "size.sql"];
    let directory = Directory::new();
    let [_server]: [Server; 1] = instances(&postgres_url(&directory.database()), &[]);
    let database = Database::postgres(directory.database());
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/postgres")).unwrap();
    let mut planned = 0;
    for path in files.map(|file| file.unwrap().path()).filter(|path| path.is_file()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if unplanned.contains(&name.as_str()) {
            continue;
        }
        let sql = std::fs::read_to_string(&path).unwrap();
        if sql.contains("IS NULL OR") {
            assert!(OPTIONAL.iter().any(|(file, _)| *file == name), "{name}: its filters are not tried below");
            continue;
        }
        let count = (1..50).take_while(|number| sql.contains(&format!("${number}"))).count();
        let execute = match count {
            0 => "EXECUTE statement".to_owned(),
            count => format!("EXECUTE statement({})", vec!["NULL"; count].join(", ")),
        };
        // A NULL makes a statement empty, so it is planned for any value.
        let plan = database.text(&format!(
            "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; PREPARE statement AS {sql}; EXPLAIN {execute}"
        ));
        planned += 1;
        let whole = plan.lines().find(|line| LARGE.iter().any(|table| line.contains(&format!("Seq Scan on {table} "))));
        let is_known = allowed.iter().any(|(file, _)| *file == name);
        assert!(whole.is_none() || is_known, "{name}: {}\n{plan}", whole.unwrap_or_default());
    }
    assert!(planned > 30, "only {planned} were planned");
}

/// Planned for the values that are given, as the service has it, with statistics.
#[test]
fn no_combination_of_filters_reads_a_large_table_whole_unless_the_reason_is_known() {
    let (first, last): (&[&str], &[&str]) = (&["0, 0::smallint"], &["119000000000, 0::smallint"]);
    let (no, since, from, q) = (&["NULL"][..], ["NULL, NULL", last[0]], ["NULL", "'+7'"], ["NULL", "'%zebra%'"]);
    let page = [
        combinations(&[&from, &since, &q, first, no, &["0"], &["51"]]),
        combinations(&[&from, &since, &q, last, &["'m'"], &["0"], &["51"]]),
    ];
    let far = combinations(&[&from, &since, &["10000", "60000", "200000"], &["51"]]);
    // A slice of the order of arrival, or all of it with a filter that has an index.
    let (slices, end) = (["0, 16384", "60000, 76384", "103616, 120000"], ["51, 1048576"]);
    let (kind, source) = (["NULL", "'image'"], ["NULL", "'meta'"]);
    let (key, from_id) = (["NULL", "decode(md5('m7'), 'hex')"], ["NULL", "'US.7'"]);
    let has_index = |parameters: &String| [key[1], from[1], from_id[1]].iter().any(|value| parameters.contains(value));
    let mut arrivals = combinations(&[&["0, 120000"], &key, &from, &since, &q, &kind, &source, &from_id, &end]);
    arrivals.retain(has_index);
    let arrivals = [arrivals, combinations(&[&slices, no, no, &since, &q, &kind, &source, no, &end])];
    let statuses = [combinations(&[&slices[..2], &from, &["NULL", "'failed'"], &["51"]])];

    let allowed = |name: &str, parameters: &String| match name {
        // A search looks at every text.
        "page.sql" => parameters.contains(q[1]) && !parameters.contains(from[1]),
        "page_far.sql" => false,
        // Of what has no index a slice is looked at: by its keys or, while the table is small, as a whole.
        "statuses_after.sql" | "statuses_before.sql" => parameters.contains(from[1]) || parameters.contains("'failed'"),
        _ => [q[1], kind[1], source[1]].iter().any(|value| parameters.contains(value)) && !has_index(parameters),
    };
    let directory = Directory::new();
    let [_server]: [Server; 1] = instances(&postgres_url(&directory.database()), &[]);
    let database = Database::postgres(directory.database());
    database.run(FILL);
    database.run("VACUUM ANALYZE");
    for (name, sql) in OPTIONAL {
        let all = match name {
            "page.sql" => page.concat(),
            "page_far.sql" => far.clone(),
            "arrivals_after.sql" | "arrivals_before.sql" => arrivals.concat(),
            _ => statuses.concat(),
        };
        let explain = |parameters: &String| format!("SELECT '===='; EXPLAIN EXECUTE statement({parameters});");
        let explained: String = all.iter().map(explain).collect();
        let plans = format!("SET plan_cache_mode = force_custom_plan; PREPARE statement AS {sql}; {explained}");
        let plans = database.text(&plans);
        let plans: Vec<&str> = plans.split("====").skip(1).collect();
        assert_eq!(plans.len(), all.len(), "{name}");
        for (parameters, plan) in all.iter().zip(plans) {
            let is_whole = LARGE.iter().any(|table| plan.contains(&format!("Seq Scan on {table} ")));
            assert!(!is_whole || allowed(name, parameters), "{name} with {parameters}:{plan}");
        }
    }
}
