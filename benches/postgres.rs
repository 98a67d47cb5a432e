//! The service on SQLite and on PostgreSQL, in turn: durable messages per second with one instance and with three.
//!
//! `INBOX_BENCH_POSTGRES=postgres://… cargo bench --features postgres --bench postgres`, with the URL of an empty database,
//! whose tables are dropped in between. Load generator, instances and server share the machine's cores, so three instances
//! show what sharing costs and not what machines bring.

mod support;

use std::process::Command;
use support::{Directory, Sample, Service};

const ROUNDS: usize = 3;
const MESSAGES: usize = 40_000;

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
        for (engine, instances) in [("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", 3)] {
            let url = (engine == "PostgreSQL").then_some(url.as_str());
            let rounds: Vec<_> = (0..ROUNDS).map(|_| round(&directory, url, instances, connections)).collect();
            let [rate, p50, p99, cpu] = support::medians(&rounds);
            println!("| {engine} | {instances} | {connections} | {rate:.0} | {p50:.2} | {p99:.2} | {cpu:.1} |");
        }
    }
}

/// All instances at once: rate, latencies of the slowest, and CPU.
fn round(directory: &Directory, url: Option<&str>, instances: usize, connections: usize) -> [f64; 4] {
    let count = if connections == 1 { MESSAGES / 10 } else { MESSAGES } / instances;
    let path = directory.join("served.db");
    let mut variables = vec![("LOG_LEVEL", "INFO")];
    if let Some(url) = url {
        variables.push(("DATABASE_URL", url));
        let empty = "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CHECKPOINT";
        let done = Command::new("psql").args(["-qX", "-d", url, "-c", empty]).output().expect("psql is installed");
        assert!(done.status.success(), "{done:?}");
    }
    let services: Vec<Service> = (0..instances).map(|_| Service::start(&path, &variables)).collect();
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
