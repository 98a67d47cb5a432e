//! The service on SQLite and on PostgreSQL, in turn: durable messages per second with one instance and with three. Then what
//! reads cost on PostgreSQL with 1,000,000 messages.
//!
//! `INBOX_BENCH_POSTGRES=postgres://… cargo bench --features postgres --bench postgres`, with the URL of an empty database,
//! whose tables are dropped in between. Load generator, instances and server share the machine's cores, so three instances
//! show what sharing costs and not what machines bring.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Connection, Directory, Sample, Service};

const ROUNDS: usize = 3;
const MESSAGES: usize = 40_000;
const STORED: usize = 1_000_000;
const TIMES: usize = 15;
/// By then the instance has added up what the import left to be added up.
const FOLDED: Duration = Duration::from_secs(10);

fn main() {
    let Ok(url) = std::env::var("INBOX_BENCH_POSTGRES") else {
        println!("Set INBOX_BENCH_POSTGRES to the URL of an empty PostgreSQL database");
        return;
    };
    let directory = Directory::new("postgres");
    println!(
        "| engine | instances | connections each | messages/s | p50 ms | p99 ms | CPU of the instances, ms per 1,000 |"
    );
    println!("|---|---|---|---|---|---|---|");
    for connections in [1, 16, 64] {
        for (engine, instances) in [("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", 3), (WITH_TRIGRAMS, 1)] {
            let url = (engine != "SQLite").then_some(url.as_str());
            let first = if engine == WITH_TRIGRAMS { TRIGRAMS } else { "" };
            let rounds: Vec<_> = (0..ROUNDS).map(|_| round(&directory, url, first, instances, connections)).collect();
            let [rate, p50, p99, cpu] = support::medians(&rounds);
            println!("| {engine} | {instances} | {connections} | {rate:.0} | {p50:.2} | {p99:.2} | {cpu:.1} |");
        }
    }
    reads(&directory, &url);
}

/// How long one client waits, in the median.
fn reads(directory: &Directory, url: &str) {
    psql(url, EMPTY);
    let stored = (0..STORED).map(|index| {
        let mut sample = Sample::new(index, 1_000_000);
        if index % (STORED / 50) == 0 {
            sample.text.push_str(" zanzibar");
        }
        sample
    });
    support::import(Path::new(env!("CARGO_BIN_EXE_webhook-inbox")), url, stored);
    psql(url, "VACUUM ANALYZE");
    let since = Sample::new(STORED - 100_000, 1_000_000).ts;
    let targets = [
        "/messages".to_owned(),
        format!("/messages?offset={}", STORED / 2),
        "/messages?from=%2B919800000000".to_owned(),
        format!("/messages?since={since}"),
        "/stats".to_owned(),
        "/messages?q=zanzibar".to_owned(),
        "/messages?q=xyzzy".to_owned(),
        "/messages?q=hello".to_owned(),
    ];
    let service =
        Service::start(&directory.join("unused.db"), &[("DATABASE_URL", url), ("IDLE_TIMEOUT_MS", "3600000")]);
    std::thread::sleep(FOLDED);
    let mut connection = Connection::open(service.address);
    let mut read = |target: &String| -> f64 {
        let request = format!("GET {target} HTTP/1.1\r\nHost: inbox\r\n\r\n");
        let mut taken: Vec<f64> = (0..TIMES)
            .map(|_| {
                let begun = Instant::now();
                let (status, body) = connection.send(request.as_bytes());
                assert_eq!(status, 200, "{body}");
                begun.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        taken.sort_by(f64::total_cmp);
        taken[TIMES / 2]
    };
    let without: Vec<f64> = targets.iter().map(&mut read).collect();
    psql(url, TRIGRAMS);
    psql(url, "VACUUM ANALYZE messages");
    println!("| read | ms | with an index of trigrams |");
    println!("|---|---|---|");
    for (target, without) in targets.iter().zip(without) {
        println!("| `{target}` | {without:.1} | {:.1} |", read(target));
    }
    let size = psql(url, &format!("SELECT pg_relation_size('trigrams') / {STORED}"));
    println!("The index of trigrams has {} bytes per message", size.trim());
    service.stop();
}

const WITH_TRIGRAMS: &str = "PostgreSQL, with the index of trigrams";

const TRIGRAMS: &str =
    "CREATE EXTENSION pg_trgm; CREATE INDEX trigrams ON messages USING gin (text_folded gin_trgm_ops)";

const EMPTY: &str = "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CHECKPOINT";

/// Runs statements, and returns what they print.
fn psql(url: &str, sql: &str) -> String {
    let done = Command::new("psql").args(["-qXAt", "-d", url, "-c", sql]).output().expect("psql is installed");
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).expect("it is text")
}

/// All instances at once: rate, latencies of the slowest, and CPU. The server runs the statements of `first` before that.
fn round(directory: &Directory, url: Option<&str>, first: &str, instances: usize, connections: usize) -> [f64; 4] {
    let count = if connections == 1 { MESSAGES / 10 } else { MESSAGES } / instances;
    let path = directory.join("served.db");
    let mut variables = vec![("LOG_LEVEL", "INFO")];
    if let Some(url) = url {
        variables.push(("DATABASE_URL", url));
        psql(url, EMPTY);
    }
    let services: Vec<Service> = (0..instances).map(|_| Service::start(&path, &variables)).collect();
    if let Some(url) = url {
        psql(url, first);
    }
    let part = |index: usize| {
        let samples = (0..count).map(|message| Sample::new(index * count + message, 1_000));
        samples.map(|sample| sample.request()).collect::<Vec<_>>()
    };
    let parts: Vec<Vec<Vec<u8>>> = (0..instances).map(part).collect();
    let figures: Vec<[f64; 4]> = std::thread::scope(|scope| {
        let load = |(service, requests): (_, &'_ Vec<Vec<u8>>)| -> [f64; 4] {
            let [rate, p50, p99, gate, tiny_http, workers, log, _] =
                support::load_by_stage(service, requests, connections);
            [rate, p50, p99, gate + tiny_http + workers + log]
        };
        let threads: Vec<_> = services.iter().zip(&parts).map(|pair| scope.spawn(move || load(pair))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a round ends")).collect()
    });
    let (_, stats) = services[0].get("/stats");
    assert!(stats.contains(&format!("\"total_messages\":{},", count * instances)), "{stats}");
    services.into_iter().for_each(Service::stop);
    if url.is_none() {
        std::fs::remove_file(&path).expect("it is there");
    }
    let most = |column: usize| figures.iter().map(|figures| figures[column]).fold(0.0, f64::max);
    let mean_cpu = figures.iter().map(|figures| figures[3]).sum::<f64>() / figures.len() as f64;
    [figures.iter().map(|figures| figures[0]).sum(), most(1), most(2), mean_cpu]
}
