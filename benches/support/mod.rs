//! What the benchmarks share: a service of their own, messages as they come in life, and a load generator.

#![allow(dead_code, unreachable_pub, reason = "each benchmark uses a part of it")]

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::config::DbConfig;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use sha2::Sha256;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const SECRET: &str = "benchmark";

const MINUTE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Microseconds of 2025-01-01T00:00:00Z.
const YEAR_2025_US: i64 = 1_735_689_600_000_000;

/// A directory of the benchmark's own, on the disk that the build is on, removed at the end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Directory {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the target directory can be written");
        Directory(path)
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // what is left over is in the target directory
    }
}

/// A message before it is sent: random ids, 20,000 senders of whom few write much, timestamps that nearly only grow.
pub struct Sample {
    pub id: String,
    pub from: String,
    pub to: String,
    pub ts: String,
    pub ts_us: i64,
    pub text: String,
}

impl Sample {
    /// The `index`-th message of a stream in which two follow each other after `step_us`.
    pub fn new(index: usize, step_us: i64) -> Sample {
        let ts_us = YEAR_2025_US + index as i64 * step_us + fastrand::i64(-5_000_000..5_000_000);
        let ts_us = ts_us / 1000 * 1000;
        let ts = jiff::Timestamp::from_microsecond(ts_us).expect("a moment of 2025 or soon after");
        let words = ["order", "invoice", "hello", "delivery", "tomorrow", "привет", "thanks", "please", "call", "ok"];
        let text: Vec<&str> = (0..fastrand::usize(3..16)).filter_map(|_| fastrand::choice(words)).collect();
        Sample {
            id: format!("wamid.{:032x}", fastrand::u128(..)),
            from: format!("+9198{:08}", (20_000.0 * fastrand::f64().powi(3)) as u32),
            to: "+14155550100".to_owned(),
            ts: format!("{ts:.3}"),
            ts_us,
            text: text.join(" "),
        }
    }

    /// The whole signed request.
    pub fn request(&self) -> Vec<u8> {
        let Sample { id, from, to, ts, text, .. } = self;
        let body = format!(r#"{{"message_id":"{id}","from":"{from}","to":"{to}","ts":"{ts}","text":"{text}"}}"#);
        signed("/webhook", "X-Signature: ", &body)
    }

    /// The whole signed request in which Meta sends some messages.
    pub fn envelope(samples: &[Sample]) -> Vec<u8> {
        let (mut contacts, mut messages) = (Vec::new(), Vec::new());
        for Sample { id, from, ts_us, text, .. } in samples {
            let (number, seconds) = (&from[1..], ts_us / 1_000_000);
            contacts.push(format!(r#"{{"profile":{{"name":"A Tester"}},"wa_id":"{number}"}}"#));
            messages.push(format!(
                r#"{{"from":"{number}","id":"{id}","timestamp":"{seconds}","type":"text","text":{{"body":"{text}"}}}}"#
            ));
        }
        let body = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"100000000000001","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"14155550100","phone_number_id":"200000000000002"}},"contacts":[{}],"messages":[{}]}},"field":"messages"}}]}}]}}"#,
            contacts.join(","),
            messages.join(",")
        );
        signed("/webhook/meta", "X-Hub-Signature-256: sha256=", &body)
    }
}

/// A whole request; the signature is in that field, behind that prefix.
fn signed(path: &str, field: &str, body: &str) -> Vec<u8> {
    let tag = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length").chain_update(body);
    let (tag, length) = (hex::encode(tag.finalize().into_bytes()), body.len());
    format!("POST {path} HTTP/1.1\r\nHost: inbox\r\n{field}{tag}\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The real binary on a port of its own.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
}

impl Service {
    pub fn start(database: &Path, variables: &[(&str, &str)]) -> Service {
        Service::start_build(Path::new(env!("CARGO_BIN_EXE_webhook-inbox")), database, variables)
    }

    pub fn start_build(binary: &Path, database: &Path, variables: &[(&str, &str)]) -> Service {
        let mut child = Command::new(binary)
            .env_clear()
            .env("WEBHOOK_INBOX_SETTINGS", "/dev/null")
            .env("WEBHOOK_SECRET", SECRET)
            .env("DATABASE_URL", format!("sqlite:///{}", database.display()))
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo has built the binary");
        let mut log = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).expect("the log is text"), 0, "the service did not start");
            let event: serde_json::Value = serde_json::from_str(&line).expect("the log is JSON");
            if event["message"] == "listening" {
                break event["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
            }
        };
        // The log is read, as it would be, and thrown away.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Service { child, address }
    }

    /// CPU time of the living threads whose name begins with `prefix`; of all of them when it is empty.
    pub fn cpu_of(&self, prefix: &str) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux");
        let named = |task: &std::fs::DirEntry| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with(prefix))
        };
        tasks.flatten().filter(named).filter_map(|task| cpu_in(&task.path())).sum()
    }

    /// A figure of /proc/PID/status in KiB: VmHWM (the peak), VmRSS.
    pub fn memory_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    pub fn get(&self, target: &str) -> (u16, String) {
        let mut connection = Connection::open(self.address);
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: inbox\r\n\r\n").as_bytes())
    }

    /// Messages that the index of `q` does not have yet.
    pub fn index_behind(&self) -> usize {
        let (_, page) = self.get("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix("inbox_search_index_behind_messages "));
        line.and_then(|count| count.parse().ok()).expect("the service has this figure")
    }

    /// SIGTERM, and wait.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(pid).status(); // when it is gone already, wait says so
        let _ = self.child.wait();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill(); // after stop there is nothing left to kill
        let _ = self.child.wait();
    }
}

/// CPU time of this process so far, the load generator's mostly, threads that have ended included (proc(5)).
fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10) // USER_HZ is 100 on every Linux
}

/// CPU time of a thread, by its directory in /proc. The ticks in `stat` are as long as what one of many threads takes.
fn cpu_in(task: &Path) -> Option<Duration> {
    let schedstat = std::fs::read_to_string(task.join("schedstat")).ok()?;
    Some(Duration::from_nanos(schedstat.split_whitespace().next()?.parse().ok()?))
}

/// A keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of an answer that are in the buffer.
    filled: usize,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a TCP socket");
        Connection { stream, buffer: vec![0; 128 << 10], filled: 0 }
    }

    /// Sends a whole request and reads its answer: status and body.
    pub fn send(&mut self, request: &[u8]) -> (u16, String) {
        let (head, body) = self.exchange(request);
        (self.status(), String::from_utf8_lossy(&self.buffer[head..body]).into_owned())
    }

    /// Sends a whole request and returns the target of the answer's Link field.
    pub fn link(&mut self, request: &[u8]) -> Option<String> {
        let (head, _) = self.exchange(request);
        let head = String::from_utf8_lossy(&self.buffer[..head]);
        let link = head.lines().find_map(|line| line.strip_prefix("Link: <"))?;
        Some(link.split('>').next()?.to_owned())
    }

    /// Leaves the answer in the buffer: where its head ends, and where its body does.
    fn exchange(&mut self, request: &[u8]) -> (usize, usize) {
        self.stream.write_all(request).expect("the service reads");
        loop {
            if let Some(answer) = self.read() {
                return answer;
            }
        }
    }

    /// Waits for something to read and reads it; where the head ends and where the body does once the answer is whole.
    fn read(&mut self) -> Option<(usize, usize)> {
        let read = self.stream.read(&mut self.buffer[self.filled..]).expect("the service answers within a minute");
        assert_ne!(read, 0, "the service closed the connection");
        self.filled += read;
        let head = memchr::memmem::find(&self.buffer[..self.filled], b"\r\n\r\n")?;
        let text = std::str::from_utf8(&self.buffer[..head]).expect("ASCII");
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        let end = head + 4 + length.unwrap_or(0);
        if end > self.buffer.len() {
            self.buffer.resize(end, 0);
        }
        (self.filled >= end).then(|| {
            self.filled = 0;
            (head + 4, end)
        })
    }

    fn status(&self) -> u16 {
        self.buffer[9..12].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'))
    }
}

/// What a run of the load generator measured.
pub struct Load {
    pub per_second: f64,
    /// Sorted.
    latencies: Vec<Duration>,
    /// Still open, so that the threads that serve them can be measured.
    _connections: Vec<Connection>,
}

impl Load {
    pub fn quantile_ms(&self, q: f64) -> f64 {
        let index = (self.latencies.len() as f64 * q) as usize;
        let latency = self.latencies.get(index.min(self.latencies.len().saturating_sub(1)));
        latency.map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// [`load`], and what of the CPU each stage took for it: messages per second; p50 and p99 in ms; then ms of CPU per
/// 1,000 messages of the gate, tiny_http, the workers, the log and the load generator.
pub fn load_by_stage(service: &Service, requests: &[Vec<u8>], connections: usize) -> [f64; 8] {
    let own_before = own_cpu();
    let load = load(service.address, requests, connections);
    let own = own_cpu() - own_before;
    // Builds up to 0.1.0 had a thread for each connection, and workers that wrote.
    let (gate, log) = (service.cpu_of("gate") + service.cpu_of("connection"), service.cpu_of("log"));
    let storing = ["worker", "writer", "notifier", "checkpointer", "teller"];
    let workers = storing.into_iter().map(|name| service.cpu_of(name)).sum::<Duration>();
    let tiny_http = service.cpu_of("").saturating_sub(gate + workers + log);
    let per_1000 = |time: Duration| time.as_secs_f64() * 1e6 / requests.len() as f64;
    let [gate, tiny_http, workers, log, own] = [gate, tiny_http, workers, log, own].map(per_1000);
    [load.per_second, load.quantile_ms(0.5), load.quantile_ms(0.99), gate, tiny_http, workers, log, own]
}

/// Sends all requests, each once, over so many keep-alive connections, and expects 200 for each.
///
/// The connections are opened one after the other, each proven by a request: tiny_http alone leaves some of a burst
/// without an answer for ever. One thread serves them all, as in wrk, so that of the cores that it shares with the
/// service it takes no more than it must.
pub fn load(address: SocketAddr, requests: &[Vec<u8>], connections: usize) -> Load {
    let open = |_| {
        let mut connection = Connection::open(address);
        let (status, _) = connection.send(b"GET /health/live HTTP/1.1\r\nHost: inbox\r\n\r\n");
        assert_eq!(status, 200);
        connection
    };
    let mut connections: Vec<Connection> = (0..connections).map(open).collect();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("a descriptor");
    let mut left = requests.iter();
    let mut latencies = Vec::with_capacity(requests.len());
    let begun = Instant::now();
    let mut sent = vec![begun; connections.len()];
    for (index, (connection, request)) in connections.iter_mut().zip(&mut left).enumerate() {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&epoll, &connection.stream, data, epoll::EventFlags::IN).expect("a socket");
        connection.stream.write_all(request).expect("the service reads");
    }
    let mut events = Vec::with_capacity(connections.len());
    while latencies.len() < requests.len() {
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&MINUTE)).expect("no signal");
        assert!(!events.is_empty(), "the service answers within a minute");
        for event in events.drain(..) {
            let index = event.data.u64() as usize;
            let connection = &mut connections[index];
            let Some((head, end)) = connection.read() else { continue };
            latencies.push(sent[index].elapsed());
            assert_eq!(connection.status(), 200, "{}", String::from_utf8_lossy(&connection.buffer[head..end]));
            if let Some(request) = left.next() {
                sent[index] = Instant::now();
                connection.stream.write_all(request).expect("the service reads");
            }
        }
    }
    let per_second = requests.len() as f64 / begun.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Load { per_second, latencies, _connections: connections }
}

/// Stores messages by the `import` of a build, which makes the tables.
pub fn import(binary: &Path, database_url: &str, samples: impl Iterator<Item = Sample>) {
    let mut child = Command::new(binary)
        .arg("import")
        .env_clear()
        .env("WEBHOOK_INBOX_SETTINGS", "/dev/null")
        .env("DATABASE_URL", database_url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is a build of the program");
    let mut lines = std::io::BufWriter::new(child.stdin.take().expect("it is piped"));
    for Sample { id, from, to, ts, text, .. } in samples {
        let line = format!(
            r#"{{"message_id":"{id}","from":"{from}","to":"{to}","ts":"{ts}","text":"{text}","created_at":"{ts}"}}"#
        );
        writeln!(lines, "{line}").expect("it reads all");
    }
    drop(lines);
    assert!(child.wait().expect("a child").success(), "import has failed");
}

/// The database as another program has it open.
pub fn another_program(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).expect("it is there");
    connection.busy_timeout(Duration::from_secs(60)).expect("a number");
    connection
}

/// A connection as the service has it: for the raw limit and for making large databases.
fn raw_database(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).expect("the directory can be written");
    connection.pragma_update(None, "journal_mode", "wal").expect("WAL");
    connection.pragma_update(None, "synchronous", "full").expect("a PRAGMA");
    connection.pragma_update(None, "cache_size", -(16 << 10)).expect("a PRAGMA");
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).expect("as the service does");
    connection
}

/// How long an fdatasync takes after a page of 4 KiB was written, in a file that has its place on the disk as the
/// write-ahead log has: the median of 1,000.
pub fn bare_fsync(path: &Path) -> Duration {
    const PAGES: u64 = 1_000;
    let page = [7; 4096];
    let file = std::fs::File::create(path).expect("the directory can be written");
    let write = |index| file.write_all_at(&page, index * page.len() as u64).expect("room on the disk");
    (0..PAGES).for_each(write);
    file.sync_all().expect("a disk that syncs");
    let timed = |index| {
        let begun = Instant::now();
        write(index);
        file.sync_data().expect("a disk that syncs");
        begun.elapsed()
    };
    let mut times: Vec<Duration> = (0..PAGES).map(timed).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Of each column of some rounds the median.
pub fn medians<const COLUMNS: usize>(rounds: &[[f64; COLUMNS]]) -> [f64; COLUMNS] {
    std::array::from_fn(|column| {
        let mut values: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

/// The sizes of databases that the command line names, or else these.
pub fn sizes(default: &[usize]) -> Vec<usize> {
    let named: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if named.is_empty() { default.to_vec() } else { named }
}

/// Makes a database of the service's schema with so many messages, the `index`-th as `sample` gives it.
///
/// Fast, because a benchmark's data need not be durable: no journal, no fsync, and the indexes in the order of time and
/// of senders are built at the end. It takes 2 to 3 minutes and 5 GB of memory for 10,000,000 messages.
pub fn fill(path: &Path, size: usize, sample: impl Fn(usize) -> Sample) {
    Service::start(path, &[]).stop(); // creates the schema
    let mut connection = raw_database(path);
    for (name, value) in [("journal_mode", "off"), ("synchronous", "off"), ("temp_store", "memory")] {
        connection.pragma_update(None, name, value).expect("a PRAGMA");
    }
    connection.pragma_update(None, "cache_size", -(4 << 20)).expect("a PRAGMA");
    let transaction = connection.transaction().expect("no other program has it");
    let indexes: Vec<(String, String)> = {
        let mut statement =
            transaction.prepare(include_str!("../../sql/sqlite/schema_objects.sql")).expect("the schema");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("the schema is read");
        let rows = rows.map(|row: rusqlite::Result<(String, String)>| row.expect("two texts"));
        rows.filter(|(_, sql)| sql.starts_with("CREATE INDEX")).collect()
    };
    for (name, _) in &indexes {
        transaction.execute_batch(&format!("DROP INDEX {name}")).expect("it is there");
    }
    {
        let mut insert = transaction.prepare(include_str!("../../sql/sqlite/insert.sql")).expect("the schema is there");
        (0..size).for_each(|index| insert_one(&mut insert, index + 1, &sample(index)));
    }
    for (_, sql) in &indexes {
        transaction.execute_batch(sql).expect("it was there");
    }
    transaction.commit().expect("room on the disk");
}

fn insert_one(insert: &mut rusqlite::Statement<'_>, seq: usize, Sample { id, from, to, ts, ts_us, text }: &Sample) {
    insert.execute((seq as i64, id, from, to, ts, text, ts, ts_us, 0)).expect("room on the disk");
}

/// The raw limit, in rows per second: one thread inserts the samples into the database with the service's own statement,
/// so many in a COMMIT. The database is removed.
pub fn raw_rate(path: &Path, samples: &[Sample], rows_per_commit: usize) -> f64 {
    let mut connection = raw_database(path);
    let last = connection.query_row("SELECT coalesce(max(seq), 0) FROM messages", (), |row| row.get::<_, i64>(0));
    let mut seq = last.expect("the schema is there") as usize;
    let begun = Instant::now();
    for group in samples.chunks(rows_per_commit) {
        let transaction = connection.transaction().expect("no other program has it");
        {
            let mut insert =
                transaction.prepare_cached(include_str!("../../sql/sqlite/insert.sql")).expect("the schema is there");
            for sample in group {
                seq += 1;
                insert_one(&mut insert, seq, sample);
            }
        }
        transaction.commit().expect("room on the disk");
    }
    let per_second = samples.len() as f64 / begun.elapsed().as_secs_f64();
    drop(connection);
    std::fs::remove_file(path).expect("it is there");
    per_second
}
