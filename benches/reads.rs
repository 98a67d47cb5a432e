//! What reads cost on databases of 10,000, 1,000,000 and 10,000,000 messages, through the real binary.
//!
//! `cargo bench --bench reads` takes some minutes, most of it for making the largest database, and 4 GB of disk;
//! `cargo bench --bench reads -- 10000 1000000` measures those sizes only.

mod support;

use std::time::{Duration, Instant};
use support::{Connection, Directory, Sample, Service};

/// Messages are 1 s apart, so that 10,000,000 of them take 115 days.
const STEP_US: i64 = 1_000_000;

fn main() {
    let directory = Directory::new("reads");
    println!("| messages | read | p50 ms | max ms | total |");
    println!("|---|---|---|---|---|");
    for size in support::sizes(&[10_000, 1_000_000, 10_000_000]) {
        let path = directory.join(&format!("{size}.db"));
        support::fill(&path, size, |index| {
            let mut sample = Sample::new(index, STEP_US);
            if index % (size / 50) == 0 {
                sample.text.push_str(" zanzibar");
            }
            sample
        });
        let bytes = path.metadata().map_or(0, |metadata| metadata.len()) / size as u64;
        let begun = Instant::now();
        let service = Service::start(&path, &[]);
        let started = begun.elapsed();
        let idle_mib = service.memory_kib("VmRSS") as f64 / 1024.0;
        println!("| {size} | start until listening | {:.0} | | |", started.as_secs_f64() * 1e3);
        println!("| {size} | idle RSS {idle_mib:.0} MiB, {bytes} bytes per message on disk | | | |");
        measure(&service, size);
        service.stop();
    }
}

fn measure(service: &Service, size: usize) {
    let mut connection = Connection::open(service.address);
    let since = |part: f64| Sample::new((size as f64 * part) as usize, STEP_US).ts;
    let (recent, middle, oldest) = (since(0.999), since(0.5), since(0.0));
    let frequent = "%2B919800000000";
    let rare = "%2B919800012345";
    let deep = format!("/messages?offset={}", size / 2);
    let cursor = connection.link(&get(&deep)).expect("half of the messages follow");
    let reads = [
        ("first page", "/messages".to_owned(), 50),
        ("deep offset", format!("/messages?offset={}", size - 100), 10),
        ("deep cursor", cursor, 50),
        ("from, frequent", format!("/messages?from={frequent}"), 50),
        ("from, rare", format!("/messages?from={rare}"), 50),
        ("from frequent, since the middle", format!("/messages?from={frequent}&since={middle}"), 20),
        ("since, recent", format!("/messages?since={recent}"), 50),
        ("since, oldest", format!("/messages?since={oldest}"), 50),
        ("/stats", "/stats".to_owned(), 50),
        ("q, rare", "/messages?q=zanzibar".to_owned(), 3),
        ("q, common", "/messages?q=HELLO".to_owned(), 3),
        ("q, absent", "/messages?q=xyzzy".to_owned(), 3),
        ("q with since, recent", format!("/messages?q=hello&since={recent}"), 10),
    ];
    for (name, target, times) in reads {
        let request = get(&target);
        let mut taken = Vec::new();
        let mut total = String::new();
        for _ in 0..times {
            let sent = Instant::now();
            let (status, body) = connection.send(&request);
            taken.push(sent.elapsed());
            total = match status {
                200 => body.rsplit("\"total\":").next().and_then(|t| t.split(',').next()).unwrap_or("").to_owned(),
                _ => format!("{status} {body}"),
            };
        }
        taken.sort_unstable();
        let ms = |time: Option<&Duration>| time.map_or(0.0, Duration::as_secs_f64) * 1e3;
        let total = if target == "/stats" { "" } else { &total };
        println!("| {size} | {name} | {:.2} | {:.2} | {total} |", ms(taken.get(taken.len() / 2)), ms(taken.last()));
    }
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: inbox\r\n\r\n").into_bytes()
}
