//! The engine that the tests run on: SQLite or, with INBOX_TEST_ENGINE=postgres and the cargo feature `postgres`, a server
//! of PostgreSQL that is started for this run. INBOX_TEST_ENGINE=instances is the same with two instances on it.
//!
//! A test names a database by the path of a file. On PostgreSQL the path stands for a database of its own.

#![cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "the tests of several instances use it"))]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};

use super::{Ended, run, until};

/// The user that PostgreSQL runs as when the tests run as root, which it refuses.
const NOBODY: u32 = 65_534;

/// Whether the tests run on PostgreSQL.
pub(crate) fn is_postgres() -> bool {
    instances() > 1 || std::env::var_os("INBOX_TEST_ENGINE").is_some_and(|engine| engine == "postgres")
}

/// How many instances of the service a test starts on its database.
pub(crate) fn instances() -> usize {
    if std::env::var_os("INBOX_TEST_ENGINE").is_some_and(|engine| engine == "instances") { 2 } else { 1 }
}

/// The `DATABASE_URL` of the database that a path stands for.
pub(crate) fn database_url(path: &Path) -> String {
    if is_postgres() { postgres_url(path) } else { format!("sqlite:///{}", path.display()) }
}

/// The same on PostgreSQL, whatever the tests run on.
pub(crate) fn postgres_url(path: &Path) -> String {
    CLUSTER.url(&name_of(path))
}

/// The server of this run, which ends with it.
static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| Cluster::start(&[]));

/// The databases that were made, by their paths.
static DATABASES: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);

/// The database that a path stands for, which is made at the first call.
pub(crate) fn name_of(path: &Path) -> String {
    let path = std::path::absolute(path).expect("the path is not empty");
    let mut databases = DATABASES.lock().expect("nobody panics with the lock");
    let count = databases.len();
    let name = databases.entry(path).or_insert_with(|| format!("inbox_{count}_{:08x}", fastrand::u32(..)));
    let name = name.clone();
    drop(databases);
    let exists = CLUSTER.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'"));
    if exists == "0" {
        CLUSTER.sql("postgres", &format!("CREATE DATABASE {name}"));
    }
    name
}

/// Removes the databases of paths in a directory.
pub(crate) fn remove_databases(directory: &Path) {
    if directory.as_os_str().is_empty() {
        return; // an empty path was given to another owner
    }
    let mut databases = DATABASES.lock().expect("nobody panics with the lock");
    let gone: Vec<String> = databases.extract_if(|path, _| path.starts_with(directory)).map(|(_, name)| name).collect();
    drop(databases);
    for name in gone {
        CLUSTER.sql("postgres", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    }
}

/// Runs a statement in the database that a path stands for, and returns what psql prints.
#[track_caller]
pub(crate) fn sql(path: &Path, statement: &str) -> String {
    CLUSTER.sql(&name_of(path), statement)
}

/// Locks the messages against writes until the stdin of the process that is returned is closed.
pub(crate) fn locked(path: &Path) -> Child {
    let mut psql = CLUSTER.psql(&name_of(path));
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql can be started");
    let stdin = psql.stdin.as_mut().expect("stdin is piped");
    writeln!(stdin, "BEGIN; LOCK TABLE messages IN SHARE MODE;\n\\echo locked").expect("psql reads");
    let mut line = String::new();
    BufReader::new(psql.stdout.as_mut().expect("stdout is piped")).read_line(&mut line).expect("psql answers");
    assert_eq!(line, "locked\n");
    psql
}

/// A server of PostgreSQL in a directory of its own.
pub(crate) struct Cluster {
    pub(crate) directory: PathBuf,
    pub(crate) port: u16,
    /// A shell that ends the server and removes the directory when its stdin is closed, however this process ends.
    keeper: Child,
}

impl Cluster {
    /// Makes a cluster and starts it, with settings (`name=value`) beside those that every test needs.
    pub(crate) fn start(settings: &[&str]) -> Cluster {
        let directory = new_directory();
        let made = run(program("initdb").arg("-D").arg(&directory).args([
            "--auth=trust",
            "--username=inbox",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]));
        assert!(made.status.success(), "{made:?}");
        Cluster::of(directory, settings)
    }

    /// Starts the server of a directory that has a cluster.
    pub(crate) fn of(directory: PathBuf, settings: &[&str]) -> Cluster {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a port is free").port();
        let keeper = serve(&directory, port, settings);
        let cluster = Cluster { directory, port, keeper };
        cluster.wait();
        cluster
    }

    /// A synchronous standby of this server: what is committed here is on its disk too.
    pub(crate) fn standby(&self) -> Cluster {
        let directory = new_directory();
        let source = format!("host=127.0.0.1 port={} user=inbox application_name=s1", self.port);
        let options = ["-R", "-C", "-S", "s1", "-X", "stream", "--checkpoint=fast", "--no-sync"];
        let made = run(program("pg_basebackup").args(["-d", &source, "-D"]).arg(&directory).args(options));
        assert!(made.status.success(), "{made:?}");
        let standby = Cluster::of(directory, &["wal_retrieve_retry_interval=200ms"]);
        self.sql("postgres", "ALTER SYSTEM SET synchronous_standby_names = 's1'");
        self.sql("postgres", "SELECT pg_reload_conf()");
        until("the standby is a synchronous one", || {
            self.sql("postgres", "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1"
        });
        standby
    }

    /// Stops the server as a signal does: INT ends its connections, QUIT is like a crash.
    pub(crate) fn stop(&mut self, signal: &str) {
        let pid = self.pid();
        kill(signal, &[pid]);
        until("the server has ended", || !Path::new(&format!("/proc/{pid}")).exists() || is_zombie(pid));
    }

    /// Starts it again after [`Cluster::stop`].
    pub(crate) fn start_again(&mut self) {
        let keeper = serve(&self.directory, self.port, &[]);
        let mut before = std::mem::replace(&mut self.keeper, keeper);
        before.kill().expect("a child can be killed"); // before it removes the directory
        before.wait().expect("a child can be waited for");
        self.wait();
    }

    /// Sends a signal to the server and to all its processes.
    pub(crate) fn signal_all(&self, signal: &str) {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        kill(signal, &std::iter::once(pid).chain(children).collect::<Vec<_>>());
    }

    /// Waits until it answers.
    #[track_caller]
    pub(crate) fn wait(&self) {
        until("the server answers", || {
            let address = SocketAddr::from(([127, 0, 0, 1], self.port));
            TcpStream::connect(address).is_ok() && self.try_sql("postgres", "SELECT 1").status.success()
        });
    }

    /// The `DATABASE_URL` of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://inbox@127.0.0.1:{}/{database}", self.port)
    }

    /// What psql prints for a statement.
    #[track_caller]
    pub(crate) fn sql(&self, database: &str, statement: &str) -> String {
        let ended = self.try_sql(database, statement);
        assert!(ended.status.success(), "{statement}\n{ended:?}");
        ended.stdout.trim_end().to_owned()
    }

    pub(crate) fn try_sql(&self, database: &str, statement: &str) -> Ended {
        run(self.psql(database).args(["-c", statement]))
    }

    /// psql, which takes what follows as statements.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut psql = program("psql");
        let port = self.port.to_string();
        psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &port, "-U", "inbox", "-d", database]);
        psql
    }

    /// The process of the server itself.
    pub(crate) fn pid(&self) -> u32 {
        let pid = std::fs::read_to_string(self.directory.join("postmaster.pid")).expect("the server runs");
        pid.lines().next().and_then(|line| line.parse().ok()).expect("the first line is the process")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // What it could not remove is in the directory for temporary files.
        let _ = self.keeper.wait();
    }
}

fn kill(signal: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    // One of them may have ended meanwhile.
    Command::new("kill").args(["-s", signal]).args(pids).stderr(Stdio::null()).status().expect("there is kill");
}

/// It has ended, and its parent has not asked how.
fn is_zombie(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// A directory that the server's user owns. In memory where there is room: fsync stays on, because the program refuses a
/// server without it.
pub(crate) fn new_directory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = parent.join(format!("webhook-inbox-postgres-{}-{:08x}", std::process::id(), fastrand::u32(..)));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&directory);
    made.expect("the directory for temporary files can be written");
    if let Some(user) = user() {
        chown(&directory, Some(user), Some(user)).expect("root may give it away");
    }
    directory
}

/// A program of PostgreSQL's newest version here, as a user that it accepts.
pub(crate) fn program(name: &str) -> Command {
    command(programs().join(name))
}

/// Any program as that user.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", "/").env("LC_ALL", "C.UTF-8").env("PATH", "/usr/bin:/bin").current_dir("/");
    command.stdin(Stdio::null());
    if let Some(user) = user() {
        command.uid(user).gid(user);
    }
    command
}

/// Debian has a directory for each version.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("the package postgresql is installed");
    let versions = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    versions.filter(|programs| programs.join("postgres").exists()).max().expect("a version is there")
}

fn user() -> Option<u32> {
    let own = std::fs::metadata("/proc/self").expect("/proc is mounted").uid();
    (own == 0).then_some(NOBODY)
}

/// Starts a server and the shell that ends it.
fn serve(directory: &Path, port: u16, settings: &[&str]) -> Child {
    let script = r#"directory=$1 postgres=$2; shift 2
        "$postgres" -D "$directory" "$@" >> "$directory/server.log" 2>&1 &
        read -r _
        for signal in INT QUIT KILL; do
            pid=$(head -n 1 "$directory/postmaster.pid" 2> /dev/null) || break
            kill -s $signal "$pid" 2> /dev/null || break
            for _ in $(seq 50); do kill -0 "$pid" 2> /dev/null || break 2; sleep 0.1; done
        done
        rm -rf "$directory""#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(directory).arg(programs().join("postgres"));
    let port = format!("port={port}");
    // In the directory, so that nothing is left of a server that is killed.
    let memory = "dynamic_shared_memory_type=mmap";
    let all = ["listen_addresses=127.0.0.1", "unix_socket_directories=", &port, "max_connections=400", memory];
    for setting in all.iter().chain(settings) {
        command.args(["-c", setting]);
    }
    command.env("HOME", "/").env("LC_ALL", "C.UTF-8").current_dir("/").stdin(Stdio::piped());
    if let Some(user) = user() {
        command.uid(user).gid(user);
    }
    command.process_group(0).spawn().expect("there is a shell")
}
