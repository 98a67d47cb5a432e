//! What ingest costs as the database grows: the real binary and raw SQLite on 0, 1,000,000 and 10,000,000 messages.
//!
//! `cargo bench --bench growth` takes some minutes, most of it for making the largest database, and 10 GB of disk;
//! `cargo bench --bench growth -- 0 1000000` measures those sizes only. Compare ratios: all lines are one run.

mod support;

use support::{Directory, Sample, Service};

const CONNECTIONS: usize = 64;
const MESSAGES: usize = 60_000;
const STEP_US: i64 = 1_000;

fn main() {
    let directory = Directory::new("growth");
    println!("| stored | raw rows/s | of the first | messages/s | of the first | of raw | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut first = None;
    for size in support::sizes(&[0, 1_000_000, 10_000_000]) {
        let (served, raw) = (directory.join(&format!("{size}.db")), directory.join(&format!("{size}-raw.db")));
        support::fill(&served, size, |index| Sample::new(index, STEP_US));
        std::fs::copy(&served, &raw).expect("room on the disk");
        // Else the kernel writes the new files to disk while the first of them is measured.
        for path in [&served, &raw] {
            std::fs::File::open(path).and_then(|file| file.sync_all()).expect("it is there");
        }
        let samples: Vec<Sample> = (size..size + MESSAGES).map(|index| Sample::new(index, STEP_US)).collect();

        let raw_rate = support::raw_rate(&raw, &samples, CONNECTIONS);
        let requests: Vec<Vec<u8>> = samples.iter().map(Sample::request).collect();
        let service = Service::start(&served, &[("LOG_LEVEL", "INFO")]);
        let load = support::load(service.address, &requests, CONNECTIONS);
        service.stop();
        std::fs::remove_file(&served).expect("it is there");
        let (raw_first, first) = *first.get_or_insert((raw_rate, load.per_second));
        println!(
            "| {size} | {raw_rate:.0} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
            raw_rate / raw_first,
            load.per_second,
            load.per_second / first,
            load.per_second / raw_rate,
            load.quantile_ms(0.5),
            load.quantile_ms(0.99),
        );
    }
}
