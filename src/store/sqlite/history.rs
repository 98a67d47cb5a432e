//! How many messages there are in each of some buckets that follow each other: exact, and the table is not scanned.
//!
//! The tally knows the stretches that lie within one bucket. The others, in which an edge of a bucket lies, are read once
//! along the index, however many edges there are. So the cost is one pass over the tally, and at most the messages of
//! one stretch for each edge. The slices see one state, as those of walk.rs do.

use crate::query::history::Selection;
use crate::store::ReadError;
use crate::store::sqlite::deadline::Deadline;
use crate::store::sqlite::row::{Position, bind};
use crate::store::sqlite::turn::{Side, Turns};
use crate::timestamp::Moment;
use rusqlite::Connection;
use std::ops::Range;

/// Index entries that are read in one hold: about 0.7 ms. The unit tests have small tables.
const SLICE_ENTRIES: usize = if cfg!(test) { 16 } else { 4096 };

/// The messages in each bucket, by their `ts`.
pub(super) fn history(turns: &Turns, selection: Selection, deadline: Deadline) -> Result<Vec<u64>, ReadError> {
    let range = selection.range_us();
    let (mut counts, mut parts, row_max) = turns.view(deadline, |view| {
        let mut counts = vec![0; selection.count];
        let mut parts: Vec<Part> = Vec::new();
        for (Range { start, end }, count) in view.tally.between(&range) {
            let (from, to) = (start.max(range.start), end.min(range.end));
            let index = selection.index(from);
            if (from, to) == (start, end) && selection.index(to - 1) == index {
                counts[index] += count;
            } else if let Some(part) = parts.last_mut().filter(|part| part.end_us == from) {
                part.end_us = to;
            } else {
                parts.push(Part { at: Position::before(Moment { us: from, ns: 0 }), end_us: to });
            }
        }
        Ok((counts, parts, view.row_max()?))
    })?;
    while !parts.is_empty() {
        deadline.check()?;
        turns.take(Side::Read).slice(|connection| {
            let mut left = SLICE_ENTRIES;
            while left > 0
                && let Some(part) = parts.last_mut()
            {
                let read = part.read(connection, row_max, left, |us| counts[selection.index(us)] += 1)?;
                if read < left {
                    parts.pop();
                }
                left -= read;
            }
            Ok(())
        })?;
    }
    Ok(counts)
}

/// What is still to be read of the index.
struct Part {
    at: Position,
    end_us: i64,
}

impl Part {
    /// Reads at most so many entries, and returns how many they were: fewer at the end.
    fn read(
        &mut self,
        connection: &Connection,
        row_max: i64,
        limit: usize,
        mut count: impl FnMut(i64),
    ) -> rusqlite::Result<usize> {
        let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/moments_between.sql"))?;
        let Position { moment: Moment { us, ns }, last } = &self.at;
        bind(&mut statement, &[(":us", us), (":ns", ns), (":last", last), (":row_max", &row_max)])?;
        bind(&mut statement, &[(":end_us", &self.end_us), (":limit", &(limit as i64))])?;
        let (mut rows, mut read) = (statement.raw_query(), 0);
        while let Some(row) = rows.next()? {
            read += 1;
            count(row.get(0)?);
            if read == limit {
                self.at = Position::read(row)?;
            }
        }
        Ok(read)
    }
}
