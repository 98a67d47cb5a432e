//! `serve`: wires the parts together, runs until a signal, and takes them apart in order.

use crate::access::Access;
use crate::api::Api;
use crate::command::{CONFIG, FAILED, Failure, IO_ERROR};
use crate::config::Config;
use crate::gate::{self, Gate};
use crate::log::{Level, Log};
use crate::metrics::Metrics;
use crate::server::Server;
use crate::store::{Store, Unavailable, sqlite_version};
use crate::systemd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// For the requests in flight, after the first signal.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Connections between gate and tiny_http for each worker: a delivery leaves its worker while it waits for its COMMIT, so
/// more requests are under way than workers, and a group can be larger than their number.
const CONNECTIONS_PER_WORKER: usize = 4;

/// Descriptors beside those of clients (one for each) and of the connections to tiny_http (three): the database and its
/// logs, the private socket, stdout, signals, systemd.
const DESCRIPTORS_BESIDE: usize = 64;

/// For the workers to end when the clients have used up the drain's time.
const STOP_TIME: Duration = Duration::from_millis(200);

/// For the log's last lines, when the reader of stdout is stuck.
const LOG_TIME: Duration = Duration::from_secs(1);

pub(super) fn serve() -> Result<(), Failure> {
    let config = Config::from_env().map_err(|error| Failure { status: CONFIG, text: error.to_string() })?;
    let failed = |what: String| Failure { status: FAILED, text: what };
    let deliveries = (config.workers * CONNECTIONS_PER_WORKER).min(config.limits.connections_max);
    let descriptors = deliveries * 3 + config.limits.descriptors_max() + DESCRIPTORS_BESIDE;
    raise_descriptor_limit(descriptors as u64).map_err(|text| Failure { status: CONFIG, text })?;
    let inherited = systemd::inherited_listener().map_err(|text| Failure { status: CONFIG, text })?;
    let log = Log::start(config.log_level).map_err(|error| failed(format!("cannot start the log: {error}")))?;
    log_panics(&log);
    let serving = Arc::new(AtomicBool::new(false));
    let signal = watch_signals(&log, &serving).map_err(|error| failed(format!("cannot handle signals: {error}")))?;

    let metrics = Arc::new(Metrics::new());
    let begun = Instant::now();
    let path = config.store.path.display().to_string();
    let directory = config.store.path.parent().unwrap_or(Path::new(".")).to_owned();
    systemd::starting(&format!("opening {path}"), &log);
    let store = Store::open(config.store, Arc::clone(&metrics));
    let store = Arc::new(store.map_err(|error| Failure { status: IO_ERROR, text: error.to_string() })?);
    let details = json!({ "path": path, "duration_ms": begun.elapsed().as_millis() as u64 });
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
    let stopping = Arc::new(AtomicBool::new(false));
    let anybody_reads = matches!(config.access, Access::Hosts(_));
    let api =
        Api::new(config.secrets, config.access, Arc::clone(&store), metrics.clone(), log.clone(), stopping.clone());
    let (private, upstream) =
        gate::bind(&directory, deliveries).map_err(|error| failed(format!("cannot make a private socket: {error}")))?;
    let server = Server::start(private, config.workers, Arc::new(api), metrics.clone(), log.clone())
        .map_err(|error| failed(format!("cannot start {} workers: {error}. Set WORKERS lower.", config.workers)))?;
    serving.store(true, Ordering::SeqCst); // from here on a signal lets requests in flight be answered
    let gate = Gate::start(listener, upstream, config.limits, config.trusted_proxies, metrics, log.clone()).map_err(
        |error| {
            failed(format!(
                "cannot connect {} workers: {error}. Set WORKERS lower, or allow more threads (ulimit -u, the \
                 container's pids limit).",
                config.workers
            ))
        },
    )?;
    let details = json!({
        "address": address.to_string(),
        "socket_activation": activated,
        "workers": config.workers,
        "version": env!("CARGO_PKG_VERSION"),
        "sqlite_version": sqlite_version(),
    });
    log.event(Level::Info, "listening", details);
    if anybody_reads && !address.ip().to_canonical().is_loopback() {
        let message = "whoever reaches this address can read all messages; set READ_TOKEN, or listen on 127.0.0.1";
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

    let signal = signal.recv().map_err(|_| failed("the thread that waits for signals is gone".to_owned()))?;
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
/// Fails when what is configured can come to more: without a descriptor SQLite could not open its files, and tiny_http
/// panics.
fn raise_descriptor_limit(needed: u64) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let allowed = if raised.is_ok() { limit.maximum } else { limit.current };
    match allowed {
        Some(allowed) if allowed < needed => Err(format!(
            "{allowed} file descriptors are allowed, and it can come to {needed}. Raise ulimit -n (systemd: LimitNOFILE=), \
             or set MAX_CONNECTIONS or WORKERS lower."
        )),
        _ => Ok(()), // None is no limit
    }
}

/// Takes over the signals that end the service, in a thread that sends the first one. As PID 1 of a container the process
/// would otherwise not even get them. A second one ends the process at once, and so does any before it is `serving`:
/// a migration is one transaction, which the next start begins again.
fn watch_signals(log: &Log, serving: &Arc<AtomicBool>) -> std::io::Result<Receiver<i32>> {
    // A write beyond RLIMIT_FSIZE then fails with EFBIG, which is answered 503, where the signal would kill the process.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let (first, receiver) = channel();
    let (log, serving) = (log.clone(), Arc::clone(serving));
    let watch = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            if serving.load(Ordering::SeqCst) && !stopping {
                stopping = true;
                let _ = first.send(signal); // nobody receives it only when the service is ending already
                continue;
            }
            let status = if stopping { FAILED } else { 0 };
            log.event(Level::Warning, "stopped at once", json!({ "signal": signal }));
            log.flush(LOG_TIME);
            exit(i32::from(status));
        }
    };
    std::thread::Builder::new().name("signal".to_owned()).spawn(watch)?;
    Ok(receiver)
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
