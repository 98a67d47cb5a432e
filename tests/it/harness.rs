//! The real binary in a fresh directory, and a client that speaks HTTP/1.1 with it.
//!
//! Each test starts a server of its own on a port that the system picks, so tests run side by side. Nothing here knows
//! the program's code: it sees sockets, a database file, stdout, stderr and exit statuses, as a user does.

mod database;

pub(crate) mod engine;

mod instance;

pub(crate) use database::Database;
pub(crate) use engine::database_url;

use instance::Instance;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The secret of every server, unless a test sets another.
pub(crate) const SECRET: &str = "the secret of the tests";

/// Targets that only readers of messages and figures may ask for.
pub(crate) const READS: [&str; 12] = [
    "/messages",
    "/messages?limit=0",
    "/arrivals",
    "/arrivals/1",
    "/arrivals/1/delivery",
    "/statuses",
    "/stats",
    "/stats/history",
    "/sources",
    "/refusals",
    "/refusals/x",
    "/metrics",
];

/// For whatever has to happen, on a machine however busy. Nothing is asserted about time but this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of its own, removed when dropped, unless the test has failed: then it is named.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Directory {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("webhook-inbox-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the directory for temporary files can be written");
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The database that a server started in this directory has.
    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("inbox.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() && self.0.exists() {
            eprintln!("the directory of the test is kept: {}", self.0.display());
            return;
        }
        engine::remove_databases(&self.0);
        // A file that is left over in the temporary directory is no reason to fail a test that has passed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The binary with nothing of this process's environment, and without the settings of a service on this machine.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_webhook-inbox"));
    command.env_clear().env("WEBHOOK_INBOX_SETTINGS", "/dev/null").stdin(Stdio::null());
    command
}

/// Compiles a library of `tests/data` into a directory, for LD_PRELOAD.
pub(crate) fn preloadable(directory: &Directory, name: &str) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let library = directory.path().join(name).with_extension("so");
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(compiled.expect("there is a C compiler").success());
    library.to_str().expect("a path of the harness is text").to_owned()
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program can be started");
    let stdout = Text::collect(child.stdout.take().expect("stdout is piped"));
    let stderr = Text::collect(child.stderr.take().expect("stderr is piped"));
    let status = wait_for(&mut child).unwrap_or_else(|| {
        // It may have ended by itself in this instant; then there is nothing to kill.
        let _ = child.kill();
        panic!("{command:?} did not end\nstdout: {stdout}\nstderr: {stderr}")
    });
    Ended { status, stdout: stdout.whole(), stderr: stderr.whole() }
}

/// A command that runs until it is dropped, and writes into files.
pub(crate) struct Running(Child, Directory);

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let directory = Directory::new();
        let file = |name: &str| File::create(directory.path().join(name)).expect("the directory can be written");
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().expect("the program can be started");
        Running(child, directory)
    }

    /// What it has written to stdout or stderr so far.
    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.1.path().join(name)).expect("it is text")
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    /// Its exit status, once it has ended; None after a signal that it does not handle.
    #[track_caller]
    pub(crate) fn until_ended(&mut self) -> Option<i32> {
        match wait_for(&mut self.0) {
            Some(status) => status.code(),
            None => panic!("it did not end\nstdout: {}\nstderr: {}", self.text("stdout"), self.text("stderr")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to a process, by its name without SIG.
fn signal(pid: u32, name: &str) {
    let kill = format!("kill -s {name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
    assert!(status.success(), "{kill}: {status}");
}

/// Waits for an exit; None when it does not come in time.
fn wait_for(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// Waits until a condition holds, and fails when it does not come to hold in time.
#[track_caller]
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_to_hold(PATIENCE, condition), "waited {PATIENCE:?} in vain until {what}");
}

/// Waits until a condition holds; false when it does not come to hold in that time.
pub(crate) fn comes_to_hold(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Tells threads to stop when the test that waits for them ends, be it by a panic.
pub(crate) struct RaisedOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for RaisedOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a process has written so far, and whether that is all.
#[derive(Clone, Default)]
struct Text(Arc<Mutex<(Vec<u8>, bool)>>);

impl Text {
    /// Reads to the end, in a thread of its own, so that the writer never has to wait.
    fn collect(mut source: impl Read + Send + 'static) -> Text {
        let text = Text::default();
        let collected = text.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            loop {
                let count = source.read(&mut buffer).unwrap_or(0); // an error ends the text as its end does
                let mut text = text.0.lock().expect("nobody panics with the lock");
                text.0.extend_from_slice(&buffer[..count]);
                text.1 = count == 0;
                if count == 0 {
                    return;
                }
            }
        });
        collected
    }

    /// Waits for the end.
    fn whole(&self) -> String {
        until("the output has ended", || self.0.lock().expect("nobody panics with the lock").1);
        self.to_string()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0.lock().expect("nobody panics with the lock").0))
    }
}

/// A running service: one instance or, with INBOX_TEST_ENGINE=instances, two on one database, and each connection goes to
/// either of them.
pub(crate) struct Server {
    instances: Vec<Instance>,
    settings: Vec<(String, String)>,
    directory: Directory,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::with(&[])
    }

    /// With settings of the environment beside, or in place of, those that every test needs.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Server {
        Server::in_directory(Directory::new(), settings)
    }

    /// With whatever a test has put into the directory before.
    pub(crate) fn in_directory(directory: Directory, settings: &[(&str, &str)]) -> Server {
        Server::launch(program(), directory, settings)
    }

    /// With the program started by something else, such as a shell that sets a limit first.
    pub(crate) fn launch(mut command: Command, directory: Directory, settings: &[(&str, &str)]) -> Server {
        let settings: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        command
            .env("WEBHOOK_SECRET", SECRET)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", database_url(&directory.database()))
            .envs(settings.iter().map(|(name, value)| (name, value)));
        // A fixed address is known beforehand, and a test that sets one may have silenced the log that would tell.
        let fixed = settings.iter().find(|(name, value)| name == "LISTEN_ADDR" && !value.ends_with(":0"));
        let fixed = fixed.map(|(_, value)| value.parse::<SocketAddr>().expect("the test sets an address"));
        let count = if fixed.is_none() { engine::instances() } else { 1 };
        let instances = (0..count).map(|_| Instance::start(&mut command, fixed)).collect();
        Server { instances, settings, directory }
    }

    /// Of either instance.
    pub(crate) fn address(&self) -> SocketAddr {
        self.instances[fastrand::usize(..self.instances.len())].address
    }

    /// For a test of one process.
    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        let [instance] = &self.instances[..] else {
            panic!("this is about one process: add the test to tests/data/one_instance.txt")
        };
        instance.child.id()
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.directory.database()
    }

    /// What it has written to stdout so far.
    pub(crate) fn log(&self) -> String {
        self.instances.iter().map(|instance| instance.stdout.to_string()).collect()
    }

    /// What it has written to stderr so far.
    pub(crate) fn errors(&self) -> String {
        self.instances.iter().map(|instance| instance.stderr.to_string()).collect()
    }

    /// The log line of a reply, which may be written just after the reply.
    #[track_caller]
    pub(crate) fn log_line(&self, reply: &Reply) -> Value {
        let id = reply.field("X-Request-ID").unwrap_or_else(|| panic!("no X-Request-ID in {reply:?}"));
        let mut found = None;
        until("the request's line is in the log", || {
            found = self.instances.iter().find_map(|instance| {
                let log = instance.stdout.to_string();
                log.split_inclusive('\n').find(|line| line.ends_with('\n') && line.contains(id)).map(json)
            });
            found.is_some()
        });
        found.expect("the wait ended with one")
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        self.request_to(self.address(), method, target, fields, body)
    }

    /// The same to a certain instance.
    #[track_caller]
    fn request_to(
        &self,
        address: SocketAddr,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let reply = Connection::open(address).and_then(|mut connection| {
            let fields: Vec<_> = fields.iter().copied().chain([("Connection", "close")]).collect();
            connection.try_request(method, target, &fields, body)
        });
        reply.unwrap_or_else(|error| {
            panic!("{method} {target}: {error}\nlog:\n{}\nstderr:\n{}", self.log(), self.errors())
        })
    }

    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Reply {
        self.request("GET", target, &[], b"")
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, signature: Option<&str>, body: impl AsRef<[u8]>) -> Reply {
        let fields: Vec<_> = signature.map(|signature| ("X-Signature", signature)).into_iter().collect();
        self.request("POST", path, &fields, body.as_ref())
    }

    /// Posts a body with the signature that is right for it.
    #[track_caller]
    pub(crate) fn deliver(&self, body: impl AsRef<[u8]>) -> Reply {
        self.post("/webhook", Some(&sign(SECRET, body.as_ref())), body)
    }

    /// Posts bodies over several connections at once, and checks that each is answered 200.
    #[track_caller]
    pub(crate) fn deliver_all(&self, bodies: &[String], connections: usize) {
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..connections.min(bodies.len()) {
                scope.spawn(|| {
                    let mut connection = Connection::open(self.address()).expect("the server accepts");
                    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                        let reply = connection.deliver(body).expect("the server answers");
                        assert_eq!(reply.status, 200, "{body}\nreply: {reply:?}");
                    }
                });
            }
        });
    }

    /// The value of a metric, by its name and labels as they stand on the page; with two instances, the sum. One that is
    /// not there has counted nothing.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.shown_metric(name).unwrap_or(0.0)
    }

    /// The same, and None for one that is not there.
    #[track_caller]
    pub(crate) fn shown_metric(&self, name: &str) -> Option<f64> {
        let values = self.instances.iter().filter_map(|instance| {
            let page = self.request_to(instance.address, "GET", "/metrics", &[], b"").text();
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
            line.map(|value| value.parse::<f64>().unwrap_or_else(|_| panic!("{name} is {value} on\n{page}")))
        });
        values.reduce(|sum, value| sum + value)
    }

    /// Every item on all pages of a query, by way of the `Link` fields.
    #[track_caller]
    pub(crate) fn items(&self, query: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut next = Some(format!("/messages?{query}"));
        while let Some(target) = next {
            let reply = self.get(&target);
            assert_eq!(reply.status, 200, "{target}\nreply: {reply:?}");
            items.extend(reply.json()["data"].as_array().expect("data is an array").iter().cloned());
            next = reply.next();
            assert!(items.len() < 1_000_000, "the pages of {query} have no end");
        }
        items
    }

    /// The message_id of every message, in the order of the contract.
    #[track_caller]
    pub(crate) fn message_ids(&self) -> Vec<String> {
        ids(&self.items("limit=100"))
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        for instance in &self.instances {
            signal(instance.child.id(), name);
        }
    }

    /// Bounds the size of the files that it may write from now on, as a full disk would; None lifts the bound.
    pub(crate) fn limit_file_size(&self, bytes: Option<u64>) {
        let bytes = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        self.limit(&format!("--fsize={bytes}:unlimited"));
    }

    /// Sets a limit of the running service, as prlimit(1) takes it.
    pub(crate) fn limit(&self, limit: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("prlimit").args(["--pid", &pid, limit]).status().expect("util-linux has prlimit");
        assert!(status.success(), "prlimit {limit}: {status}");
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let ended = self.instances.iter_mut().map(|instance| wait_for(&mut instance.child));
        let mut statuses: Vec<Option<ExitStatus>> = ended.collect();
        statuses.sort_by_key(|status| status.is_some_and(|status| status.success()));
        statuses[0]
            .unwrap_or_else(|| panic!("the service did not end\nlog:\n{}\nstderr:\n{}", self.log(), self.errors()))
    }

    /// Ends the process as a power cut would, without a chance to tidy up.
    pub(crate) fn kill(&mut self) {
        for instance in &mut self.instances {
            instance.child.kill().expect("a child can be killed");
            instance.child.wait().expect("a child can be waited for");
        }
    }

    /// Kills it and starts another on the same database, with the same settings, on another port.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Starts another on the same database, after this one has ended.
    pub(crate) fn start_again(&mut self) {
        let settings = std::mem::take(&mut self.settings);
        let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.start_again_with(&settings);
    }

    /// The same with other settings.
    pub(crate) fn start_again_with(&mut self, settings: &[(&str, &str)]) {
        let directory = Directory(std::mem::take(&mut self.directory.0));
        *self = Server::in_directory(directory, settings);
    }
}

/// A line of the log, or any other JSON text.
#[track_caller]
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}: {text:?}"))
}

/// The message_id of each item.
pub(crate) fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["message_id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Base64 with padding (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().chain(&[0, 0]).take(3).fold(0, |bits, byte| (bits << 8) | usize::from(*byte));
        for place in 0..4 {
            let character = char::from(ALPHABET[(bits >> (18 - 6 * place)) & 63]);
            text.push(if place <= group.len() { character } else { '=' });
        }
    }
    text
}

/// Lower-case hex of HMAC-SHA256.
pub(crate) fn sign(secret: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> String {
    let hmac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_ref()).expect("HMAC takes keys of any length");
    hex::encode(hmac.chain_update(body).finalize().into_bytes())
}

/// A message as a sender describes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delivery {
    pub(crate) message_id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) ts: String,
    pub(crate) text: Option<String>,
}

impl Delivery {
    /// A right one, to change in what a test is about.
    pub(crate) fn of(id: &str) -> Delivery {
        Delivery {
            message_id: id.to_owned(),
            from: "+919876543210".to_owned(),
            to: "+14155550100".to_owned(),
            ts: "2025-01-15T10:00:00Z".to_owned(),
            text: Some("Hello".to_owned()),
        }
    }

    pub(crate) fn body(&self) -> String {
        serde_json::to_string(self).expect("a message is JSON")
    }
}

/// The body of a right delivery.
pub(crate) fn delivery(id: &str) -> String {
    Delivery::of(id).body()
}

/// A client's connection, kept alive.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(stream), address })
    }

    #[track_caller]
    pub(crate) fn request(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let reply = self.try_request(method, target, fields, body);
        reply.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// Posts a body with the signature that is right for it.
    pub(crate) fn deliver(&mut self, body: &str) -> std::io::Result<Reply> {
        self.try_request("POST", "/webhook", &[("X-Signature", &sign(SECRET, body))], body.as_bytes())
    }

    pub(crate) fn try_request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.address).into_bytes();
        for (name, value) in fields {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let framed = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("Transfer-Encoding"));
        if !framed && (!body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH")) {
            request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        // A refusal may come before the whole body was sent; then the answer says more than the error.
        let sent = self.send(&request);
        match self.read_reply(method) {
            Err(error) => Err(sent.err().unwrap_or(error)),
            reply => reply,
        }
    }

    /// The socket itself, for its options and its ends. Nothing may be read from it: replies may be buffered already.
    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Says that nothing more will be sent; the answers can still be read.
    pub(crate) fn finish_sending(&self) -> std::io::Result<()> {
        self.stream.get_ref().shutdown(std::net::Shutdown::Write)
    }

    /// Whether the server has closed the connection, after everything that it sent was read.
    pub(crate) fn is_at_end(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Whatever comes until the server closes the connection. What came before an error is in `bytes` too.
    pub(crate) fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
        self.stream.read_to_end(bytes)
    }

    /// The next reply, an interim one such as 100 too, to a request of that method.
    pub(crate) fn read_any_reply(&mut self, method: &str) -> std::io::Result<Reply> {
        Reply::read(&mut self.stream, method)
    }

    /// The next reply that is not an interim one, to a request of that method.
    pub(crate) fn read_reply(&mut self, method: &str) -> std::io::Result<Reply> {
        loop {
            let reply = self.read_any_reply(method)?;
            if reply.status >= 200 {
                return Ok(reply);
            }
        }
    }
}

/// A reply, whole.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Reads one, with a body as its length or the chunked coding tells (RFC 9112, section 6.3).
    pub(crate) fn read(stream: &mut impl BufRead, method: &str) -> std::io::Result<Reply> {
        let status_line = read_line(stream)?;
        let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        let status = status.ok_or_else(|| wrong(&format!("not a status line: {status_line:?}")))?;
        let mut fields = Vec::new();
        loop {
            let line = read_line(stream)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| wrong(&format!("not a field: {line:?}")))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, fields, body: Vec::new() };
        if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
            return Ok(reply);
        }
        if reply.field("Transfer-Encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                let line = read_line(stream)?;
                let length = usize::from_str_radix(&line, 16).map_err(|_| wrong(&format!("not a length: {line:?}")))?;
                let from = reply.body.len();
                reply.body.resize(from + length, 0);
                stream.read_exact(&mut reply.body[from..])?;
                if !read_line(stream)?.is_empty() {
                    return Err(wrong("a chunk that does not end"));
                }
                if length == 0 {
                    return Ok(reply);
                }
            }
        }
        match reply.field("Content-Length").map(str::parse) {
            Some(length) => {
                reply.body.resize(length.map_err(|_| wrong("Content-Length is no number"))?, 0);
                stream.read_exact(&mut reply.body)?;
            }
            None => {
                stream.read_to_end(&mut reply.body)?;
            }
        }
        Ok(reply)
    }

    /// A field's value, when it is there exactly once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        value.filter(|_| values.next().is_none())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON: {error}: {self:?}"))
    }

    /// The target that `Link: <…>; rel="next"` leads to.
    #[track_caller]
    pub(crate) fn next(&self) -> Option<String> {
        let link = self.field("Link")?;
        let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        Some(target.unwrap_or_else(|| panic!("Link is {link:?}")).to_owned())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.fields {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}", self.text())
    }
}

/// A line without its CRLF.
fn read_line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(Error::new(ErrorKind::UnexpectedEof, format!("the connection ended after {line:?}"))),
    }
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

/// An address that no other test listens on, for a server that cannot tell which port the system gave it: all of
/// 127.0.0.0/8 is this machine.
pub(crate) fn own_address() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{high}.{low}:8000", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Percent-encodes whatever has a meaning of its own in a query string.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
