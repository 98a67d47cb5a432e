//! Closing a connection so that the client can read its last answer.
//!
//! A socket closed with unread input is reset, and the reset eats the answer on its way (RFC 9112 section 9.6). So the
//! sending side is closed first, and what the client still sends is read and thrown away within bounds, by one thread
//! for all such connections.

use super::connections::Connection;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How long a connection lingers: time enough for a client to finish sending 4 MiB and read the answer.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Most bytes thrown away of one connection. A client that sends more than this after a 413 is not going to stop.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// Most connections that linger at once, each one a descriptor; one more, and the oldest is closed. As many may have come
/// since the thread last looked, and whoever comes then is closed at once.
const LINGERING_MAX: usize = 128;

/// Most descriptors that all of that can come to.
pub(super) const DESCRIPTORS_MAX: usize = 2 * LINGERING_MAX;

/// Between two looks at the lingering connections.
const TICK: Duration = Duration::from_millis(10);

/// A handle to the thread.
pub(super) struct Lingerer {
    arriving: SyncSender<Arc<Connection>>,
    lingering: Arc<AtomicUsize>,
}

impl Lingerer {
    /// Starts the thread. Fails only when none can be started.
    pub(super) fn start() -> std::io::Result<Lingerer> {
        let (arriving, arrivals) = sync_channel(LINGERING_MAX);
        let lingering = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&lingering);
        std::thread::Builder::new().name("lingerer".to_owned()).spawn(move || run(&arrivals, &count))?;
        Ok(Lingerer { arriving, lingering })
    }

    /// Takes over a connection after its last answer has been written.
    pub(super) fn take(&self, connection: Arc<Connection>) {
        let stream = &connection.stream;
        if stream.shutdown(Shutdown::Write).and_then(|()| stream.set_nonblocking(true)).is_ok() {
            self.lingering.fetch_add(1, SeqCst);
            if self.arriving.try_send(connection).is_err() {
                self.lingering.fetch_sub(1, SeqCst);
            }
        }
    }

    /// Waits until nothing lingers any more, or the deadline has passed.
    pub(super) fn drain(&self, deadline: Instant) {
        while self.lingering.load(SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(TICK);
        }
    }
}

struct Lingering {
    connection: Arc<Connection>,
    deadline: Instant,
    bytes: usize,
}

fn run(arrivals: &Receiver<Arc<Connection>>, count: &AtomicUsize) {
    let mut lingering: VecDeque<Lingering> = VecDeque::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(first) = lingering.is_empty().then(|| arrivals.recv()).transpose() else { return };
        // No more at a time than can wait: whoever closes connections faster than this loop could keep it from its work.
        for connection in first.into_iter().chain(arrivals.try_iter()).take(LINGERING_MAX) {
            if lingering.len() == LINGERING_MAX {
                lingering.pop_front();
                count.fetch_sub(1, SeqCst);
            }
            lingering.push_back(Lingering { connection, deadline: Instant::now() + LINGER_TIME, bytes: 0 });
        }
        let before = lingering.len();
        lingering.retain_mut(|one| goes_on(one, &mut buffer));
        count.fetch_sub(before - lingering.len(), SeqCst);
        if !lingering.is_empty() {
            std::thread::sleep(TICK);
        }
    }
}

/// Throws away what has come. `false`: the client has closed its side, or a bound is reached.
fn goes_on(one: &mut Lingering, buffer: &mut [u8]) -> bool {
    while one.bytes < LINGER_BYTES_MAX && Instant::now() < one.deadline {
        match (&one.connection.stream).read(buffer) {
            Ok(0) => return false,
            Ok(bytes) => one.bytes += bytes,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    false
}
