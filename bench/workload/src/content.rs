//! The bytes that a write leaves behind.
//!
//! Each sector of 512 bytes is a stream seeded by (seed, version, sector number), so any range
//! can be written or checked without its neighbours, a sector that lands in the wrong place is
//! seen as wrong, and one that was never overwritten is told from a new one by its version. The
//! bytes do not compress.

use isotherm_seam::{BlockSize, Domain, Lba, draw};

const CONTENT: Domain = Domain::new("workload.content");
const SECTOR_BYTES: usize = 512;

/// What a region holds, by seed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Content {
    seed: u64,
    version: u64,
}

/// A byte that is not what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("byte {offset} is {found:#04x} where {expected:#04x} was written")]
pub struct Mismatch {
    /// Its place on the device, in bytes.
    pub offset: u64,
    /// What was written.
    pub expected: u8,
    /// What was read.
    pub found: u8,
}

impl Content {
    /// The content of `seed`, as the `version`-th writing leaves it.
    pub fn new(seed: u64, version: u64) -> Content {
        Content { seed, version }
    }

    /// Fills `buf` with what belongs at `lba` on. `buf` is whole sectors of 512 bytes.
    pub fn fill(&self, size: BlockSize, lba: Lba, buf: &mut [u8]) {
        self.for_each_word(size, lba, buf.len(), |range, word| buf[range].copy_from_slice(&word));
    }

    /// Compares `buf` with what belongs at `lba` on.
    pub fn check(&self, size: BlockSize, lba: Lba, buf: &[u8]) -> Result<(), Mismatch> {
        let start = size.byte_offset(lba);
        let mut outcome = Ok(());
        self.for_each_word(size, lba, buf.len(), |range, word| {
            if outcome.is_err() || buf[range.clone()] == word {
                return;
            }
            let at = (0..8).find(|&i| buf[range.start + i] != word[i]).expect("they differ");
            outcome = Err(Mismatch {
                offset: start + (range.start + at) as u64,
                expected: word[at],
                found: buf[range.start + at],
            });
        });
        outcome
    }

    #[inline]
    fn for_each_word(
        &self,
        size: BlockSize,
        lba: Lba,
        len_bytes: usize,
        mut each: impl FnMut(core::ops::Range<usize>, [u8; 8]),
    ) {
        assert!(len_bytes.is_multiple_of(SECTOR_BYTES), "whole sectors");
        let first_sector = size.byte_offset(lba) / SECTOR_BYTES as u64;
        for i in 0..len_bytes / SECTOR_BYTES {
            let mut state = draw(self.seed, CONTENT, first_sector + i as u64, self.version);
            for word in 0..SECTOR_BYTES / 8 {
                // A Weyl sequence through one multiply-xorshift round: about 1 ns a word.
                state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = (state ^ (state >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
                mixed ^= mixed >> 32;
                let at = i * SECTOR_BYTES + word * 8;
                each(at..at + 8, mixed.to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: BlockSize = BlockSize::B4096;

    #[test]
    fn what_was_filled_checks_in_parts_too() {
        let content = Content::new(1, 0);
        let mut buf = vec![0; 16_384];
        content.fill(SIZE, Lba(7), &mut buf);
        assert_eq!(content.check(SIZE, Lba(7), &buf), Ok(()));
        assert_eq!(content.check(SIZE, Lba(9), &buf[8192..12_288]), Ok(()));
        assert_eq!(content.check(BlockSize::B512, Lba(57), &buf[512..1024]), Ok(()));
    }

    #[test]
    fn a_flipped_bit_is_named_by_its_place() {
        let content = Content::new(1, 0);
        let mut buf = vec![0; 8192];
        content.fill(SIZE, Lba(2), &mut buf);
        buf[5000] ^= 0x10;
        let mismatch = content.check(SIZE, Lba(2), &buf).unwrap_err();
        assert_eq!(mismatch.offset, 8192 + 5000);
        assert_eq!(mismatch.found, mismatch.expected ^ 0x10);
    }

    #[test]
    fn misplaced_and_stale_sectors_are_seen() {
        let mut buf = vec![0; 4096];
        Content::new(1, 0).fill(SIZE, Lba(2), &mut buf);
        assert!(Content::new(1, 0).check(SIZE, Lba(3), &buf).is_err());
        assert!(Content::new(1, 1).check(SIZE, Lba(2), &buf).is_err());
        assert!(Content::new(2, 0).check(SIZE, Lba(2), &buf).is_err());
    }
}
