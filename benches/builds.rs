//! Two or more builds of the program beside each other, in turns, so that a change can be judged on a noisy machine.
//!
//! `cargo bench --bench builds -- 64 1000000 BINARY BINARY…`: messages per second over 64 connections into a database
//! of 1,000,000 messages, a fresh one each time; the median of the rounds. The first build makes the database, so it has
//! to be the oldest, and each other one brings the schema up to date before it is measured.

mod support;

use std::path::PathBuf;
use support::{Directory, Sample, Service};

const ROUNDS: usize = 5;
/// Most messages of a run, and for each connection: a lone one takes a while.
const MESSAGES_MAX: usize = 40_000;
const MESSAGES_EACH: usize = 8_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [connections, stored, binaries @ ..] = arguments.as_slice() else {
        return println!("not run: it needs a number of connections, one of messages, and the paths of the builds");
    };
    let (connections, stored): (usize, usize) =
        (connections.parse().expect("a number"), stored.parse().expect("a number"));
    let messages = MESSAGES_MAX.min(MESSAGES_EACH * connections);
    let directory = Directory::new("builds");
    let binaries: Vec<PathBuf> = binaries.iter().map(PathBuf::from).collect();
    let patterns: Vec<PathBuf> =
        (0..binaries.len()).map(|index| directory.join(&format!("pattern-{index}.db"))).collect();
    for (binary, pattern) in binaries.iter().zip(&patterns) {
        if *pattern == patterns[0] {
            let url = format!("sqlite:///{}", pattern.display());
            support::import(binary, &url, (0..stored).map(|index| Sample::new(index, 1_000)));
        } else {
            std::fs::copy(&patterns[0], pattern).expect("room");
        }
        Service::start_build(binary, pattern, &[]).stop();
    }
    let mut measured: Vec<Vec<[f64; 8]>> = vec![Vec::new(); binaries.len()];
    for round in 0..ROUNDS {
        let samples: Vec<Sample> = (0..messages).map(|index| Sample::new(stored + index, 1_000)).collect();
        let requests: Vec<Vec<u8>> = samples.iter().map(Sample::request).collect();
        for (index, binary) in binaries.iter().enumerate() {
            let database = directory.join(&format!("{round}-{index}.db"));
            std::fs::copy(&patterns[index], &database)
                .and_then(|_| std::fs::File::open(&database)?.sync_all())
                .expect("room");
            let service = Service::start_build(binary, &database, &[("LOG_LEVEL", "INFO")]);
            measured[index].push(support::load_by_stage(&service, &requests, connections));
            service.stop();
            std::fs::remove_file(&database).expect("it is there");
        }
    }
    println!(
        "| build | messages/s | p50 ms | p99 ms | CPU ms per 1,000: gate | tiny_http | workers | log | load generator |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (binary, rounds) in binaries.iter().zip(&measured) {
        let [rate, p50, p99, gate, tiny_http, workers, log, own] = support::medians(rounds);
        let name = binary.file_name().unwrap_or_default().to_string_lossy();
        println!(
            "| {name} | {rate:.0} | {p50:.2} | {p99:.2} | {gate:.1} | {tiny_http:.1} | {workers:.1} | {log:.1} | {own:.1} |"
        );
    }
}
