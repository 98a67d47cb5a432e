//! Whose turn it is at the one connection.
//!
//! A plain mutex may be taken again at once by the thread that gave it up, so a search of many slices could starve
//! ingest, or ingest a search. Here two sides alternate, ingest and reads:
//!
//! 1. One thread at a time holds the database.
//! 2. When one side gives it up and the other waits, the other is next.
//! 3. So a commit waits for at most one slice of a read, however many reads wait, and a read that waits alone for at
//!    most one commit.

use crate::mutex::UNPOISONED;
use crate::store::ReadError;
use crate::store::metrics;
use crate::store::sqlite::count::Count;
use crate::store::sqlite::database::{Database, Look, View};
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::schema;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// While another thread counts.
const COUNTING_PAUSE: Duration = Duration::from_millis(10);

/// Who asks for the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// A commit, or the end of a checkpoint.
    Ingest,
    /// Everything else.
    Read,
}

/// The database behind its mutex, and the order in which the mutex is taken.
pub(super) struct Turns {
    order: Mutex<Order>,
    freed: [Condvar; 2],
    /// Taken only by who has the turn, so never contended; it is held for as long as the turn.
    database: Mutex<Database>,
    /// Held while all is counted again.
    counting: Mutex<()>,
}

struct Order {
    taken: bool,
    /// The side that goes first when both wait.
    next: Side,
    waiting: [usize; 2],
}

/// The database, until dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    side: Side,
    taken: Instant,
    database: Option<MutexGuard<'a, Database>>,
}

impl Turns {
    pub(super) fn new(database: Database) -> Turns {
        let order = Order { taken: false, next: Side::Ingest, waiting: [0; 2] };
        let freed = [Condvar::new(), Condvar::new()];
        Turns { order: Mutex::new(order), freed, database: Mutex::new(database), counting: Mutex::default() }
    }

    /// Waits for a turn of that side.
    pub(super) fn take(&self, side: Side) -> Turn<'_> {
        let mut order = self.order.lock().expect(UNPOISONED);
        order.waiting[side as usize] += 1;
        while order.taken || (order.next != side && order.waiting[order.next as usize] > 0) {
            order = self.freed[side as usize].wait(order).expect(UNPOISONED);
        }
        order.waiting[side as usize] -= 1;
        order.taken = true;
        order.next = match side {
            Side::Ingest => Side::Read,
            Side::Read => Side::Ingest,
        };
        drop(order);
        Turn { turns: self, side, taken: Instant::now(), database: Some(self.database.lock().expect(UNPOISONED)) }
    }
}

impl Turns {
    /// Reads within one transaction in which the tally is exact. When other programs have changed the file, it takes as
    /// many turns as it takes to follow that.
    pub(super) fn view<T>(
        &self,
        deadline: Deadline,
        read: impl Fn(&View<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        loop {
            let look = self.take(Side::Read).view(&read)?; // the turn ends here
            match look {
                Look::Answer(answer) => return Ok(answer),
                Look::NotYet => {}
                Look::Lost => match self.counting.try_lock() {
                    Ok(_counting) => self.count_again()?,
                    Err(_) => std::thread::sleep(COUNTING_PAUSE), // another thread counts
                },
            }
            deadline.check().map_err(|_| ReadError::Counting)?;
        }
    }

    /// Counts all messages on a connection of its own, so that ingest and other reads continue meanwhile.
    fn count_again(&self) -> Result<(), ReadError> {
        let (database, file) = {
            let turn = self.take(Side::Read);
            if turn.count.followed().is_some() {
                return Ok(()); // another thread has counted since this one looked
            }
            (turn.files.clone(), turn.file)
        };
        let mut connection = schema::open_beside(&database.database)?;
        database.check_database(file)?; // it was opened by name
        let count = Count::build(&*connection.transaction()?)?;
        let before = std::mem::replace(&mut self.take(Side::Read).count, count);
        drop(before); // the turn has been given up: freeing the counts of millions of senders takes a while
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.database = None; // before the turn passes on, so that the mutex is free for the thread that gets it
        if self.side == Side::Read {
            metrics::READ_HOLD_SECONDS.observe(self.taken.elapsed().as_secs_f64());
        }
        let mut order = self.turns.order.lock().expect(UNPOISONED);
        order.taken = false;
        let side = match order.next {
            next if order.waiting[next as usize] > 0 => next,
            Side::Ingest => Side::Read,
            Side::Read => Side::Ingest,
        };
        drop(order);
        self.turns.freed[side as usize].notify_one();
    }
}

impl Deref for Turn<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database.as_ref().expect("the guard is there until drop")
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Database {
        self.database.as_mut().expect("the guard is there until drop")
    }
}
