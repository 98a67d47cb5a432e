//! What a delivery of Meta costs, with one message and with 100, beside a native message: each message is stored once
//! more, within the delivery as it came.
//!
//! `cargo bench --bench envelopes`. In each round, each form in turn has 64 connections and a fresh database. Each figure is
//! the median of the rounds.

mod support;

use support::{Directory, Sample, Service};

const ROUNDS: usize = 3;
const MESSAGES: usize = 40_000;
const CONNECTIONS: usize = 64;

fn main() {
    let directory = Directory::new("envelopes");
    println!(
        "| delivery | messages/s | service CPU per message, µs | bytes sent per message | bytes stored per message |"
    );
    println!("|---|---|---|---|---|");
    let forms = [("native", None), ("Meta, 1 message", Some(1)), ("Meta, 100 messages", Some(100))];
    let rounds: Vec<_> = (0..ROUNDS).map(|_| forms.map(|(_, messages)| round(&directory, messages))).collect();
    for (index, (name, _)) in forms.into_iter().enumerate() {
        let of_form: Vec<[f64; 4]> = rounds.iter().map(|round| round[index]).collect();
        let [rate, cpu, sent, stored] = support::medians(&of_form);
        println!("| {name} | {rate:.0} | {cpu:.0} | {sent:.0} | {stored:.0} |");
    }
}

/// One form: so many messages in an envelope of Meta, or native ones.
fn round(directory: &Directory, in_envelope: Option<usize>) -> [f64; 4] {
    let samples: Vec<Sample> = (0..MESSAGES).map(|index| Sample::new(index, 1_000)).collect();
    let requests: Vec<Vec<u8>> = match in_envelope {
        Some(count) => samples.chunks(count).map(Sample::envelope).collect(),
        None => samples.iter().map(Sample::request).collect(),
    };
    let path = directory.join("served.db");
    let service = Service::start(&path, &[("META_APP_SECRET", support::SECRET)]);
    let before = service.cpu_of("");
    let load = support::load(service.address, &requests, CONNECTIONS);
    let cpu = service.cpu_of("").saturating_sub(before);
    let (_, stats) = service.get("/stats");
    assert!(stats.contains(&format!("\"total_messages\":{MESSAGES},")), "{stats}");
    service.stop();
    let stored = std::fs::metadata(&path).expect("it is there").len();
    std::fs::remove_file(&path).expect("it is there");
    let per_message = |count: f64| count / MESSAGES as f64;
    let sent: usize = requests.iter().map(Vec::len).sum();
    [
        load.per_second * MESSAGES as f64 / requests.len() as f64,
        per_message(cpu.as_secs_f64() * 1e6),
        per_message(sent as f64),
        per_message(stored as f64),
    ]
}
