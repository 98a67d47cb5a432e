//! Durable messages per second through the real binary, beside what SQLite alone can do with the same rows.
//!
//! `cargo bench --bench ingest`. Each round is SQLite and the service in turn, each with a fresh database; the raw limit
//! is one thread that writes the same rows into the same schema with as many rows per COMMIT as there are connections.
//! Both run on the machine's cores together with the load generator. Each figure is the median of the rounds, the ratio
//! too, since the speed of the machine may change between two of them.

mod support;

use support::{Directory, Sample, Service};

const ROUNDS: usize = 5;

fn main() {
    let directory = Directory::new("ingest");
    let fsync = support::bare_fsync(&directory.join("fsync")).as_secs_f64() * 1e3;
    println!(
        "| connections | messages | raw rows/s | messages/s | of raw | p50 ms | p99 ms | CPU ms per 1,000: gate | tiny_http | workers | log | load generator | raw rows, ms | peak RSS MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (connections, messages) in [(1, 8_000), (16, 40_000), (64, 60_000), (256, 60_000)] {
        let rounds: Vec<_> = (0..ROUNDS).map(|_| round(&directory, connections, messages)).collect();
        let [raw, rate, of_raw, p50, p99, gate, tiny_http, workers, log, own, rss] = support::medians(&rounds);
        println!(
            "| {connections} | {messages} | {raw:.0} | {rate:.0} | {of_raw:.2} | {p50:.2} | {p99:.2} | {gate:.1} | {tiny_http:.1} | {workers:.1} | {log:.1} | {own:.1} | {:.1} | {rss:.0} |",
            1e6 / raw,
        );
    }
    println!("\na bare fdatasync takes {fsync:.3} ms; 1.5 times that plus 0.3 ms is {:.2} ms", 1.5 * fsync + 0.3);
}

/// SQLite, then the service: the columns of the table.
fn round(directory: &Directory, connections: usize, messages: usize) -> [f64; 11] {
    let samples: Vec<Sample> = (0..messages).map(|index| Sample::new(index, 1_000)).collect();
    let requests: Vec<Vec<u8>> = samples.iter().map(Sample::request).collect();

    let path = directory.join("raw.db");
    Service::start(&path, &[]).stop(); // creates the schema
    let raw = support::raw_rate(&path, &samples, connections);

    let path = directory.join("served.db");
    let service = Service::start(&path, &[("LOG_LEVEL", "INFO")]);
    let [rate, p50, p99, gate, tiny_http, workers, log, own] = support::load_by_stage(&service, &requests, connections);
    let rss = service.memory_kib("VmHWM") as f64 / 1024.0;
    let (_, stats) = service.get("/stats");
    assert!(stats.contains(&format!("\"total_messages\":{messages},")), "{stats}");
    service.stop();
    std::fs::remove_file(&path).expect("it is there");
    [raw, rate, rate / raw, p50, p99, gate, tiny_http, workers, log, own, rss]
}
