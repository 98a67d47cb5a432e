//! Ingest over 32 connections alone, while another client reads in a loop, and while 64 clients wait for a message that
//! does not come, on a database of 1,000,000 messages.
//!
//! `cargo bench --bench mixed`. All lines are one service and one run; each takes in the same number of new messages.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Connection, Directory, Sample, Service};

const STORED: usize = 1_000_000;
const SENT: usize = 40_000;
const CONNECTIONS: usize = 32;
const WAITERS: usize = 64;

fn main() {
    let directory = Directory::new("mixed");
    let path = directory.join("inbox.db");
    support::fill(&path, STORED, |index| Sample::new(index, 1_000));
    let oldest = Sample::new(0, 1_000).ts;

    let service = Service::start(&path, &[]);
    while service.index_behind() > 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("| beside | messages/s | p50 ms | p99 ms | reads |");
    println!("|---|---|---|---|---|");
    let waits = |filter: &str| Some(format!("/arrivals?after=now&wait=30&{filter}"));
    for (round, (name, target, waited_for)) in [
        ("nothing", None, None),
        ("q, absent", Some("/messages?q=xyzzy".to_owned()), None),
        ("since, oldest", Some(format!("/messages?since={oldest}")), None),
        ("/stats", Some("/stats".to_owned()), None),
        ("nothing, again", None, None),
        ("64 waiting for a sender", None, waits("from=%2B1")),
        ("nothing, again", None, None),
        ("64 waiting for q", None, waits("q=xyzzy")),
    ]
    .into_iter()
    .enumerate()
    {
        let requests: Vec<Vec<u8>> =
            (0..SENT).map(|index| Sample::new(STORED + round * SENT + index, 1_000).request()).collect();
        let wait = |target: &String| {
            let mut client = TcpStream::connect(service.address).expect("the service accepts");
            client.write_all(format!("GET {target} HTTP/1.1\r\nHost: inbox\r\n\r\n").as_bytes()).expect("it reads");
            client
        };
        let waiting: Vec<TcpStream> = waited_for.iter().cycle().take(WAITERS).map(wait).collect();
        let done = AtomicBool::new(false);
        let (load, reads) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let Some(target) = target else { return 0 };
                let mut connection = Connection::open(service.address);
                let request = format!("GET {target} HTTP/1.1\r\nHost: inbox\r\n\r\n");
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) {
                    let (status, body) = connection.send(request.as_bytes());
                    assert_eq!(status, 200, "{body}");
                    reads += 1;
                }
                reads
            });
            let load = support::load(service.address, &requests, CONNECTIONS);
            done.store(true, Ordering::Relaxed);
            (load, reader.join().expect("no panic"))
        });
        drop(waiting);
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {reads} |",
            load.per_second,
            load.quantile_ms(0.5),
            load.quantile_ms(0.99),
        );
    }
    service.stop();
}
