//! systemd, or another service manager that speaks its protocol: the socket that it holds for us, what it is notified of, and its
//! watchdog.
//!
//! Without a service manager nothing happens here. The protocol's own variables (`LISTEN_FDS`, `LISTEN_PID`,
//! `NOTIFY_SOCKET`, `WATCHDOG_USEC`) are not settings: sd-notify reads them where it needs them.

use crate::log::{Level, Log};
use sd_notify::NotifyState;
use serde_json::json;
use std::net::TcpListener;
use std::os::fd::FromRawFd;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// The listening socket that the service manager has passed (sd_listen_fds(3)), if it has passed one.
///
/// To be called once, and before anything else opens a file. `Err` says what was passed that cannot be served.
pub fn inherited_listener() -> Result<Option<TcpListener>, String> {
    let wrong = |what: &str| {
        Err(format!(
            "{what}. Give the socket unit exactly one ListenStream= with an IP address and a port, and Accept=no."
        ))
    };
    let mut descriptors = match sd_notify::listen_fds() {
        Ok(descriptors) => descriptors,
        Err(error) => return wrong(&format!("the sockets in LISTEN_FDS cannot be taken over: {error}")),
    };
    let Some(descriptor) = descriptors.next() else { return Ok(None) };
    if descriptors.len() > 0 {
        return wrong(&format!("LISTEN_FDS says {} sockets, and one can be served", descriptors.len() + 1));
    }
    #[expect(unsafe_code, reason = "a descriptor that is handed over by its number; the comment says why it is ours")]
    // SAFETY: LISTEN_PID is this process, so the program that started it opened this descriptor for it, and sd-notify has just
    // found it open. Nothing else in this process has it: only this function takes it, once, before others open any.
    let listener = unsafe { TcpListener::from_raw_fd(descriptor) };
    let accepts = rustix::net::sockopt::socket_acceptconn(&listener).is_ok_and(|accepts| accepts);
    if accepts && listener.local_addr().is_ok() {
        Ok(Some(listener))
    } else {
        wrong("the descriptor in LISTEN_FDS is not a listening TCP socket")
    }
}

/// For the start to continue after each [`starting`], however long `TimeoutStartSec=` is.
const START_TIME: Duration = Duration::from_secs(60);

/// What is going on before the service is ready; `systemctl status` shows it.
pub fn starting(status: &str, log: &Log) {
    let time = NotifyState::ExtendTimeoutUsec(START_TIME.as_micros() as u32);
    tell(&[NotifyState::Status(status), time], log);
}

/// Connections are accepted and the schema is applied: units that wait for this one may start.
pub fn ready(status: &str, log: &Log) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)], log);
}

/// The service has begun to stop. The watchdog is fed for the last time: draining takes less than its time.
pub fn stopping(status: &str, log: &Log) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status), NotifyState::Watchdog], log);
}

fn tell(states: &[NotifyState<'_>], log: &Log) {
    if let Err(error) = sd_notify::notify(states) {
        let details = json!({ "error": error.to_string() });
        log.event(Level::Warning, "the service manager at NOTIFY_SOCKET was not reached", details);
    }
}

/// A thread that feeds the watchdog, until this is dropped.
pub struct Feeder {
    /// Nothing is ever sent: the thread ends when this is gone. It is not joined, since it may be waiting for just
    /// what keeps the watchdog from being fed.
    _fed: Sender<()>,
}

/// Feeds the watchdog, if the service manager has one (`WatchdogSec=`), for as long as `alive` returns, and returns Ok.
///
/// It is asked three times within the watchdog's time, so that one that took longer than usual does no harm. Fails when
/// the thread cannot be started.
pub fn feed_watchdog(
    alive: impl Fn() -> Result<(), String> + Send + 'static,
    log: Log,
) -> std::io::Result<Option<Feeder>> {
    let Some(time) = sd_notify::watchdog_enabled().filter(|time| !time.is_zero()) else { return Ok(None) };
    let period = (time / 3).max(Duration::from_millis(1));
    let (fed, end) = channel::<()>();
    let feed = move || {
        while end.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
            match alive() {
                Ok(()) => tell(&[NotifyState::Watchdog], &log),
                Err(reason) => {
                    log.event(Level::Error, "the watchdog is not fed", json!({ "reason": reason }));
                }
            }
        }
    };
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(feed)?;
    Ok(Some(Feeder { _fed: fed }))
}
