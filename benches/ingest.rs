//! Durable messages per second through the real binary, beside what SQLite alone can do with the same rows.
//!
//! `cargo bench --bench ingest`. Each line is a fresh database; the raw limit is one thread that writes the same rows
//! into the same schema with the same rows per COMMIT. Both run on the machine's cores together with the load
//! generator, and one after the other, so compare ratios and not figures of two runs.

mod support;

use std::time::{Duration, Instant};
use support::{Directory, Sample, Service};

fn main() {
    let directory = Directory::new("ingest");
    let fsync = support::bare_fsync(&directory.join("fsync")).as_secs_f64() * 1e3;
    println!(
        "| connections | messages | raw rows/s | messages/s | of raw | p50 ms | p99 ms | CPU ms per 1,000: gate | tiny_http | workers | log | load generator | raw rows, ms | peak RSS MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (connections, messages) in [(1, 8_000), (16, 50_000), (64, 100_000), (256, 100_000)] {
        let samples: Vec<Sample> = (0..messages).map(|index| Sample::new(index, 1_000)).collect();
        let requests: Vec<Vec<u8>> = samples.iter().map(Sample::request).collect();

        let path = directory.join(&format!("raw-{connections}.db"));
        Service::start(&path, &[]).stop(); // creates the schema
        let mut raw = support::raw_database(&path);
        let begun = Instant::now();
        support::raw_insert(&mut raw, &samples, connections);
        let raw_per_second = messages as f64 / begun.elapsed().as_secs_f64();
        drop(raw);

        let service = Service::start(&directory.join(&format!("served-{connections}.db")), &[("LOG_LEVEL", "INFO")]);
        let own_before = support::own_cpu();
        let load = support::load(service.address, &requests, connections);
        let own = support::own_cpu() - own_before;
        let per_1000 = |time: Duration| time.as_secs_f64() * 1e3 / (messages as f64 / 1e3);
        let (gate, workers, log) = (service.cpu_of("connection"), service.cpu_of("worker"), service.cpu_of("log"));
        let tiny_http = service.cpu_of("").saturating_sub(gate + workers + log);
        let (_, stats) = service.get("/stats");
        assert!(stats.contains(&format!("\"total_messages\":{messages},")), "{stats}");
        println!(
            "| {connections} | {messages} | {raw_per_second:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} |",
            load.per_second,
            load.per_second / raw_per_second,
            load.quantile(0.5).as_secs_f64() * 1e3,
            load.quantile(0.99).as_secs_f64() * 1e3,
            per_1000(gate),
            per_1000(tiny_http),
            per_1000(workers),
            per_1000(log),
            per_1000(own),
            1e6 / raw_per_second,
            service.memory_kib("VmHWM") as f64 / 1024.0,
        );
        service.stop();
    }
    println!("\na bare fdatasync takes {fsync:.3} ms; 1.5 times that plus 0.3 ms is {:.2} ms", 1.5 * fsync + 0.3);
}
