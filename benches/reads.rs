//! What reads cost on databases of 10,000, 1,000,000 and 10,000,000 messages, through the real binary.
//!
//! `cargo bench --bench reads` takes some minutes, most of it for making the largest database, and 4 GB of disk;
//! `cargo bench --bench reads -- 10000 1000000` measures those sizes only.

mod support;

use std::time::{Duration, Instant};
use support::{Connection, Directory, Sample, Service};

/// Messages are 1 s apart, so that 10,000,000 of them take 115 days.
const STEP_US: i64 = 1_000_000;

/// Of each read, the answers from each database. A search over everything takes seconds on the largest one.
const TIMES: usize = 50;
const TIMES_OF_SEARCHES: usize = 3;

fn main() {
    let directory = Directory::new("reads");
    let mut stands: Vec<Stand> = support::sizes(&[10_000, 1_000_000, 10_000_000])
        .into_iter()
        .map(|size| Stand::start(&directory, size))
        .collect();
    println!("p50 ms / max ms / total");
    println!();
    row("read", stands.iter().map(|stand| format!("{} messages", stand.size)), "last to first");
    row("---", stands.iter().map(|_| "---".to_owned()), "---");
    row(
        "start until listening, ms",
        stands.iter().map(|stand| format!("{:.0}", stand.started.as_secs_f64() * 1e3)),
        "",
    );
    row("idle RSS, MiB", stands.iter().map(|stand| format!("{:.0}", stand.idle_mib)), "");
    row("index of q built, s", stands.iter().map(|stand| format!("{:.1}", stand.indexed.as_secs_f64())), "");
    let bytes = |stand: &Stand| format!("{}, with the index {}", stand.bytes[0], stand.bytes[1]);
    row("bytes per message on disk", stands.iter().map(bytes), "");
    for (index, name) in NAMES.into_iter().enumerate() {
        let times = if name.starts_with("q, ") { TIMES_OF_SEARCHES } else { TIMES };
        let mut taken = vec![Vec::new(); stands.len()];
        for _ in 0..times {
            for (stand, taken) in stands.iter_mut().zip(&mut taken) {
                taken.push(stand.read(index));
            }
        }
        taken.iter_mut().for_each(|taken| taken.sort_unstable());
        let p50 = |taken: &Vec<Duration>| taken[times / 2].as_secs_f64() * 1e3;
        let cells = stands.iter().zip(&taken).map(|(stand, taken)| {
            format!("{:.2} / {:.2} / {}", p50(taken), taken[times - 1].as_secs_f64() * 1e3, stand.total)
        });
        let ratio = p50(&taken[taken.len() - 1]) / p50(&taken[0]);
        row(name, cells, &format!("{ratio:.1}"));
    }
    stands.into_iter().for_each(|stand| stand.service.stop());
}

fn row(name: &str, cells: impl Iterator<Item = String>, ratio: &str) {
    println!("| {name} | {} | {ratio} |", cells.collect::<Vec<_>>().join(" | "));
}

const NAMES: [&str; 13] = [
    "first page",
    "deep offset",
    "deep cursor",
    "from, frequent",
    "from, rare",
    "from frequent, since the middle",
    "since, recent",
    "since, oldest",
    "/stats",
    "q, rare",
    "q, common",
    "q, absent",
    "since, recent, and q",
];

/// A service with so many messages. All of them run at once and are asked in turns, since the machine's speed changes.
struct Stand {
    size: usize,
    service: Service,
    connection: Connection,
    /// In the order of [`NAMES`].
    requests: [Vec<u8>; NAMES.len()],
    /// What the last answer gave as its total.
    total: String,
    started: Duration,
    idle_mib: f64,
    /// From the start on, until the index of q has all messages.
    indexed: Duration,
    /// Per message on disk, before there was the index and after.
    bytes: [u64; 2],
}

impl Stand {
    fn start(directory: &Directory, size: usize) -> Stand {
        let path = directory.join(&format!("{size}.db"));
        support::fill(&path, size, |index| {
            let mut sample = Sample::new(index, STEP_US);
            if index % (size / 50) == 0 {
                sample.text.push_str(" zanzibar");
            }
            sample
        });
        let bytes = || path.metadata().map_or(0, |metadata| metadata.len()) / size as u64;
        let bytes_before = bytes();
        let begun = Instant::now();
        let service = Service::start(&path, &[("IDLE_TIMEOUT_MS", "3600000")]); // the others are made meanwhile
        let started = begun.elapsed();
        while service.index_behind() > 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        let indexed = begun.elapsed();
        support::another_program(&path)
            .pragma_query(None, "wal_checkpoint", |_| Ok(()))
            .expect("no transaction is open");
        let bytes = [bytes_before, bytes()];
        let idle_mib = service.memory_kib("VmRSS") as f64 / 1024.0;
        let mut connection = Connection::open(service.address);

        let since = |part: f64| Sample::new((size as f64 * part) as usize, STEP_US).ts;
        // The newest hundredth fills a page on the smallest database too.
        let (recent, middle, oldest) = (since(0.99), since(0.5), since(0.0));
        let frequent = "%2B919800000000";
        let rare = "%2B919800012345";
        let cursor = connection.link(&get(&format!("/messages?offset={}", size / 2))).expect("half of them follow");
        let targets = [
            "/messages".to_owned(),
            format!("/messages?offset={}", size - 100),
            cursor,
            format!("/messages?from={frequent}"),
            format!("/messages?from={rare}"),
            format!("/messages?from={frequent}&since={middle}"),
            format!("/messages?since={recent}"),
            format!("/messages?since={oldest}"),
            "/stats".to_owned(),
            "/messages?q=zanzibar".to_owned(),
            "/messages?q=HELLO".to_owned(),
            "/messages?q=xyzzy".to_owned(),
            format!("/messages?q=hello&since={recent}"),
        ];
        let requests = targets.map(|target| get(&target));
        Stand { size, service, connection, requests, total: String::new(), started, idle_mib, indexed, bytes }
    }

    /// How long the answer takes.
    fn read(&mut self, index: usize) -> Duration {
        let sent = Instant::now();
        let (status, body) = self.connection.send(&self.requests[index]);
        let taken = sent.elapsed();
        let after = |name| body.rsplit(name).next().and_then(|rest| rest.split(',').next()).unwrap_or("").to_owned();
        self.total = match status {
            200 if body.starts_with("{\"total_messages\":") => after("\"total_messages\":"),
            200 => after("\"total\":"),
            _ => format!("{status} {body}"),
        };
        taken
    }
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: inbox\r\n\r\n").into_bytes()
}
