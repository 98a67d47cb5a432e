//! The line of deliveries: one thread commits them, group after group, and another one hands out what became of them.
//!
//! 1. Only the writer writes. It takes all that waits, up to a bound, commits it as one group and continues at once: a
//!    group is what arrived during the COMMIT before, and a lone delivery does not wait. There is no timer.
//! 2. An outcome is handed on only after the COMMIT with its messages has returned and is on disk, or has failed.
//! 3. The messages of one delivery are in one group: all are stored, or none.
//! 4. What enters the line leaves it in the same order. A request that was refused takes its place in it too, as an empty
//!    delivery, so that answers go out in the order of the requests.
//! 5. Its length is bounded by the requests that the gate passes on before they are answered.
//!
//! The notifier is a thread of its own because the disk would otherwise be idle while answers are written. When nothing
//! waits to be written, and the notifier has nothing to do, the writer hands out the outcome itself: then waking another
//! thread is all that a lone delivery would wait for.

use crate::delivery::Delivery;
use crate::mutex::UNPOISONED;
use crate::store::{Outcome, Store};
use std::collections::VecDeque;
use std::io::Result;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};

/// Most messages and statuses in one COMMIT, unless one delivery alone has more. At 30,000 rows/s, measured with that many in a
/// COMMIT, it holds the connection for 4 ms; reads are promised 5 ms. At 256 connections 32 take 0.82 of the rate, and
/// 256 the same (`cargo bench --bench builds`).
pub(super) const GROUP_UPDATES_MAX: usize = 128;

/// Most bytes of deliveries kept as they came in one COMMIT, unless one delivery alone has more: about as many as the rows
/// of [`GROUP_UPDATES_MAX`] messages with all their index entries, so that such a group holds the connection no longer.
const GROUP_RAW_BYTES_MAX: usize = 512 << 10;

/// The line. `T` is what the notifier needs to answer a delivery.
pub struct Line<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// Held to add a place, or to take a group.
    waiting: Mutex<VecDeque<Place<T>>>,
    arrived: Condvar,
    /// Groups that the notifier has not handed out yet.
    with_notifier: AtomicUsize,
}

struct Place<T> {
    delivery: Delivery,
    ticket: T,
}

impl<T: Send + 'static> Line<T> {
    /// Starts the two threads. `notify` is called with each group, in the order of the line, and by one thread at a time.
    ///
    /// Fails only when a thread cannot be started.
    pub fn start(store: Arc<Store>, notify: impl Fn(Vec<(T, Outcome)>) + Send + Sync + 'static) -> Result<Line<T>> {
        let (decided, groups) = channel();
        let line =
            Arc::new(Shared { waiting: Mutex::default(), arrived: Condvar::new(), with_notifier: AtomicUsize::new(0) });
        let notify = Arc::new(notify);
        let (writer, writer_notify) = (Arc::clone(&line), Arc::clone(&notify));
        let thread = std::thread::Builder::new().name("writer".to_owned());
        thread.spawn(move || {
            loop {
                let group = writer.write_group(&store);
                if writer.is_idle() {
                    writer_notify(group);
                    continue;
                }
                writer.with_notifier.fetch_add(1, SeqCst);
                if decided.send(group).is_err() {
                    return; // the notifier ends only after this thread
                }
            }
        })?;
        let notifier = Arc::clone(&line);
        let thread = std::thread::Builder::new().name("notifier".to_owned());
        thread.spawn(move || {
            for group in groups {
                notify(group);
                notifier.with_notifier.fetch_sub(1, SeqCst);
            }
        })?;
        Ok(Line(line))
    }

    /// Puts a delivery, or a refusal as an empty one, at the end of the line.
    pub fn push(&self, delivery: Delivery, ticket: T) {
        let mut waiting = self.0.waiting.lock().expect(UNPOISONED);
        waiting.push_back(Place { delivery, ticket });
        if waiting.len() == 1 {
            self.0.arrived.notify_one(); // behind another place, the writer is awake or about to be
        }
    }
}

impl<T> Shared<T> {
    /// Waits for deliveries, commits a group of them, and returns what became of each.
    fn write_group(&self, store: &Store) -> Vec<(T, Outcome)> {
        let waiting = self.waiting.lock().expect(UNPOISONED);
        drop(self.arrived.wait_while(waiting, |waiting| waiting.is_empty()).expect(UNPOISONED));
        let mut tickets = Vec::new();
        // They leave the line only once the connection is this thread's: what came while it waited comes along.
        let outcomes = store.commit(|deliveries| self.join(deliveries, &mut tickets));
        let outcomes =
            outcomes.unwrap_or_else(|unavailable| tickets.iter().map(|_| Err(unavailable.clone())).collect());
        tickets.into_iter().zip(outcomes).collect()
    }

    /// Nothing waits to be written, and the notifier has handed out every group.
    fn is_idle(&self) -> bool {
        self.with_notifier.load(SeqCst) == 0 && self.waiting.lock().expect(UNPOISONED).is_empty()
    }

    /// Moves places from the head of the line into the group, as long as they fit; at least one when it is empty.
    fn join(&self, deliveries: &mut Vec<Delivery>, tickets: &mut Vec<T>) {
        let mut waiting = self.waiting.lock().expect(UNPOISONED);
        let mut updates: usize = deliveries.iter().map(Delivery::updates).sum();
        let mut bytes: usize = deliveries.iter().map(raw_bytes).sum();
        while let Some(place) = waiting.front() {
            updates += place.delivery.updates();
            bytes += raw_bytes(&place.delivery);
            let fits = updates <= GROUP_UPDATES_MAX && bytes <= GROUP_RAW_BYTES_MAX;
            if !fits && !deliveries.is_empty() {
                return;
            }
            let Some(Place { delivery, ticket }) = waiting.pop_front() else { return };
            deliveries.push(delivery);
            tickets.push(ticket);
        }
    }
}

/// Bytes that are kept of a delivery as it came.
fn raw_bytes(delivery: &Delivery) -> usize {
    delivery.raw.as_ref().map_or(0, |raw| raw.body.len())
}
