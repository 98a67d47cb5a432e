//! A connection to the server. The only file that names the driver, and the only one with `async` in it.
//!
//! The driver is asynchronous. Here each connection has a runtime of its own, which runs only while a statement does, so that
//! a connection is used as a file is. Beyond what the driver has:
//!
//! 1. Every call has a deadline on this side: a server that is frozen cannot say that it is late.
//! 2. A statement is known to be committed only at ReadyForQuery, which the driver waits for; and not even then when the
//!    server warned: it does so when a commit was not replicated as it should have been.
//! 3. A call that is late is never cancelled, because cancelling a commit that waits for its standby makes it visible.

use crate::mutex::UNPOISONED;
use crate::store::postgres::tls;
use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

pub(super) use tokio_postgres::Row;
pub(super) use tokio_postgres::types::ToSql;

/// For one host to accept a connection. The next host is tried then.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// Keeps a connection over which nothing goes known to the firewalls in between, and ends one whose server is gone.
const KEEPALIVE_TIME: Duration = Duration::from_secs(30);

/// For the machine of the server to acknowledge what was sent: one that is gone breaks the connection, while a server that
/// is busy or frozen does not.
const UNACKNOWLEDGED_TIME: Duration = Duration::from_secs(10);

/// Which server, with which database and user. Shared by all connections.
#[derive(Clone)]
pub struct Url {
    shown: String,
    hosts: Vec<Config>,
    /// None: the connection is not encrypted.
    tls: Option<MakeRustlsConnect>,
    /// The host that was the primary last: it is tried first.
    primary: Arc<AtomicUsize>,
}

/// Why a call has brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no connection, or it broke. What it was to do may have been done.
    Lost(String),
    /// It took too long. What it was to do may still be done.
    Late(Duration),
    /// The server said no, and has done nothing. The code is the SQLSTATE.
    Refused { code: String, text: String },
    /// It was done, but with a warning.
    Warned(String),
    /// The schema is not one that this program may run on.
    Schema(String),
}

impl Url {
    /// Reads a URL as libpq knows it, which may be shown as `shown`. The fault completes a sentence and does not quote it.
    pub(in crate::store) fn parse(url: &str, shown: String) -> Result<Url, String> {
        let (url, tls) = tls::of(url)?;
        let config = Config::from_str(&url).map_err(|error| {
            format!("which cannot be read: {}. Set it to postgres://user:password@host/database", causes(&error))
        })?;
        if config.get_hosts().is_empty() {
            return Err("which names no host. Set it to postgres://user:password@host/database".to_owned());
        }
        let hosts = (0..config.get_hosts().len()).map(|index| of_host(&config, index)).collect();
        Ok(Url { shown, hosts, tls, primary: Arc::default() })
    }

    /// The host that was the primary last. A connection to another one may read old things.
    pub(super) fn primary(&self) -> usize {
        self.primary.load(Relaxed)
    }
}

/// The driver would try all hosts within one call, and a frozen one would take the time of the others.
fn of_host(config: &Config, index: usize) -> Config {
    let mut of_host = Config::new();
    match &config.get_hosts()[index] {
        Host::Tcp(name) => of_host.host(name),
        #[cfg(unix)]
        Host::Unix(path) => of_host.host_path(path),
    };
    let ports = config.get_ports();
    of_host.port(ports.get(index).or(ports.first()).copied().unwrap_or(5432));
    if let Some(user) = config.get_user() {
        of_host.user(user);
    }
    if let Some(password) = config.get_password() {
        of_host.password(password);
    }
    if let Some(name) = config.get_dbname() {
        of_host.dbname(name);
    }
    if let Some(options) = config.get_options() {
        of_host.options(options);
    }
    of_host
        .application_name(config.get_application_name().unwrap_or("webhook-inbox"))
        .ssl_mode(config.get_ssl_mode())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .keepalives_idle(KEEPALIVE_TIME)
        .tcp_user_timeout(UNACKNOWLEDGED_TIME);
    of_host
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A connection to a server that takes writes.
pub(super) struct Connection {
    runtime: Runtime,
    client: Arc<Client>,
    /// What the server has warned of since the last call.
    warnings: Arc<Mutex<Vec<String>>>,
    prepared: HashMap<&'static str, Statement>,
    /// The place of its host in the URL.
    pub(super) host: usize,
    /// After a call that was late: it ends when the server has done it, or the connection is broken.
    late: Option<JoinHandle<bool>>,
}

impl Connection {
    /// Connects to the first host that takes writes, and runs some settings. Each host has [`CONNECT_TIME`].
    pub(super) fn open(url: &Url, settings: &str) -> Result<Connection, Fault> {
        let mut faults = Vec::new();
        let first = url.primary();
        for index in (0..url.hosts.len()).map(|index| (first + index) % url.hosts.len()) {
            match Connection::to(url, index, settings) {
                Ok(connection) => {
                    url.primary.store(index, Relaxed);
                    return Ok(connection);
                }
                Err(fault) => faults.push(fault),
            }
        }
        // Of several, the one that a server said is worth more than that another one is not there.
        let refused = faults.iter().position(|fault| matches!(fault, Fault::Refused { .. }));
        Err(faults.swap_remove(refused.unwrap_or(0)))
    }

    fn to(url: &Url, host: usize, settings: &str) -> Result<Connection, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|error| Fault::Lost(format!("cannot make a runtime: {error}")))?;
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&warnings);
        let config = &url.hosts[host];
        let connecting = async {
            let client = match &url.tls {
                None => connect(config, NoTls, heard).await?,
                Some(tls) => connect(config, tls.clone(), heard).await?,
            };
            client.batch_execute(settings).await?;
            Ok(client)
        };
        // A timer needs the runtime from its beginning on, so it is made in there.
        let connected = runtime.block_on(async { tokio::time::timeout(CONNECT_TIME, connecting).await });
        let connected = connected.map_err(|_| Fault::Late(CONNECT_TIME));
        let client = match connected.and_then(|connected| connected.map_err(|error| Fault::from(&error))) {
            Ok(client) => client,
            Err(fault) => {
                runtime.shutdown_background(); // a name that is still being looked up would hold this thread up
                return Err(fault);
            }
        };
        Ok(Connection { runtime, client: Arc::new(client), warnings, prepared: HashMap::new(), host, late: None })
    }

    /// Runs one statement, and with it one transaction unless one is open, within that time.
    pub(super) fn query(
        &mut self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
        time: Duration,
    ) -> Result<Vec<Row>, Fault> {
        self.warnings.lock().expect(UNPOISONED).clear();
        let (client, prepared) = (&self.client, &mut self.prepared);
        let asking = async {
            let statement = match prepared.get(sql) {
                Some(statement) => statement.clone(),
                None => {
                    let statement = client.prepare(sql).await?;
                    prepared.insert(sql, statement.clone());
                    statement
                }
            };
            client.query(&statement, parameters).await
        };
        match self.runtime.block_on(async { tokio::time::timeout(time, asking).await }) {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(Fault::from(&error)),
            Err(_) => Err(self.leave(time)),
        }
    }

    /// Runs statements without parameters: BEGIN, COMMIT, a migration.
    pub(super) fn batch(&mut self, sql: &str, time: Duration) -> Result<(), Fault> {
        self.warnings.lock().expect(UNPOISONED).clear();
        let asking = self.client.batch_execute(sql);
        match self.runtime.block_on(async { tokio::time::timeout(time, asking).await }) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Fault::from(&error)),
            Err(_) => Err(self.leave(time)),
        }
    }

    /// What the server has warned of during the last call, as a fault.
    pub(super) fn warned(&self) -> Result<(), Fault> {
        match self.warnings.lock().expect(UNPOISONED).first() {
            Some(warning) => Err(Fault::Warned(warning.clone())),
            None => Ok(()),
        }
    }

    /// Notes that the server is still at work. Behind it an empty statement is put, which ends when the work has.
    fn leave(&mut self, time: Duration) -> Fault {
        let client = Arc::clone(&self.client);
        self.late = Some(self.runtime.spawn(async move { client.batch_execute("").await.is_ok() }));
        Fault::Late(time)
    }

    /// Whether the connection can be used: None while the server still works at a call that was late, and false when the
    /// connection broke meanwhile.
    pub(super) fn settled(&mut self) -> Option<bool> {
        let Some(late) = &mut self.late else { return Some(true) };
        // Nothing is read from the socket while the runtime stands still.
        let ended = self.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(5), late).await });
        let usable = ended.ok()?.unwrap_or(false);
        self.late = None;
        Some(usable)
    }
}

/// Connects, and has a task read what the server sends from then on. Its warnings go to `heard`.
async fn connect<T>(config: &Config, tls: T, heard: Arc<Mutex<Vec<String>>>) -> Result<Client, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, mut connection) = config.connect(tls).await?;
    tokio::spawn(async move {
        // An error ends the connection, and the call that waits for it reports it.
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message
                && notice.severity() == "WARNING"
            {
                heard.lock().expect(UNPOISONED).push(notice.message().to_owned());
            }
        }
    });
    Ok(client)
}

impl Fault {
    fn code(&self) -> &str {
        match self {
            Fault::Refused { code, .. } => code,
            Fault::Lost(_) | Fault::Late(_) | Fault::Warned(_) | Fault::Schema(_) => "",
        }
    }

    /// Another transaction was in the way, and this one can be tried again.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self.code(), "40001" | "40P01")
    }

    /// Another connection may do better: this one broke, the server stops or starts, or it takes no writes any more.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Fault::Lost(_))
            || self.code().starts_with("08")
            || matches!(self.code(), "57P01" | "57P02" | "57P03" | "25006")
    }

    /// The server refuses a value: for a constraint, a bound on an index, or a trigger that raises an exception. Nothing that
    /// this program makes is refused, so an operator has added one to the tables.
    pub(super) fn is_of_a_row(&self) -> bool {
        ["22", "23", "54000", "P0001"].iter().any(|class| self.code().starts_with(class))
    }

    /// The server ended the statement, because it took longer than it may.
    pub(super) fn is_cancelled(&self) -> bool {
        self.code() == "57014"
    }

    /// There is no such table.
    pub(super) fn is_undefined_table(&self) -> bool {
        self.code() == "42P01"
    }
}

impl From<&tokio_postgres::Error> for Fault {
    fn from(error: &tokio_postgres::Error) -> Fault {
        match error.as_db_error() {
            Some(refused) => {
                Fault::Refused { code: refused.code().code().to_owned(), text: refused.message().to_owned() }
            }
            None => Fault::Lost(causes(error)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Lost(text) | Fault::Schema(text) => f.write_str(text),
            Fault::Late(time) => write!(f, "the server did not answer within {} s", time.as_secs_f64()),
            Fault::Refused { code, text } if self.is_of_a_row() => write!(
                f,
                "the server refuses a row: {text} (SQLSTATE {code}). Look for a constraint, an index or a trigger that was \
                 added to the tables"
            ),
            Fault::Refused { code, text } => write!(f, "{text} (SQLSTATE {code})"),
            Fault::Warned(text) => write!(f, "the server warned: {text}"),
        }
    }
}

/// An error with what it comes from: the driver keeps the telling part there.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}
