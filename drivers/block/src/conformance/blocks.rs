//! The model: which versions each block may hold.
//!
//! What must always hold: a block's content says which block and which version it is, and all
//! of it follows from the two; so torn, foreign and stale blocks are told from good ones.

use isotherm_seam::{Domain, Lba, draw};

const CONTENT: Domain = Domain::new("block.conformance.content");

/// A write's number; each write of a test has its own, from 1 on.
pub(super) type Version = u32;

/// Fills one block as `version` of `lba`.
pub(super) fn fill(block: &mut [u8], seed: u64, lba: Lba, version: Version) {
    let header = u64::from(version) << 32 | (lba.0 & 0xffff_ffff);
    let base = draw(seed, CONTENT, lba.0, version.into());
    for (index, word) in block.chunks_exact_mut(8).enumerate() {
        let value = if index == 0 { header } else { base.wrapping_mul(2 * index as u64 + 1) };
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// Which version of `lba` a block holds, all of it; `None` if it is not that block.
pub(super) fn version_of(block: &[u8], seed: u64, lba: Lba) -> Option<Version> {
    let header = u64::from_le_bytes(block[..8].try_into().expect("8 bytes"));
    let version = (header >> 32) as Version;
    let mut expected = vec![0; block.len()];
    fill(&mut expected, seed, lba, version);
    (expected == block).then_some(version)
}

/// What is known of one block.
#[derive(Clone, Copy, Default)]
pub(super) struct Block {
    /// The oldest version that it may hold; `None` while anything may be there.
    pub(super) oldest: Option<Version>,
    /// The newest that was sent.
    pub(super) newest: Version,
    /// A write or discard of it is in flight.
    pub(super) writing: bool,
    /// Reads of it in flight.
    pub(super) readers: u32,
}

/// A run of blocks under test.
pub(super) struct Window {
    pub(super) first: Lba,
    pub(super) blocks: Vec<Block>,
}

impl Window {
    pub(super) fn new(first: Lba, count: u64) -> Window {
        Window { first, blocks: vec![Block::default(); count as usize] }
    }

    pub(super) fn lba(&self, index: usize) -> Lba {
        self.first.offset(index as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_another_place_or_torn_is_not_taken_for_good() {
        let mut block = [0u8; 512];
        fill(&mut block, 1, Lba(7), 3);
        assert_eq!(version_of(&block, 1, Lba(7)), Some(3));
        assert_eq!(version_of(&block, 1, Lba(8)), None);
        assert_eq!(version_of(&block, 2, Lba(7)), None);
        let mut newer = [0u8; 512];
        fill(&mut newer, 1, Lba(7), 4);
        block[..256].copy_from_slice(&newer[..256]);
        assert_eq!(version_of(&block, 1, Lba(7)), None);
    }
}
