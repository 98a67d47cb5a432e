//! Which of the workers wait at tiny_http for the next request.
//!
//! Were it all of them, each request would wake another one, and the woken would queue up at the lock of tiny_http's
//! message queue: measured at 64 connections, most of what a worker did was to wait for that lock. So only a few may
//! receive. Who has received a delivery keeps its place until it has to wait for something, and is back for the next
//! request without having slept; who reads the database makes way first.

use crate::mutex::UNPOISONED;
use std::sync::{Condvar, Mutex};

/// The places, as many as there are cores.
pub(super) struct Receivers {
    /// Places that nobody has. Held for an addition.
    free: Mutex<usize>,
    freed: Condvar,
}

/// A place at tiny_http, given up when dropped.
pub(super) struct Place<'a>(&'a Receivers);

impl Receivers {
    /// As many places as there are cores, which are enough to keep all of them busy.
    pub(super) fn new() -> Receivers {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Receivers { free: Mutex::new(cores), freed: Condvar::new() }
    }

    /// Waits for a place.
    pub(super) fn enter(&self) -> Place<'_> {
        let mut free = self.freed.wait_while(self.free.lock().expect(UNPOISONED), |free| *free == 0).expect(UNPOISONED);
        *free -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().expect(UNPOISONED) += 1;
        self.0.freed.notify_one();
    }
}
