//! What the index of `q` costs ingest: messages per second over 64 connections with it and without it, on the disk, and how
//! far it is behind when the load ends.
//!
//! `cargo bench --bench index`. The two take turns, each with a fresh database. Each figure is the median of the rounds.

mod support;

use std::time::{Duration, Instant};
use support::{Directory, Sample, Service};

const ROUNDS: usize = 5;
const MESSAGES: usize = 150_000;
const CONNECTIONS: usize = 64;

fn main() {
    let directory = Directory::new("index");
    let rounds: Vec<[f64; 8]> = (0..ROUNDS)
        .map(|_| {
            let [without, with] = ["off", "on"].map(|setting| round(&directory, setting));
            let [rate_off, p99_off, bytes_off, ..] = without;
            let [rate, p99, bytes, behind, followed] = with;
            [rate_off, rate, rate / rate_off, p99 / p99_off, bytes_off, bytes, behind, followed]
        })
        .collect();
    let [rate_off, rate, ratio, p99, bytes_off, bytes, behind, followed] = support::medians(&rounds);
    println!(
        "| messages/s without | with | ratio | p99, ratio | bytes per message without | with | behind at the end | up to date after, s |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    println!(
        "| {rate_off:.0} | {rate:.0} | {ratio:.2} | {p99:.2} | {bytes_off:.0} | {bytes:.0} | {behind:.0} | {followed:.1} |"
    );
}

/// Messages per second, p99 in ms, bytes per message, messages behind at the end, and seconds until none is.
fn round(directory: &Directory, setting: &str) -> [f64; 5] {
    let requests: Vec<Vec<u8>> = (0..MESSAGES).map(|index| Sample::new(index, 1_000).request()).collect();
    let path = directory.join("served.db");
    let service = Service::start(&path, &[("SEARCH_INDEX", setting)]);
    let load = support::load(service.address, &requests, CONNECTIONS);
    let ended = Instant::now();
    let behind = service.index_behind();
    // The figure is a second old, and this is asked for as long.
    let mut times = 0;
    while times < 12 {
        times = if service.index_behind() == 0 { times + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(100));
    }
    let followed = ended.elapsed().as_secs_f64() - 1.2;
    service.stop();
    let bytes = std::fs::metadata(&path).expect("it is there").len();
    std::fs::remove_file(&path).expect("it is there");
    [load.per_second, load.quantile_ms(0.99), bytes as f64 / MESSAGES as f64, behind as f64, followed]
}
