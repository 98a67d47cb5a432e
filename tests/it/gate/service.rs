//! One running service per test, on a port that the system picks, and raw sockets to it.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The service, ended when the test is.
pub(super) struct Service {
    child: Child,
    pub(super) address: SocketAddr,
    log: Arc<Mutex<String>>,
    directory: std::path::PathBuf,
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Status line and fields.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn has(&self, field: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(field))
    }
}

impl Service {
    pub(super) fn start(settings: &[(&str, &str)]) -> Service {
        Service::start_by(Command::new(env!("CARGO_BIN_EXE_webhook-inbox")), settings)
    }

    /// Starts it through a shell that sets limits first.
    pub(super) fn start_within(limits: &str, settings: &[(&str, &str)]) -> Service {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{limits}; exec \"$0\""), env!("CARGO_BIN_EXE_webhook-inbox")]);
        Service::start_by(shell, settings)
    }

    /// Starts it as a user of its own who may have so many threads: root has no such limit, and another user's would
    /// count whatever else runs in that name.
    pub(super) fn start_with_threads(threads: usize, settings: &[(&str, &str)]) -> Service {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "64321", "--regid", "64321", "--clear-groups", "prlimit"]);
        command.args([&format!("--nproc={threads}"), env!("CARGO_BIN_EXE_webhook-inbox")]);
        Service::start_by(command, settings)
    }

    fn start_by(mut command: Command, settings: &[(&str, &str)]) -> Service {
        let directory = std::env::temp_dir().join(format!("inbox-gate-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&directory).unwrap();
        std::fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap(); // for the test of another user
        let mut child = command
            .env("WEBHOOK_SECRET", "secret")
            .env("DATABASE_URL", format!("sqlite:///{}/app.db", directory.display()))
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "it ended: {}", log.lock().unwrap());
            log.lock().unwrap().push_str(&line);
            if let Some((_, rest)) = line.split_once(r#""address":""#) {
                break rest.split('"').next().unwrap().parse().unwrap();
            }
        };
        let written = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Service { child, address, log, directory }
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends the bytes and reads one answer.
    pub(super) fn ask(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes); // it may have been refused before its end
        read_answer(&mut stream).unwrap_or_else(|| panic!("no answer to {:?}\n{}", lossy(bytes), self.log()))
    }

    /// Sends the bytes and reads all that comes until the service closes the connection. A reset fails the test.
    pub(super) fn talk(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes); // it may have been refused before its end
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        read.unwrap_or_else(|error| panic!("{error} after {:?} to {:?}", lossy(&answer), lossy(bytes)));
        lossy(&answer)
    }

    pub(super) fn get(&self, target: &str) -> Answer {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: inbox\r\nConnection: close\r\n\r\n").as_bytes())
    }

    pub(super) fn metric(&self, name: &str) -> f64 {
        let page = lossy(&self.get("/metrics").body);
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    /// A number from /proc/PID/status.
    pub(super) fn status(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        value.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(super) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Waits until threads and descriptors are no more than they were.
    pub(super) fn wait_until_as_before(&self, (threads, descriptors): (usize, usize)) {
        let now = || (self.status("Threads"), self.descriptors());
        let back = |now: (usize, usize)| now.0 <= threads && now.1 <= descriptors;
        wait_for(&format!("{threads} threads, {descriptors} descriptors"), || back(now()), || format!("{:?}", now()));
    }

    pub(super) fn threads_and_descriptors(&self) -> (usize, usize) {
        (self.status("Threads"), self.descriptors())
    }

    pub(super) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    }

    /// The exit status, once it has ended.
    pub(super) fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {}", self.log())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait(); // likewise
        let _ = std::fs::remove_dir_all(&self.directory); // what is left in the temporary directory does no harm
    }
}

/// Waits for a condition, 20 s at most.
pub(super) fn wait_for(what: &str, condition: impl Fn() -> bool, now: impl Fn() -> String) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what}, but it is {}", now());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads one response by its Content-Length; `None` if the connection ends before.
pub(super) fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    read_answer_to("GET", stream)
}

pub(super) fn read_answer_to(method: &str, stream: &mut TcpStream) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = lossy(&head);
    let status = head[9..12].parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map(|text| text.parse().unwrap());
    let mut body = vec![0; if method == "HEAD" || status == 100 { 0 } else { length.unwrap() }];
    stream.read_exact(&mut body).ok()?;
    Some(Answer { status, head, body })
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
