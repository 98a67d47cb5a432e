//! The service manager: the unit files, its notifications, its watchdog, and the sockets that it holds.
//!
//! The tests take systemd's part: they bind the socket that it would pass, and the one that it would be notified on. The unit
//! files are judged by systemd-analyze, where there is one.

use crate::harness::{
    Connection, Database, Delivery, Directory, SECRET, Server, comes_to_hold, delivery, ids, json, own_address,
    program, run, until,
};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// systemd-analyze; None, and a word on stderr, where it is not installed. `.ci/run` installs it, and there it must be.
fn systemd_analyze() -> Option<Command> {
    let there = Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !there {
        assert!(std::env::var_os("CI").is_none(), "systemd-analyze is not here");
        eprintln!("systemd-analyze is not here, so the unit files are not checked");
    }
    there.then(|| Command::new("systemd-analyze"))
}

/// The units with the binary of this build, and then the same with the drop-in of an instance among several.
fn installed(directory: &Directory) -> [Vec<PathBuf>; 2] {
    let program = env!("CARGO_BIN_EXE_webhook-inbox");
    ["alone", "several"].map(|name| {
        let directory = directory.path().join(name);
        let drop_ins = directory.join("webhook-inbox.service.d");
        std::fs::create_dir_all(&drop_ins).unwrap();
        if name == "several" {
            let text = unit("several/webhook-inbox.conf").replace("/usr/local/bin/webhook-inbox-postgres", program);
            std::fs::write(drop_ins.join("several.conf"), text).unwrap();
        }
        let copy = |name: &str| {
            let copy = directory.join(name);
            std::fs::write(&copy, unit(name).replace("/usr/local/bin/webhook-inbox", program)).unwrap();
            copy
        };
        vec![copy("webhook-inbox.service"), copy("webhook-inbox.socket")]
    })
}

#[test]
fn systemd_takes_the_units_without_a_warning() {
    let directory = Directory::new();
    for units in installed(&directory) {
        let Some(mut analyze) = systemd_analyze() else { return };
        let ended = run(analyze.args(["verify", "--man=no"]).args(units));
        assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn the_sandbox_leaves_an_exposure_of_1_5_at_most() {
    let directory = Directory::new();
    for units in installed(&directory) {
        let Some(mut analyze) = systemd_analyze() else { return };
        let ended = run(analyze.args(["security", "--offline=yes", "--no-pager", "--threshold=15"]).arg(&units[0]));
        assert!(ended.status.success(), "stdout:\n{}\nstderr:\n{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("Overall exposure level for webhook-inbox.service: "), "{}", ended.stdout);
    }
}

#[test]
fn every_setting_of_the_units_has_its_reason_above_it() {
    for name in ["webhook-inbox.service", "webhook-inbox.socket", "several/webhook-inbox.conf"] {
        let mut above = "";
        for line in unit(name).lines() {
            let names_itself = ["[", "Description=", "WantedBy=", "ExecStart="].iter().any(|own| line.starts_with(own));
            let is_setting = line.contains('=') && !line.starts_with('#');
            assert!(!is_setting || names_itself || !above.is_empty(), "{name}: no reason above {line}");
            above = line;
        }
    }
}

/// The socket that a service manager is notified on.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(directory: &Directory) -> Manager {
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the directory can be written");
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        Manager { socket, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("the path is UTF-8")
    }

    /// The next notification.
    #[track_caller]
    fn notification(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the service tells something");
        String::from_utf8(buffer[..length].to_vec()).expect("it is text")
    }

    /// Whether a notification with that line comes before one with another.
    #[track_caller]
    fn notifications_until(&self, line: &str) -> Vec<String> {
        let mut notifications = Vec::new();
        while !notifications.last().is_some_and(|last: &String| last.lines().any(|known| known == line)) {
            notifications.push(self.notification());
        }
        notifications
    }

    /// The notifications that have arrived, without waiting.
    fn arrived(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 4096];
        let mut notifications = Vec::new();
        while let Ok(length) = self.socket.recv(&mut buffer) {
            notifications.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        self.socket.set_nonblocking(false).unwrap();
        notifications
    }
}

#[test]
fn ready_is_notified_when_the_schema_is_applied_and_connections_are_accepted_and_stopping_when_it_stops() {
    let (directory, address) = (Directory::new(), own_address());
    Database::original(&directory).insert_all([&Delivery::of("m1")]);
    let (database, manager) = (directory.database(), Manager::new(&directory));
    let mut server = std::thread::scope(|scope| {
        let ready = scope.spawn(|| {
            let notifications = manager.notifications_until("READY=1");
            let accepts = TcpStream::connect(&address).is_ok();
            let version = Database::open(&database).version();
            (notifications, accepts, version)
        });
        let server = Server::in_directory(directory, &[("LISTEN_ADDR", &address), ("NOTIFY_SOCKET", manager.path())]);
        let (notifications, accepts, version) = ready.join().expect("the service gets ready");
        assert!(accepts, "nothing listens at READY=1");
        assert!(version > 0, "no schema at READY=1");
        assert_eq!(notifications.len(), 3, "{notifications:?}");
        assert!(
            notifications[0].starts_with("STATUS=opening ") && notifications[0].contains("inbox.db"),
            "{notifications:?}"
        );
        assert!(
            notifications[1].starts_with("STATUS=the schema is brought up to date; messages: about 1,"),
            "{notifications:?}"
        );
        assert!(notifications[1].ends_with("EXTEND_TIMEOUT_USEC=60000000\n"), "{notifications:?}");
        assert_eq!(notifications[2], format!("READY=1\nSTATUS=listening on {address}\n"));
        server
    });
    server.terminate();
    assert_eq!(server.wait_exit().code(), Some(0), "log:\n{}", server.log());
    let stopping = manager.notification();
    assert!(stopping.starts_with("STOPPING=1\nSTATUS="), "{stopping}");
}

#[test]
fn a_start_that_fails_never_says_ready() {
    let directory = Directory::new();
    let manager = Manager::new(&directory);
    for (url, status) in [("sqlite:////nowhere/inbox.db", 74), ("nonsense", 78)] {
        let ended = run(program()
            .env("WEBHOOK_SECRET", SECRET)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("DATABASE_URL", url)
            .env("NOTIFY_SOCKET", manager.path()));
        assert_eq!(ended.status.code(), Some(status), "{ended:?}");
        let notifications = manager.arrived();
        assert!(!notifications.iter().any(|one| one.contains("READY=1")), "{notifications:?}");
    }
}

#[test]
fn a_service_manager_that_cannot_be_reached_is_a_warning_and_no_more() {
    let server = Server::with(&[("NOTIFY_SOCKET", "/nowhere/notify")]);
    assert_eq!(server.get("/health/ready").status, 200);
    let warning = server.log().lines().map(json).find(|line| line["level"] == "WARNING");
    let message = warning.as_ref().and_then(|line| line["message"].as_str()).unwrap_or_default();
    assert!(message.contains("NOTIFY_SOCKET"), "log:\n{}", server.log());
}

/// The fault is staged by a lock on all of the WAL index (bytes 120 to 127, "WAL-Index Locks" in SQLite's walformat.html),
/// as a process that recovers the log would hold it for a moment: nobody can read then.
#[test]
fn the_watchdog_is_fed_while_the_database_answers_and_only_then() {
    let directory = Directory::new();
    let manager = Manager::new(&directory);
    let server = Server::in_directory(directory, &[("NOTIFY_SOCKET", manager.path()), ("WATCHDOG_USEC", "300000")]);
    let fed = || {
        manager.arrived(); // notifications from before do not count
        for _ in 0..5 {
            assert_eq!(manager.notifications_until("WATCHDOG=1").last().map(String::as_str), Some("WATCHDOG=1\n"));
        }
    };
    fed();

    // A database that takes no writes, as on a full disk or with a lock, is no reason for a restart.
    let other = Database::open(server.database());
    other.lock();
    assert_eq!(server.deliver(delivery("m1")).status, 503);
    fed();
    other.release();
    drop(other);

    let hold = "import fcntl, sys\n\
                file = open(sys.argv[1], 'r+b')\n\
                fcntl.lockf(file, fcntl.LOCK_EX, 8, 120)\n\
                print('held', flush=True)\n\
                sys.stdin.read()\n";
    let mut holder = Command::new("python3")
        .args(["-c", hold])
        .arg(server.database().with_extension("db-shm"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is Python");
    let mut held = String::new();
    BufReader::new(holder.stdout.take().expect("stdout is piped")).read_line(&mut held).unwrap();
    assert_eq!(held, "held\n");
    // SQLite tries for 10 s to read, and the watchdog's look waits for those of others. Meanwhile this reads the
    // notifications, as systemd does: a socket holds about ten of them (net.unix.max_dgram_qlen), and when it is full the
    // watchdog's thread waits. It may be full already, if Python was slow to start.
    let notified_until_not_fed = |times| {
        let mut notifications = Vec::new();
        let logged = || {
            let logged = server.log().matches("the watchdog is not fed").count() >= times;
            notifications.extend(manager.arrived()); // after the log, so that nothing sent before that line is missed
            logged
        };
        assert!(comes_to_hold(Duration::from_secs(180), logged), "log:\n{}", server.log());
        notifications
    };
    notified_until_not_fed(1); // some notifications are older than the lock
    assert_eq!(notified_until_not_fed(2), Vec::<String>::new());
    assert!(server.log().contains("the database does not answer"), "log:\n{}", server.log());
    drop(holder.stdin.take());
    holder.wait().unwrap();
    fed();
    assert_eq!(server.deliver(delivery("m1")).status, 200);
}

/// A command that takes the socket over as its standard input, and hands it on to the program as systemd does.
fn activated(socket: impl Into<OwnedFd>, count: usize) -> Command {
    let script = "exec 3<&0 4<&0 </dev/null; export LISTEN_PID=$$; exec \"$0\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_webhook-inbox")])
        .env_clear()
        .env("LISTEN_FDS", count.to_string())
        .stdin(Stdio::from(socket.into()));
    command
}

/// The next process on the same socket and the same database.
fn successor(socket: &TcpListener, directory: &Path) -> Server {
    let url = format!("sqlite:///{}", directory.join("inbox.db").display());
    let socket = socket.try_clone().expect("a socket can be held twice");
    Server::launch(activated(socket, 1), Directory::new(), &[("DATABASE_URL", &url)])
}

#[test]
fn the_socket_of_the_service_manager_takes_the_place_of_listen_addr() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = Directory::new();
    let url = format!("sqlite:///{}", directory.database().display());
    let server = Server::launch(activated(socket.try_clone().unwrap(), 1), directory, &[("DATABASE_URL", &url)]);
    assert_eq!(server.address(), socket.local_addr().unwrap());
    assert_eq!(server.deliver(delivery("m1")).status, 200);
    let listening = server.log().lines().map(json).find(|line| line["message"] == "listening");
    assert_eq!(listening.map(|line| line["socket_activation"] == true), Some(true), "log:\n{}", server.log());
}

#[test]
fn a_socket_meant_for_another_process_is_left_alone() {
    for (pid, count) in [("1", "1"), ("1", "nonsense")] {
        let server = Server::with(&[("LISTEN_PID", pid), ("LISTEN_FDS", count)]);
        assert_eq!(server.get("/health/ready").status, 200, "LISTEN_PID={pid} LISTEN_FDS={count}");
    }
}

#[test]
fn what_is_no_single_listening_tcp_socket_stops_the_start_with_exit_status_78() {
    let directory = Directory::new();
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let client = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        OwnedFd::from(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    };
    let unix = || OwnedFd::from(UnixListener::bind(directory.path().join("unix")).unwrap());
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let file = || OwnedFd::from(std::fs::File::open(env!("CARGO_MANIFEST_DIR")).unwrap());
    for (case, socket, count) in [
        ("two sockets", tcp(), 2),
        ("a Unix socket", unix(), 1),
        ("a datagram socket", udp(), 1),
        ("a connection", client(), 1),
        ("no socket", file(), 1),
    ] {
        let mut command = activated(socket, count);
        let url = format!("sqlite:///{}", directory.database().display());
        let ended = run(command.env("WEBHOOK_SECRET", SECRET).env("DATABASE_URL", url));
        assert_eq!(ended.status.code(), Some(78), "{case}\n{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{case}\n{ended:?}");
        for part in ["LISTEN_FDS", "ListenStream="] {
            assert!(ended.stderr.contains(part), "{case}: no {part:?}\n{ended:?}");
        }
    }
    assert!(!directory.database().exists(), "nothing is touched before the socket is right");
}

#[test]
fn connections_that_come_between_two_processes_are_answered_by_the_second() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = Directory::new();
    let mut first = successor(&socket, directory.path());
    first.terminate();
    assert_eq!(first.wait_exit().code(), Some(0), "log:\n{}", first.log());

    let waiting: Vec<TcpStream> = (0..20)
        .map(|index| {
            let mut stream = TcpStream::connect(socket.local_addr().unwrap()).expect("the socket still accepts");
            stream.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
            let body = delivery(&format!("m{index:02}"));
            let signature = crate::harness::sign(SECRET, &body);
            let head = format!(
                "POST /webhook HTTP/1.1\r\nHost: inbox\r\nConnection: close\r\nX-Signature: {signature}\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).unwrap();
            stream
        })
        .collect();
    let second = successor(&socket, directory.path());
    for stream in waiting {
        let reply = crate::harness::Reply::read(&mut BufReader::new(stream), "POST").expect("it is answered");
        assert_eq!(reply.status, 200, "reply: {reply:?}\nlog:\n{}", second.log());
    }
    assert_eq!(second.message_ids().len(), 20);
}

/// Clients that open a connection for each delivery, and clients that keep theirs, send without a pause while the service
/// is restarted, one process after the other on the one socket, as systemd does it.
///
/// A client sends again only when the connection was closed in order and without an answer: then the service has not
/// begun with the request. A refused connection, a reset or a broken answer fails the test.
#[test]
fn a_restart_under_load_refuses_no_connection_and_loses_no_request() {
    const RESTARTS: usize = 4;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let directory = Directory::new();
    let (over, answered, again) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let sent = Mutex::new(HashSet::new());
    let last = std::thread::scope(|scope| {
        for client in 0..8 {
            let (over, answered, again, sent) = (&over, &answered, &again, &sent);
            scope.spawn(move || {
                let mut kept: Option<Connection> = None;
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("{client}-{number}");
                    let body = delivery(&id);
                    loop {
                        let mut connection = match kept.take() {
                            Some(connection) => connection,
                            None => Connection::open(address).expect("no connection is refused"),
                        };
                        match connection.deliver(&body) {
                            Ok(reply) => {
                                assert_eq!(reply.status, 200, "{id}\nreply: {reply:?}");
                                let closes = reply.field("Connection") == Some("close");
                                kept = (client % 2 == 0 && !closes).then_some(connection);
                                break;
                            }
                            // The end of the stream, or a write after it.
                            Err(error) => {
                                let closed = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe);
                                assert!(closed, "{id}: {error}");
                                again.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    sent.lock().expect("nobody panics with the lock").insert(id);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _over = Over(&over);
        let mut server = successor(&socket, directory.path());
        for _ in 0..RESTARTS {
            let before = answered.load(Ordering::Relaxed);
            until("deliveries are answered", || answered.load(Ordering::Relaxed) >= before + 100);
            server.terminate();
            assert_eq!(server.wait_exit().code(), Some(0), "log:\n{}", server.log());
            server = successor(&socket, directory.path());
        }
        let before = answered.load(Ordering::Relaxed);
        until("deliveries are answered", || answered.load(Ordering::Relaxed) >= before + 100);
        server
    });
    let sent = sent.into_inner().expect("nobody has panicked with the lock");
    let listed: HashSet<String> = ids(&last.items("limit=100")).into_iter().collect();
    assert_eq!(listed, sent);
    println!("{} deliveries over {RESTARTS} restarts, {} sent again", sent.len(), again.into_inner());
}

/// Ends the clients when the scope ends, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
