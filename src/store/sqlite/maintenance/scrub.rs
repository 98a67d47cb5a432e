//! Overwriting what the unused parts of the file still hold.
//!
//! When SQLite rebuilds a page, for example because it splits one, copies of moved rows stay in the unused middle of the
//! page, even with `PRAGMA secure_delete` (`rebuildPage` in its btree.c). Rows that were removed without that PRAGMA, by
//! another program, stay too. Only a `VACUUM` would remove both, and it locks out the service until the whole file is
//! written again. Here each page is looked at once, and only pages with something to overwrite are written, in short
//! transactions. Pages are read and written through SQLite (<https://sqlite.org/dbpage.html>), so the log, the locks and
//! a crash are SQLite's business. What a page means, <https://sqlite.org/fileformat2.html> says.
//!
//! Up to three bytes between two rows, which are too few for SQLite to use again, are left.

use crate::store::MaintenanceError;
use crate::store::sqlite::maintenance::{Maintenance, Progress};
use rusqlite::Connection;
use std::collections::HashSet;
use std::iter::once;
use std::ops::Range;

/// Pages looked at in one transaction: 1 MiB. When all have to be overwritten, it takes about 5 ms.
const BATCH_PAGES: u32 = 256;

/// A page that continues a long row begins with a page number. In a file of so many pages, 128 GiB, the first byte of that
/// number can look like the type of a b-tree page.
const PAGES_AMBIGUOUS: u32 = 0x02 << 24;

/// The pages that are in no use: the leaves of the freelist, and the pages that list them.
#[derive(Default)]
struct Freelist {
    leaves: HashSet<u32>,
    trunks: HashSet<u32>,
}

impl Maintenance {
    /// Overwrites with zeros what the unused parts of the file still hold. Calls `looked_at` with the pages that are done
    /// and with all. False, and nothing is overwritten, for a file of 128 GiB or with auto_vacuum: there, a page's first
    /// byte does not say what the page is.
    pub(in crate::store) fn scrub(&mut self, mut looked_at: impl FnMut(u64, u64)) -> Result<bool, MaintenanceError> {
        let auto_vacuum: i64 = self.connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
        let mut first = 1;
        loop {
            let pages = page_count(&self.connection)?;
            if auto_vacuum != 0 || pages >= PAGES_AMBIGUOUS {
                return Ok(false);
            }
            let batch = first..pages.saturating_add(1).min(first + BATCH_PAGES);
            if batch.is_empty() {
                return Ok(true);
            }
            // Looking takes no lock that the service's commits wait for.
            let found = to_overwrite(&*self.connection.transaction()?, batch.clone())?;
            if !found.is_empty() {
                self.write_for_a_while(|transaction| {
                    let mut write =
                        transaction.prepare_cached(include_str!("../../../../sql/sqlite/overwrite_raw_page.sql"))?;
                    for (number, page) in to_overwrite(transaction, batch.clone())? {
                        write.execute((number, page))?;
                    }
                    Ok(Progress::Done)
                })?;
            }
            first = batch.end;
            looked_at(u64::from(first - 1), u64::from(pages));
        }
    }
}

/// The pages of a batch that hold something in unused parts, as they should be.
fn to_overwrite(connection: &Connection, batch: Range<u32>) -> rusqlite::Result<Vec<(u32, Vec<u8>)>> {
    let freelist = Freelist::read(connection)?;
    let pages = page_count(connection)?;
    let mut found = Vec::new();
    for number in batch.filter(|&number| number <= pages) {
        let page = raw_page(connection, number)?;
        let unused = if freelist.leaves.contains(&number) {
            once(0..page.len()).collect()
        } else if freelist.trunks.contains(&number) {
            once(8 + 4 * be_u32(&page, 4) as usize..page.len()).collect()
        } else {
            unused_of_b_tree(&page, if number == 1 { 100 } else { 0 }).unwrap_or_default()
        };
        let mut overwritten = page.clone();
        for range in unused {
            if let Some(bytes) = overwritten.get_mut(range) {
                bytes.fill(0);
            }
        }
        if overwritten != page {
            found.push((number, overwritten));
        }
    }
    Ok(found)
}

/// The unused parts of a b-tree page: between the cell pointers and the cells, and the freeblocks among the cells. None
/// for a page that is not a b-tree page, such as one with the rest of a long row.
fn unused_of_b_tree(page: &[u8], header: usize) -> Option<Vec<Range<usize>>> {
    let header_bytes = match page.get(header)? {
        2 | 5 => 12,  // interior page, of an index or a table
        10 | 13 => 8, // leaf
        _ => return None,
    };
    let cells = usize::from(be_u16(page, header + 3)?);
    let content = match be_u16(page, header + 5)? {
        0 => 65_536,
        content => usize::from(content),
    };
    let gap = header + header_bytes + 2 * cells..content;
    if gap.start > gap.end || gap.end > page.len() {
        return None;
    }
    let mut unused = vec![gap];
    let mut end = content;
    let mut block = usize::from(be_u16(page, header + 1)?);
    while block != 0 {
        let (next, bytes) = (usize::from(be_u16(page, block)?), usize::from(be_u16(page, block + 2)?));
        // They are in ascending order, so the loop ends.
        if block < end || bytes < 4 || block + bytes > page.len() {
            return None;
        }
        end = block + bytes;
        unused.push(block + 4..end);
        block = next;
    }
    Some(unused)
}

impl Freelist {
    fn read(connection: &Connection) -> rusqlite::Result<Freelist> {
        let mut freelist = Freelist::default();
        let mut trunk = be_u32(&raw_page(connection, 1)?, 32);
        while trunk != 0 && freelist.trunks.insert(trunk) {
            let page = raw_page(connection, trunk)?;
            let leaves = be_u32(&page, 4) as usize;
            freelist.leaves.extend(page.chunks_exact(4).skip(2).take(leaves).map(|number| be_u32(number, 0)));
            trunk = be_u32(&page, 0);
        }
        Ok(freelist)
    }
}

fn page_count(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "page_count", |row| row.get(0))
}

fn raw_page(connection: &Connection, number: u32) -> rusqlite::Result<Vec<u8>> {
    connection
        .prepare_cached(include_str!("../../../../sql/sqlite/raw_page.sql"))?
        .query_row([number], |row| row.get(0))
}

fn be_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

/// 0 behind the end.
fn be_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().map_or(0, u32::from_be_bytes)
}
