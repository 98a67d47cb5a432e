//! The index of `q`: built behind the messages, and asked where a search has to look.
//!
//! 1. A group is in the index only when it is complete: every seq of it has been given. Later messages are read.
//! 2. Where the index is older than a text, another program has changed it, and a trigger has taken the group out of the
//!    index. The next step builds it again.
//! 3. What is built is written in several transactions, so that none is long, under a random number: if that is gone at the
//!    end, another program has changed a text meanwhile, or restored another database.

use crate::query::{Needle, fold};
use crate::store::ReadError;
use crate::store::sqlite::count::seen;
pub(super) use crate::store::sqlite::pieces::GROUP;
use crate::store::sqlite::pieces::{Pieces, Slices, row};
use crate::store::sqlite::turn::{Side, Turns};
use rusqlite::{Connection, OptionalExtension};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How long a part of it holds the connection for reading.
const SLICE_TIME: Duration = Duration::from_millis(1);

/// Texts that are taken out of the database in one hold.
const SLICE_BYTES: usize = 512 << 10;

/// Rows of slices that are written in one transaction: 256 KiB, less than 2 ms.
const PARTS_WRITTEN: usize = 64;

/// Rows between two looks at the clock.
const CLOCK_ROWS: usize = 32;

/// Groups that are looked at in one hold.
const GROUPS_SEEN: usize = 64;

/// In search_groups: the group is in the index.
const BUILT: i64 = 0;

/// What the index says: the ranges of seqs in which a needle may be, in order.
pub(super) fn candidates(turns: &Turns, needle: &Needle, row_max: i64) -> Result<Vec<RangeInclusive<i64>>, ReadError> {
    let Some(pieces) = Pieces::of(needle.bytes()) else { return Ok(vec![i64::MIN..=row_max]) };
    let (mut ranges, mut next) = (Vec::new(), oldest(turns)?);
    while let Some(from) = next {
        next = turns.take(Side::Read).slice(|connection| Ok(look(connection, &pieces, from, row_max, &mut ranges)?))?;
    }
    Ok(ranges)
}

/// Adds the ranges from a seq on, for about [`SLICE_TIME`]. Returns where it stopped; None at the end.
fn look(
    connection: &Connection,
    pieces: &Pieces,
    mut from: i64,
    row_max: i64,
    ranges: &mut Vec<RangeInclusive<i64>>,
) -> rusqlite::Result<Option<i64>> {
    let begun = Instant::now();
    let mut groups = connection.prepare_cached(include_str!("../../../sql/sqlite/search_groups_after.sql"))?;
    let mut part = connection.prepare_cached(include_str!("../../../sql/sqlite/search_slices_of.sql"))?;
    let mut groups = groups.query([from.div_euclid(GROUP), row_max.div_euclid(GROUP)])?;
    while let Some(found) = groups.next()? {
        let group: i64 = found.get(0)?;
        let first = group * GROUP;
        add(ranges, from..=first - 1);
        let blocks = pieces.blocks(group, |id, at| {
            let slice = part
                .query_row([id], |row| Ok(row.get_ref(0)?.as_blob()?.get(at).and_then(|slice| slice.try_into().ok())));
            slice.optional().map(Option::flatten)
        })?;
        blocks.into_iter().for_each(|range| add(ranges, *range.start()..=*range.end().min(&row_max)));
        from = first + GROUP;
        if begun.elapsed() >= SLICE_TIME {
            return Ok(Some(from));
        }
    }
    add(ranges, from..=row_max);
    Ok(None)
}

/// Adds a range, which may be empty, or continue where the last one ends.
fn add(ranges: &mut Vec<RangeInclusive<i64>>, range: RangeInclusive<i64>) {
    if range.is_empty() {
        return;
    }
    match ranges.last_mut().filter(|last| last.end() + 1 == *range.start()) {
        Some(last) => *last = *last.start()..=*range.end(),
        None => ranges.push(range),
    }
}

/// Builds a group. It is not in the index afterwards if another program has changed a text of it meanwhile.
pub(super) fn build(turns: &Turns, group: i64) -> Result<(), ReadError> {
    let state = fastrand::i64(1..);
    turns.take(Side::Read).write_index(|connection| {
        connection.prepare_cached(include_str!("../../../sql/sqlite/search_group_begin.sql"))?.execute((group, state))
    })?;
    let slices = read(turns, group)?;
    let parts: Vec<(i64, &[u8])> = slices.parts().collect();
    for some in parts.chunks(PARTS_WRITTEN) {
        let is_ours = turns.take(Side::Read).write_index(|connection| {
            let mut is_in = connection.prepare_cached(include_str!("../../../sql/sqlite/search_group_has.sql"))?;
            if !is_in.exists((group, state))? {
                return Ok(0);
            }
            let mut write = connection.prepare_cached(include_str!("../../../sql/sqlite/search_slices_write.sql"))?;
            some.iter().map(|(part, bytes)| write.execute((row(group, *part), bytes))).sum()
        })?;
        if is_ours == 0 {
            return Ok(()); // another time
        }
    }
    turns.take(Side::Read).write_index(|connection| {
        connection
            .prepare_cached(include_str!("../../../sql/sqlite/search_group_end.sql"))?
            .execute((group, BUILT, state))
    })?;
    Ok(())
}

/// The group of the oldest message.
pub(super) fn oldest_group(turns: &Turns) -> Result<i64, ReadError> {
    Ok(oldest(turns)?.map_or(i64::MIN, |seq| seq.div_euclid(GROUP)))
}

/// The lowest seq that there is.
fn oldest(turns: &Turns) -> Result<Option<i64>, ReadError> {
    turns.take(Side::Read).slice(|connection| {
        let mut message = connection.prepare_cached(include_str!("../../../sql/sqlite/seq_from.sql"))?;
        Ok(message.query_row([i64::MIN], |row| row.get(0)).optional()?)
    })
}

/// The groups that are complete and not in the index, in order.
pub(super) fn missing(turns: &Turns) -> Result<Vec<i64>, ReadError> {
    let (mut groups, mut next) = (Vec::new(), Some(i64::MIN));
    while let Some(from) = next {
        next = turns.take(Side::Read).slice(|connection| {
            let given = seen(connection)?.seq_given;
            let mut message = connection.prepare_cached(include_str!("../../../sql/sqlite/seq_from.sql"))?;
            let mut is_in = connection.prepare_cached(include_str!("../../../sql/sqlite/search_group_has.sql"))?;
            let mut from = from;
            for _ in 0..GROUPS_SEEN {
                let Some(seq) = message.query_row([from], |row| row.get::<_, i64>(0)).optional()? else {
                    return Ok(None);
                };
                let group = seq.div_euclid(GROUP);
                from = (group + 1) * GROUP;
                if from > given + 1 {
                    return Ok(None);
                }
                if !is_in.exists((group, BUILT))? {
                    groups.push(group);
                }
            }
            Ok(Some(from))
        })?;
    }
    Ok(groups)
}

/// The slices of a group's texts. What folding and hashing takes, the connection is free.
fn read(turns: &Turns, group: i64) -> Result<Slices, ReadError> {
    let (mut slices, mut folded) = (Slices::new(), Vec::new());
    let (mut after, last) = (group * GROUP - 1, group * GROUP + GROUP - 1);
    while after < last {
        let (mut texts, mut ends) = (Vec::new(), Vec::new());
        after = turns.take(Side::Read).slice(|connection| {
            let begun = Instant::now();
            let mut statement = connection.prepare_cached(include_str!("../../../sql/sqlite/texts.sql"))?;
            let mut rows = statement.query([after, last])?;
            while let Some(row) = rows.next()? {
                let seq = row.get(0)?;
                texts.extend_from_slice(row.get_ref(1)?.as_bytes().unwrap_or_default());
                ends.push((seq, texts.len()));
                if texts.len() >= SLICE_BYTES || ends.len() % CLOCK_ROWS == 0 && begun.elapsed() >= SLICE_TIME {
                    return Ok(seq);
                }
            }
            Ok(last)
        })?;
        let mut begin = 0;
        for (seq, end) in ends {
            folded.clear();
            fold(&texts[begin..end], &mut folded);
            slices.add(seq, &folded);
            begin = end;
        }
    }
    Ok(slices)
}

/// Removes some of what is about groups below this one. False: nothing is left.
pub(super) fn remove_below(turns: &Turns, group: i64) -> Result<bool, ReadError> {
    let removed = turns.take(Side::Read).write_index(|connection| {
        connection.prepare_cached(include_str!("../../../sql/sqlite/search_groups_remove.sql"))?.execute([group])?;
        let mut remove = connection.prepare_cached(include_str!("../../../sql/sqlite/search_slices_remove.sql"))?;
        remove.execute((i64::MIN, row(group, 0), PARTS_WRITTEN as i64))
    })?;
    Ok(removed > 0)
}

/// Removes what the index has of the texts around a message that is erased, and says whether there was something. The
/// service builds it again.
pub(super) fn forget(connection: &Connection, seq: i64) -> rusqlite::Result<bool> {
    let group = seq.div_euclid(GROUP);
    connection.prepare_cached(include_str!("../../../sql/sqlite/search_group_remove.sql"))?.execute([group])?;
    let mut remove = connection.prepare_cached(include_str!("../../../sql/sqlite/search_slices_remove.sql"))?;
    remove.execute((row(group, 0), row(group + 1, 0), i64::MAX)).map(|removed| removed > 0)
}
