//! Where a record lies on a disk, in 48 bits.
//!
//! ```text
//!  47        45 44        36 35          20 19            0
//! | flags     | blocks     | first block  | extent        |
//! ```
//!
//! The unit is the store's block of 4 KiB. 20 bits of extents of at most 2^16 blocks (256 MiB)
//! are 256 TiB; nine bits of length hold the longest record, 1 MiB with its check blocks.

/// Number of an extent on its disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ExtentId(pub u32);

/// Bytes of a store block: the unit of placement, and the size of a check block.
pub const BLOCK_BYTES: usize = 4096;

/// Where a record lies, how long it is, and whether it is a tombstone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// The extent.
    pub extent: ExtentId,
    /// Its first block within the extent.
    pub block: u32,
    /// Its length in blocks.
    pub blocks: u16,
    /// It is a tombstone.
    pub dead: bool,
}

const EXTENT_BITS: u32 = 20;
const BLOCK_BITS: u32 = 16;
const BLOCKS_BITS: u32 = 9;
const DEAD: u64 = 1 << (EXTENT_BITS + BLOCK_BITS + BLOCKS_BITS);

impl Place {
    /// Extents a disk may have.
    pub const EXTENTS_MAX: u32 = 1 << EXTENT_BITS;
    /// Blocks an extent may have.
    pub const EXTENT_BLOCKS_MAX: u32 = 1 << BLOCK_BITS;
    /// Blocks a record may have.
    pub const BLOCKS_MAX: u32 = (1 << BLOCKS_BITS) - 1;

    /// As 48 bits.
    pub fn pack(self) -> u64 {
        assert!(self.extent.0 < Place::EXTENTS_MAX && self.block < Place::EXTENT_BLOCKS_MAX);
        assert!(u32::from(self.blocks) <= Place::BLOCKS_MAX);
        u64::from(self.extent.0)
            | u64::from(self.block) << EXTENT_BITS
            | u64::from(self.blocks) << (EXTENT_BITS + BLOCK_BITS)
            | if self.dead { DEAD } else { 0 }
    }

    /// The inverse of [`Place::pack`]. Higher bits are not looked at.
    pub fn unpack(bits: u64) -> Place {
        Place {
            extent: ExtentId((bits & ((1 << EXTENT_BITS) - 1)) as u32),
            block: (bits >> EXTENT_BITS & ((1 << BLOCK_BITS) - 1)) as u32,
            blocks: (bits >> (EXTENT_BITS + BLOCK_BITS) & ((1 << BLOCKS_BITS) - 1)) as u16,
            dead: bits & DEAD != 0,
        }
    }

    /// Whether two places are the same piece of the disk.
    pub fn is_at(&self, other: &Place) -> bool {
        self.extent == other.extent && self.block == other.block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_packing() {
        for place in [
            Place { extent: ExtentId(0), block: 0, blocks: 0, dead: false },
            Place { extent: ExtentId((1 << 20) - 1), block: 65_535, blocks: 511, dead: true },
            Place { extent: ExtentId(77), block: 1, blocks: 260, dead: false },
        ] {
            assert_eq!(Place::unpack(place.pack()), place);
            assert_eq!(place.pack() >> 48, 0);
        }
    }
}
