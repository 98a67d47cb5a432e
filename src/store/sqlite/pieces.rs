//! Which blocks of messages may hold a text: a filter of the pieces of their texts.
//!
//! A piece is 3, 4 or 5 bytes of a folded text that follow each other, at any place in it. A hash puts each piece into one
//! of [`BUCKETS`]. For each bucket a group has a slice: a bit for each of its blocks, which is 1 if a text of the block has a
//! piece in that bucket. So a block may hold a needle only if its bit is 1 in the slice of every piece of the needle (a
//! bit-sliced signature file: Faloutsos, *Access Methods for Text*, ACM Computing Surveys 17(1), 1985). A bit that is 1
//! proves nothing; one that is 0 proves that the block does not hold it.

use std::ops::{Range, RangeInclusive};

/// Messages of a block have the same seq except for the lower bits. A block is what a search reads where it may find
/// something.
const BLOCK: i64 = 128;

/// Blocks of a group: a bit of each is in a slice.
const BLOCKS: usize = 256;

/// Messages of a group: group G has those with a seq from G times as much on. sql/sqlite/migrations/0005_search.sql has it too.
pub(super) const GROUP: i64 = BLOCK * BLOCKS as i64;

/// Enough that texts of 100 bytes leave most bits of a block 0, and few enough that they take 64 bytes for each message.
const BUCKETS: usize = 1 << 16;

const SLICE_BYTES: usize = BLOCKS / 8;

/// A bit for each block of a group.
pub(super) type Slice = [u8; SLICE_BYTES];

/// Slices of a row of search_slices: as many as fit into a page of 4 KiB.
const PART_SLICES: usize = 126;

/// The longest pieces first: they are the rarest.
const PIECE_BYTES: [usize; 3] = [5, 4, 3];

/// Slices that are read for a needle. More of them hardly exclude more.
const NEEDLE_PIECES: usize = 8;

/// The slices of a group while it is being built.
pub(super) struct Slices(Vec<u8>);

impl Slices {
    pub(super) fn new() -> Slices {
        Slices(vec![0; BUCKETS * SLICE_BYTES])
    }

    /// Adds the folded text of the message with this seq.
    pub(super) fn add(&mut self, seq: i64, folded: &[u8]) {
        let block = seq.rem_euclid(GROUP) / BLOCK;
        let (byte, bit) = ((block / 8) as usize, 1 << (block % 8));
        for length in PIECE_BYTES {
            for piece in folded.windows(length) {
                self.0[bucket(piece) * SLICE_BYTES + byte] |= bit;
            }
        }
    }

    /// The rows that hold them: number and bytes.
    pub(super) fn parts(&self) -> impl Iterator<Item = (i64, &[u8])> {
        (0..).zip(self.0.chunks(PART_SLICES * SLICE_BYTES))
    }
}

/// Where the slices stand in which a block must have a 1 to hold a needle.
pub(super) struct Pieces(Vec<Place>);

/// Where a slice stands.
struct Place {
    part: i64,
    at: usize,
}

impl Pieces {
    /// None for a needle that is too short to have a piece: it may be anywhere.
    pub(super) fn of(needle: &[u8]) -> Option<Pieces> {
        let mut buckets = Vec::new();
        for length in PIECE_BYTES {
            let all: Vec<usize> = needle.windows(length).map(bucket).collect();
            let wanted = NEEDLE_PIECES.saturating_sub(buckets.len()).min(all.len());
            buckets.extend((0..wanted).map(|index| all[index * all.len() / wanted])); // spread over the needle
        }
        let place = |bucket| Place { part: (bucket / PART_SLICES) as i64, at: bucket % PART_SLICES * SLICE_BYTES };
        (!buckets.is_empty()).then(|| Pieces(buckets.into_iter().map(place).collect()))
    }

    /// The blocks of a group that may hold the needle, as ranges of seqs. `slice` reads the bytes of a place in a row; where
    /// there are none, nothing is excluded.
    pub(super) fn blocks<E>(
        &self,
        group: i64,
        mut slice: impl FnMut(i64, Range<usize>) -> Result<Option<Slice>, E>,
    ) -> Result<Vec<RangeInclusive<i64>>, E> {
        let mut bits = [u8::MAX; SLICE_BYTES];
        for Place { part, at } in &self.0 {
            if let Some(slice) = slice(row(group, *part), *at..at + SLICE_BYTES)? {
                bits.iter_mut().zip(slice).for_each(|(bits, slice)| *bits &= slice);
            }
            if bits == [0; SLICE_BYTES] {
                return Ok(Vec::new());
            }
        }
        let mut ranges: Vec<RangeInclusive<i64>> = Vec::new();
        for block in (0..BLOCKS).filter(|block| bits[block / 8] >> (block % 8) & 1 == 1) {
            let first = group * GROUP + block as i64 * BLOCK;
            match ranges.last_mut().filter(|range| range.end() + 1 == first) {
                Some(range) => *range = *range.start()..=first + BLOCK - 1,
                None => ranges.push(first..=first + BLOCK - 1),
            }
        }
        Ok(ranges)
    }
}

/// The number of a row of search_slices.
pub(super) fn row(group: i64, part: i64) -> i64 {
    group.saturating_mul(1024).saturating_add(part)
}

/// A hash whose upper bits depend on all bytes (Knuth's multiplicative hash, with the golden ratio of 2^64).
fn bucket(piece: &[u8]) -> usize {
    let number = piece.iter().fold(piece.len() as u64, |number, byte| number << 8 | u64::from(*byte));
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn blocks(slices: &Slices, needle: &str) -> Option<Vec<RangeInclusive<i64>>> {
        let pieces = Pieces::of(needle.as_bytes())?;
        let parts: Vec<(i64, &[u8])> = slices.parts().collect();
        let blocks = pieces.blocks(7, |id, at| {
            let (_, bytes) = parts[(id - row(7, 0)) as usize];
            Ok::<_, Infallible>(bytes[at].try_into().ok())
        });
        blocks.ok()
    }

    #[test]
    fn every_block_that_holds_a_needle_is_found_and_hardly_another() {
        fastrand::seed(211);
        let mut slices = Slices::new();
        let text = |_| (0..fastrand::usize(0..12)).map(|_| format!("{:x} ", fastrand::u16(..))).collect();
        let texts: Vec<String> = (0..2_000).map(text).collect();
        let seq_of = |index: usize| 7 * GROUP + index as i64 * 16;
        texts.iter().enumerate().for_each(|(index, text)| slices.add(seq_of(index), text.as_bytes()));
        let (mut candidates, mut right) = (0, 0);
        for _ in 0..200 {
            let text = &texts[fastrand::usize(..texts.len())];
            let from = fastrand::usize(..=text.len());
            let needle = &text[from..fastrand::usize(from..=text.len())];
            let Some(blocks) = blocks(&slices, needle) else {
                assert!(needle.len() < 3, "{needle:?}");
                continue;
            };
            let holding = texts.iter().enumerate().filter(|(_, text)| text.contains(needle));
            let mut holding: Vec<i64> = holding.map(|(index, _)| seq_of(index) / BLOCK * BLOCK).collect();
            holding.dedup();
            let missed = holding.iter().find(|block| !blocks.iter().any(|range| range.contains(block)));
            assert_eq!(missed, None, "{needle:?}: {blocks:?}");
            right += holding.len();
            candidates += blocks.iter().map(|range| (range.end() - range.start() + 1) / BLOCK).sum::<i64>() as usize;
        }
        assert!(candidates < right + right / 10, "{candidates} for {right}");
        assert_eq!(blocks(&slices, "not there"), Some(Vec::new()));
        assert_eq!(blocks(&slices, "ab"), None);
    }
}
