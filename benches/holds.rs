//! How long the longest part of a read holds the one connection, for data and neighbours that make it long.
//!
//! `cargo bench --bench holds` takes some minutes; `cargo bench --bench holds -- 100000` is a tenth of it. Each line is a
//! service of its own. Beside each case, 16 connections deliver, and how many messages a second that is says whether they
//! were held up. Durations are those of `inbox_read_hold_seconds`; on a machine that is busy with other work, some are of
//! a thread that waited for a core.

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::{Connection, Directory, Sample, Service};

const CONNECTIONS: usize = 16;

/// How long a case lasts that has no end of its own.
const TIME: Duration = Duration::from_secs(5);

fn main() {
    let size = support::sizes(&[1_000_000])[0];
    let directory = Directory::new("holds");
    let template = directory.join("template.db");
    support::fill(&template, size, |index| Sample::new(index, 1_000));
    let one_instant = directory.join("one-instant.db");
    support::fill(&one_instant, size, |index| {
        let ts_us = Sample::new(0, 0).ts_us / 1_000_000 * 1_000_000;
        let ts = format!("{:.3}", jiff::Timestamp::from_microsecond(ts_us).expect("a moment of 2025"));
        Sample { from: ONE.to_owned(), ts, ts_us, ..Sample::new(index, 0) }
    });
    println!("| case | messages/s | longest part of a read, ms | over 5 ms | of | reads answered | 503 |");
    println!("|---|---|---|---|---|---|---|");
    let case = |name: &str, database: &Path, target: &str, beside: &(dyn Fn(&Path) + Sync)| {
        let path = directory.join("case.db");
        std::fs::copy(database, &path).expect("room on the disk");
        run(name, &path, size, target, beside);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display())); // the next case makes its own
        }
    };
    let nothing = |_: &Path| std::thread::sleep(TIME);
    let page = format!("/messages?from=%2B{}&limit=100", &ONE[1..]);
    case("a page of a sender's messages of one instant", &one_instant, &page, &nothing);
    case("the same, deep", &one_instant, &format!("{page}&offset={}", size / 2), &nothing);
    case("`since` at that instant", &one_instant, &format!("{page}&since=2025-01-01T00:00:00Z"), &nothing);
    case("`/stats` while another program deletes every 30 ms", &template, "/stats", &|path| {
        let other = support::another_program(path);
        let begun = Instant::now();
        while begun.elapsed() < TIME {
            let delete = "DELETE FROM messages WHERE seq = (SELECT MIN(seq) FROM messages)";
            let _ = other.execute(delete, []); // it may be locked
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    case("`/stats` while another program changes every message", &template, "/stats", &|path| {
        support::another_program(path)
            .execute("UPDATE messages SET from_msisdn = from_msisdn || '0'", [])
            .expect("room on the disk");
        std::thread::sleep(TIME);
    });
    case("`/stats` while another program adds as many senders", &template, "/stats", &|path| {
        let mut other = support::another_program(path);
        for first in (0..size).step_by(200) {
            let transaction = other.transaction().expect("no other program for long");
            for number in first..first + 200 {
                let insert = "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, created_at)
                              VALUES ('other' || ?1, '+4917' || ?1, '+1', '2025-06-01T00:00:00Z', '')";
                transaction.execute(insert, [number as i64]).expect("room on the disk");
            }
            transaction.commit().expect("room on the disk");
            std::thread::sleep(Duration::from_millis(10)); // the service tries every 10 ms to get the lock
        }
    });
    case("`/stats` after `.restore` of another database", &template, "/stats", &|path| {
        support::another_program(path).restore("main", &one_instant, None::<fn(_)>).expect("room on the disk");
        std::thread::sleep(TIME);
    });
    case("`/messages` with a row and the lock of another program", &template, "/messages", &|path| {
        let other = support::another_program(path);
        let insert = "INSERT INTO messages (message_id, from_msisdn, to_msisdn, ts, created_at)
                      VALUES ('other', '+1', '+2', '2025-06-01T00:00:00Z', ''); BEGIN IMMEDIATE";
        other.execute_batch(insert).expect("room on the disk");
        std::thread::sleep(TIME / 5);
    });
    case("`/stats` while `erase` removes all messages of a sender", &one_instant, "/stats", &|path| {
        let mut erase = Command::new(env!("CARGO_BIN_EXE_webhook-inbox"));
        let url = format!("sqlite:///{}", path.display());
        let erased = erase
            .args(["erase", "--from", ONE])
            .env_clear()
            .env("WEBHOOK_INBOX_SETTINGS", "/dev/null")
            .env("DATABASE_URL", url)
            .output()
            .expect("cargo has built the binary");
        assert!(erased.status.success(), "{}", String::from_utf8_lossy(&erased.stderr));
    });
}

/// The sender of all messages of one instant.
const ONE: &str = "+919876543210";

fn run(name: &str, path: &Path, size: usize, target: &str, beside: &(dyn Fn(&Path) + Sync)) {
    let service = Service::start(path, &[]);
    let done = AtomicBool::new(false);
    let (stored, seconds, answers) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut connection = Connection::open(service.address);
            let request = format!("GET {target} HTTP/1.1\r\nHost: inbox\r\n\r\n");
            let mut answers = [0, 0];
            while !done.load(Ordering::Relaxed) {
                let (status, body) = connection.send(request.as_bytes());
                assert!(status == 200 || status == 503, "{body}");
                answers[usize::from(status == 503)] += 1;
            }
            answers
        });
        let begun = Instant::now();
        let deliver = || {
            let (done, address) = (&done, service.address);
            scope.spawn(move || {
                let (mut connection, mut stored) = (Connection::open(address), 0);
                while !done.load(Ordering::Relaxed) {
                    let (status, body) = connection.send(&Sample::new(size, 0).request());
                    assert!(status == 200 || status == 503, "{body}"); // 503 while another program has the lock
                    stored += usize::from(status == 200);
                }
                stored
            })
        };
        let load: Vec<_> = (0..CONNECTIONS).map(|_| deliver()).collect();
        beside(path);
        let seconds = begun.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        let stored: usize = load.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        (stored, seconds, reader.join().expect("no panic"))
    });
    let (_, page) = service.get("/metrics");
    let samples = page.lines().filter_map(|line| line.strip_prefix("inbox_read_hold_seconds_bucket{le=\""));
    let buckets: Vec<(&str, u64)> = samples
        .filter_map(|line| {
            let (bound, count) = line.split_once("\"} ")?;
            Some((bound, count.parse().ok()?))
        })
        .collect();
    let all = buckets.last().map_or(0, |(_, count)| *count);
    let longest = buckets.iter().find(|(_, count)| *count == all).map_or("?", |(bound, _)| bound);
    let within = buckets.iter().find(|(bound, _)| *bound == "0.005").map_or(0, |(_, count)| *count);
    let longest = longest.parse::<f64>().map_or(longest.to_owned(), |seconds| format!("up to {}", seconds * 1e3));
    let [answered, refused] = answers;
    println!(
        "| {name} | {:.0} | {longest} | {} | {all} | {answered} | {refused} |",
        stored as f64 / seconds,
        all - within
    );
    service.stop();
}
