//! `serve`: wires the parts together, runs until a signal, and takes them apart in order.

use crate::access::Access;
use crate::api::Api;
use crate::command::client::reachable;
use crate::command::{CONFIG, FAILED, Failure, IO_ERROR, tell};
use crate::config::Config;
use crate::gate::{self, Gate, Limits};
use crate::log::{Level, Log};
use crate::page::{LogIn, Page};
use crate::refusals;
use crate::server::{self, Server};
use crate::store::{Report, Store, Unavailable, sqlite_version};
use crate::systemd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::io::{ErrorKind, IsTerminal};
use std::net::TcpListener;
use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// For the requests in flight, after the first signal.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Descriptors beside those of the gate: the database and its logs, twice with the checkpointer's, the private socket,
/// stdout, signals, systemd.
const DESCRIPTORS_BESIDE: usize = 48;

/// A connection to a server of PostgreSQL: its socket, and what waits for it.
const DESCRIPTORS_PER_CONNECTION: usize = 4;

/// Connections beside those of the workers: the one that writes, the one that folds, and some that are left to the server.
const CONNECTIONS_BESIDE: usize = 5;

/// With room for fewer clients than this the service does not start.
const CONNECTIONS_MIN: usize = 16;

/// For the workers to end when the clients have used up the drain's time.
const STOP_TIME: Duration = Duration::from_millis(200);

/// For the log's last lines, when the reader of stdout is stuck.
const LOG_TIME: Duration = Duration::from_secs(1);

pub(super) fn serve() -> Result<(), Failure> {
    let started = SystemTime::now();
    let config = Config::from_env().map_err(|error| Failure { status: CONFIG, text: error.to_string() })?;
    let failed = |what: String| Failure { status: FAILED, text: what };
    // One worker is left for deliveries, and one of the others for reads other than searches.
    let lone = config.workers.saturating_sub(1).max(2);
    let mut limits = config.limits;
    let configured = limits.connections_max;
    let to_server = match config.store.database.file() {
        Some(_) => 0,
        None => (lone + 1 + CONNECTIONS_BESIDE) * DESCRIPTORS_PER_CONNECTION,
    };
    let fit = connections_that_fit(&limits, lone, DESCRIPTORS_BESIDE + to_server);
    limits.connections_max = fit.map_err(|text| Failure { status: CONFIG, text })?;
    let inherited = systemd::inherited_listener().map_err(|text| Failure { status: CONFIG, text })?;
    let log = Log::start(config.log_level).map_err(|error| failed(format!("cannot start the log: {error}")))?;
    log_panics(&log);
    let starting = Arc::new(AtomicBool::new(true));
    let mut signals = handle_signals(&starting).map_err(|error| failed(format!("cannot handle signals: {error}")))?;

    let begun = Instant::now();
    let path = config.store.database.to_string();
    let file = config.store.database.file();
    let directory = file.and_then(Path::parent).unwrap_or(Path::new(".")).to_owned();
    systemd::starting(&format!("opening {path}"), &log);
    let (opening, is_starting) = (log.clone(), Arc::clone(&starting));
    let report: Report = Arc::new(move |said| {
        opening.event(Level::Info, said, json!({}));
        if is_starting.load(Ordering::SeqCst) {
            systemd::starting(said, &opening);
        }
    });
    let store = Store::open(config.store, &report);
    let store = Arc::new(store.map_err(|error| Failure { status: IO_ERROR, text: error.to_string() })?);
    let mut details = json!({ "path": path, "duration_ms": begun.elapsed().as_millis() as u64 });
    if let Some(durability) = store.durability() {
        details["durability"] = durability.into();
    }
    log.event(Level::Info, "database opened", details);

    let activated = inherited.is_some();
    let listener = inherited.map_or_else(|| TcpListener::bind(config.listen), Ok);
    let listener = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = listener.map_err(|error| Failure {
        status: match error.kind() {
            ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied => CONFIG,
            _ => FAILED,
        },
        text: format!(
            "cannot listen on {}: {error}. Set LISTEN_ADDR to an address of this machine that is free.",
            config.listen
        ),
    })?;
    refusals::keep_at_most(config.keep_refused);
    let stopping = Arc::new(AtomicBool::new(false));
    let every_client_reads = matches!(config.access, Access::Hosts(_));
    let log_in = match &config.access {
        Access::Token(token) if config.page => {
            let log_in = LogIn::new(token.clone(), store.shared_secret());
            Some(log_in.map_err(|error| failed(format!("cannot make a key for sessions: {error}")))?)
        }
        Access::Token(_) | Access::Hosts(_) => None,
    };
    let page = config.page.then(|| Page::new(log_in));
    let api = Api {
        sources: config.sources,
        access: config.access,
        page,
        store: Arc::clone(&store),
        metrics_before: [gate::METRICS, server::METRICS],
        log: log.clone(),
        stopping: stopping.clone(),
        started,
    };
    let (listener_of_workers, private) =
        gate::bind(&directory).map_err(|error| failed(format!("cannot make a private socket: {error}")))?;
    let server = Server::start(listener_of_workers, lone + 1, api, Arc::clone(&store), log.clone())
        .map_err(|error| failed(format!("cannot start {} workers: {error}. Set WORKERS lower.", lone + 1)))?;
    let connections_max = limits.connections_max;
    let gate = Gate::start(listener, (private, lone), limits, config.trusted_proxies, server.commits(), log.clone()).map_err(
        |error| {
            failed(match error.kind() {
                ErrorKind::NotFound => format!(
                    "cannot connect to the private socket, which is reached through /proc/self/fd: {error}. Mount /proc."
                ),
                _ => format!(
                    "cannot connect to the workers: {error}. Set WORKERS lower, or allow more threads (ulimit -u, the \
                     container's pids limit)."
                ),
            })
        },
    )?;
    starting.store(false, Ordering::SeqCst); // from here on a signal lets requests in flight be answered
    let details = json!({
        "address": address.to_string(),
        "socket_activation": activated,
        "workers": config.workers,
        "version": env!("CARGO_PKG_VERSION"),
        "sqlite_version": sqlite_version(),
    });
    log.event(Level::Info, "listening", details);
    if std::io::stdout().is_terminal() {
        tell(&format!("webhook-inbox is listening on http://{}. Ctrl-C stops it.", reachable(address)));
    }
    if connections_max < configured {
        let message =
            "fewer file descriptors are allowed than MAX_CONNECTIONS needs; raise ulimit -n (systemd: LimitNOFILE=)";
        let details = json!({ "connections_max": connections_max, "configured": configured });
        log.event(Level::Warning, message, details);
    }
    for warning in config.warnings {
        log.event(Level::Warning, &warning, json!({}));
    }
    if every_client_reads && !address.ip().to_canonical().is_loopback() {
        let message =
            "every client that reaches this address can read all messages; set READ_TOKEN, or listen on 127.0.0.1";
        log.event(Level::Warning, message, json!({ "address": address.to_string() }));
    }
    systemd::ready(&format!("listening on {address}"), &log);
    let (probed, worker_answers) = (Arc::clone(&store), gate.prober());
    let alive = move || {
        probed.answers().map_err(|Unavailable(reason)| format!("the database does not answer: {reason}"))?;
        worker_answers().map_err(|error| format!("no worker answers: {error}"))
    };
    let feeder = systemd::feed_watchdog(alive, log.clone())
        .map_err(|error| failed(format!("cannot start a thread: {error}")))?;

    let signal = signals.forever().next();
    end_at_next(signals, &log).map_err(|error| failed(format!("cannot start a thread: {error}")))?;
    stopping.store(true, Ordering::Relaxed);
    log.event(Level::Info, "stopping", json!({ "signal": signal }));
    drop(feeder);
    systemd::stopping("answering what is in flight", &log);
    let deadline = Instant::now() + DRAIN_TIME;
    let still_open = gate.drain(deadline);
    let still_busy = server.stop(deadline.max(Instant::now() + STOP_TIME)); // idle workers need a moment to wake
    if let Err(Unavailable(reason)) = store.checkpoint() {
        let message = "the write-ahead log was not copied into the database; the next start reads it";
        log.event(Level::Warning, message, json!({ "reason": reason }));
    }
    log.event(
        Level::Info,
        "stopped",
        json!({ "connections_still_open": still_open, "workers_still_busy": still_busy }),
    );
    log.flush(LOG_TIME);
    Ok(())
}

/// Raises the soft limit of descriptors to the hard one; the soft one is 1024 for the sake of programs that use select(2).
/// Where even that is less than the settings can come to, returns how many connections fit: without a descriptor SQLite
/// could not open its files, and tiny_http panics. `others` are those that neither gate nor workers need.
fn connections_that_fit(limits: &Limits, lone: usize, others: usize) -> Result<usize, String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = if raised.is_ok() { limit.maximum } else { limit.current };
    let Some(allowed) = allowed else { return Ok(limits.connections_max) }; // no limit
    let beside = limits.descriptors_max(lone) - limits.connections_max + others;
    let fit = usize::try_from(allowed).unwrap_or(usize::MAX).saturating_sub(beside);
    if fit >= CONNECTIONS_MIN.min(limits.connections_max) {
        return Ok(fit.min(limits.connections_max));
    }
    Err(format!(
        "{allowed} file descriptors are allowed, and the service needs {} for {CONNECTIONS_MIN} clients. Raise ulimit -n \
         (systemd: LimitNOFILE=), or set WORKERS lower.",
        beside + CONNECTIONS_MIN
    ))
}

/// Takes over the signals that end the service: as PID 1 of a container the process would otherwise not even get them.
/// As long as `starting` is true, one ends the process at once, with status 0: a migration is one transaction, which the
/// next start begins again.
fn handle_signals(starting: &Arc<AtomicBool>) -> std::io::Result<Signals> {
    // A write beyond RLIMIT_FSIZE then fails with EFBIG, which is answered 503, where the signal would kill the process.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 0, Arc::clone(starting))?;
    }
    Signals::new([SIGTERM, SIGINT])
}

/// From now on a signal ends the process at once, whatever is in flight.
fn end_at_next(mut signals: Signals, log: &Log) -> std::io::Result<()> {
    let log = log.clone();
    let watch = move || {
        let Some(signal) = signals.forever().next() else { return };
        log.event(Level::Warning, "stopped at once", json!({ "signal": signal }));
        log.flush(LOG_TIME);
        exit(i32::from(FAILED));
    };
    std::thread::Builder::new().name("signal".to_owned()).spawn(watch).map(|_| ())
}

/// A broken invariant ends the process (Cargo.toml); this says in the log which.
fn log_panics(log: &Log) {
    let log = log.clone();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log.event(Level::Error, "panic: this is a bug in webhook-inbox", json!({ "panic": panic.to_string() }));
        log.flush(LOG_TIME);
        default(panic);
    }));
}
