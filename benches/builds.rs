//! Two or more builds of the program beside each other, in turns, so that a change can be judged on a noisy machine.
//!
//! `cargo bench --bench builds -- 64 1000000 BINARY BINARY…`: messages per second over 64 connections into a database
//! of 1,000,000 messages, a fresh one each time; the median of the rounds.

mod support;

use std::path::PathBuf;
use std::time::Duration;
use support::{Directory, Sample, Service};

const ROUNDS: usize = 5;
const MESSAGES: usize = 40_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [connections, stored, binaries @ ..] = arguments.as_slice() else {
        return println!("not run: it needs a number of connections, one of messages, and the paths of the builds");
    };
    let (connections, stored) = (connections.parse().expect("a number"), stored.parse().expect("a number"));
    let directory = Directory::new("builds");
    let binaries: Vec<PathBuf> = binaries.iter().map(PathBuf::from).collect();
    let pattern = directory.join("pattern.db");
    support::fill(&pattern, stored, |index| Sample::new(index, 1_000));
    let mut measured: Vec<Vec<[f64; 7]>> = vec![Vec::new(); binaries.len()];
    for round in 0..ROUNDS {
        let samples: Vec<Sample> = (0..MESSAGES).map(|index| Sample::new(stored + index, 1_000)).collect();
        let requests: Vec<Vec<u8>> = samples.iter().map(Sample::request).collect();
        for (index, binary) in binaries.iter().enumerate() {
            let database = directory.join(&format!("{round}-{index}.db"));
            std::fs::copy(&pattern, &database).and_then(|_| std::fs::File::open(&database)?.sync_all()).expect("room");
            let service = Service::start_build(binary, &database, &[("LOG_LEVEL", "INFO")]);
            let own_before = support::own_cpu();
            let load = support::load(service.address, &requests, connections);
            let own = support::own_cpu() - own_before;
            let per_1000 = |time: Duration| time.as_secs_f64() * 1e6 / MESSAGES as f64;
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let (gate, workers) = (service.cpu_of("connection"), service.cpu_of("worker"));
            let rest = service.cpu_of("").saturating_sub(gate + workers);
            measured[index].push([
                load.per_second,
                ms(load.quantile(0.5)),
                ms(load.quantile(0.99)),
                per_1000(gate),
                per_1000(rest),
                per_1000(workers),
                per_1000(own),
            ]);
            service.stop();
            std::fs::remove_file(&database).expect("it is there");
        }
    }
    println!(
        "| build | messages/s | p50 ms | p99 ms | CPU ms per 1,000: gate | tiny_http, log | workers | load generator |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (binary, rounds) in binaries.iter().zip(&measured) {
        let [rate, p50, p99, gate, rest, workers, own] = support::medians(rounds);
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        println!("| {name} | {rate:.0} | {p50:.2} | {p99:.2} | {gate:.1} | {rest:.1} | {workers:.1} | {own:.1} |");
    }
}
