//! What the gate costs: durable messages per second over 64 connections with it, and with tiny_http on the network itself.
//!
//! `cargo bench --bench gate`. Both run in this process, one after the other, three times over, on fresh databases. The
//! bare listener is here only: the program has none (DESIGN.md, "Why a gate stands in front of tiny_http").

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};
use support::{Directory, Sample};
use webhook_inbox::access::{Access, AllowedHosts};
use webhook_inbox::api::Api;
use webhook_inbox::gate::{self, Gate, Limits, TrustedProxies};
use webhook_inbox::log::{Level, Log};
use webhook_inbox::server::{self, Server};
use webhook_inbox::store::{Location, Options, Report, Retention, Store};
use webhook_inbox::webhook::{Secret, Secrets, Sources};

const CONNECTIONS: usize = 64;
const MESSAGES: usize = 50_000;
const WORKERS: usize = 4;

fn main() {
    let directory = Directory::new("gate");
    println!("| round | tiny_http alone, messages/s | behind the gate, messages/s | of that |");
    println!("|---|---|---|---|");
    for round in 1..=3 {
        let bare = run(&directory.join(&format!("bare-{round}.db")), false);
        let gated = run(&directory.join(&format!("gated-{round}.db")), true);
        println!("| {round} | {bare:.0} | {gated:.0} | {:.2} |", gated / bare);
    }
}

/// Messages per second of one run.
fn run(database: &Path, gated: bool) -> f64 {
    let requests: Vec<Vec<u8>> = (0..MESSAGES).map(|index| Sample::new(index, 1_000).request()).collect();
    let log = Log::start(Level::Error).expect("a thread");
    let options = Options {
        database: Location::Sqlite(database.to_owned()),
        retention: Retention::default(),
        searches_max: 1,
        search_index: false,
    };
    let store =
        Arc::new(Store::open(options, &(Arc::new(|_: &str| {}) as Report)).expect("the directory can be written"));
    let current = Secret::new(support::SECRET.as_bytes()).expect("it is not empty");
    let sources = Sources {
        native: Some(Secrets { current, previous: None }),
        standard: None,
        meta: None,
        lookalikes: Default::default(),
    };
    let stopping = Arc::new(AtomicBool::new(false));
    let access = Access::Hosts(AllowedHosts::default());
    let (metrics, started) = ([gate::METRICS, server::METRICS], SystemTime::now());
    let (log_of_api, store_of_api) = (log.clone(), Arc::clone(&store));
    let api = Api {
        sources,
        access,
        page: None,
        store: store_of_api,
        metrics_before: metrics,
        log: log_of_api,
        stopping,
        started,
    };
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (server, gate) = if gated {
        let fallback = database.parent().expect("it is in a directory");
        let (listener_of_workers, private) = gate::bind(fallback).expect("a socket");
        let server = Server::start(listener_of_workers, WORKERS, api, store, log.clone()).expect("threads");
        let proxies = TrustedProxies::default();
        let commits = server.commits();
        let gate = Gate::start(listener, (private, WORKERS - 1), Limits::DEFAULT, proxies, commits, log);
        (server, Some(gate.expect("threads")))
    } else {
        (Server::start(listener, WORKERS, api, store, log).expect("threads"), None)
    };
    let per_second = support::load(address, &requests, CONNECTIONS).per_second;
    let deadline = || Instant::now() + Duration::from_secs(10);
    if let Some(gate) = gate {
        gate.drain(deadline());
    }
    server.stop(deadline());
    per_second
}
