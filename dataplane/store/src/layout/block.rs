//! The check block: 4 KiB in front of every piece of payload, and all there is of what has none.
//!
//! ```text
//!    0 magic "IsoB"     4   12 segment        2   40 incarnation      8   64 segment bytes  4
//!    4 CRC32C of 8..    4   14 segments       2   48 sequence         8   68 zero           4
//!    8 version          2   16 disk uuid     16   56 durable blocks   4   72 payload CRCs  16
//!   10 kind             1   32 extent         4   60 payload bytes    4   88 body        4008
//!   11 flags            1   36 block          4
//! ```
//!
//! What must always hold: the CRC covers all bytes behind it. A block says where it lies (disk, extent, block) and in which life of the extent (incarnation),
//! so one that was lost, misdirected, stale or of another disk is seen for what it is.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::crc32c;
use crate::{BLOCK_BYTES, ExtentId};

/// Bytes of the part that depends on the kind.
pub(super) const BODY_BYTES: usize = 4008;

const MAGIC: [u8; 4] = *b"IsoB";
const VERSION: u16 = 1;

/// What a check block stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    /// A segment of a shard.
    Data = 1,
    /// Tombstones.
    Tombs = 2,
    /// The end of a batch.
    Mark = 3,
    /// The first block of an extent.
    Head = 4,
    /// A chunk of an index run.
    Run = 5,
    /// A part of a checkpoint.
    Checkpoint = 6,
}

impl Kind {
    fn from_u8(byte: u8) -> Option<Kind> {
        use Kind::{Checkpoint, Data, Head, Mark, Run, Tombs};
        [Data, Tombs, Mark, Head, Run, Checkpoint].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A check block as it lies on the disk.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Block {
    magic: [u8; 4],
    crc: U32,
    version: U16,
    kind: u8,
    pub(super) flags: u8,
    segment: U16,
    segments: U16,
    uuid: [u8; 16],
    extent: U32,
    block: U32,
    incarnation: U64,
    sequence: U64,
    durable: U32,
    payload_bytes: U32,
    segment_bytes: U32,
    zero: U32,
    crcs: [U32; 4],
    pub(super) body: [u8; BODY_BYTES],
}

const _: () = assert!(size_of::<Block>() == BLOCK_BYTES);
const _: () = assert!(core::mem::offset_of!(Block, body) == 88);

/// Where a block claims to lie, and in which life of its extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The disk.
    pub uuid: [u8; 16],
    /// The extent.
    pub extent: ExtentId,
    /// The block within the extent.
    pub block: u32,
    /// The life of the extent.
    pub incarnation: u64,
}

/// What is wrong with a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum BlockError {
    /// No check block at all: never written, or payload.
    #[error("not a check block")]
    NoMagic,
    /// Written by a later version.
    #[error("of a format version that this program does not know")]
    Version,
    /// Damaged.
    #[error("its checksum is wrong")]
    Checksum,
    /// Sound, but its fields contradict each other.
    #[error("its fields contradict each other")]
    Contradiction,
    /// Sound, but of another disk.
    #[error("of another disk")]
    Foreign,
    /// Sound, but written for another place.
    #[error("written for another place")]
    Misplaced,
    /// Sound, but of another life of its extent.
    #[error("of another incarnation of its extent")]
    Stale,
    /// Sound, but of another kind.
    #[error("of another kind")]
    Kind,
}

impl Block {
    /// The block over these bytes, whatever is in them.
    ///
    /// Panics unless there are [`BLOCK_BYTES`].
    pub fn over(bytes: &[u8]) -> &Block {
        Block::ref_from_bytes(bytes).expect("one whole block")
    }

    /// As [`Block::over`], to write it.
    pub fn over_mut(bytes: &mut [u8]) -> &mut Block {
        Block::mut_from_bytes(bytes).expect("one whole block")
    }

    /// A block that is sound: magic, version, checksum and fields are right. It may still be
    /// foreign, misplaced or stale.
    pub fn check(bytes: &[u8]) -> Result<(&Block, Kind), BlockError> {
        let block = Block::over(bytes);
        if block.magic != MAGIC {
            return Err(BlockError::NoMagic);
        }
        if block.version.get() != VERSION {
            return Err(BlockError::Version);
        }
        if block.crc.get() != block.checksum() {
            return Err(BlockError::Checksum);
        }
        let kind = Kind::from_u8(block.kind).ok_or(BlockError::Contradiction)?;
        if block.segment.get() >= block.segments.get().max(1) || block.zero.get() != 0 {
            return Err(BlockError::Contradiction);
        }
        Ok((block, kind))
    }

    /// Whether it lies where it claims to, in this life of the extent.
    pub fn check_origin(&self, origin: &Origin) -> Result<(), BlockError> {
        let own = self.origin();
        if own.uuid != origin.uuid {
            return Err(BlockError::Foreign);
        }
        if own.extent != origin.extent || own.block != origin.block {
            return Err(BlockError::Misplaced);
        }
        if own.incarnation != origin.incarnation {
            return Err(BlockError::Stale);
        }
        Ok(())
    }

    /// Where it claims to lie.
    pub fn origin(&self) -> Origin {
        Origin {
            uuid: self.uuid,
            extent: ExtentId(self.extent.get()),
            block: self.block.get(),
            incarnation: self.incarnation.get(),
        }
    }

    /// Makes it an empty block of a kind: everything else is zero.
    pub(super) fn clear(&mut self, kind: Kind) {
        self.body.fill(0);
        self.clear_head(kind);
    }

    /// As [`Block::clear`], but leaves the body as it is.
    pub(super) fn clear_head(&mut self, kind: Kind) {
        self.as_mut_bytes()[..BLOCK_BYTES - BODY_BYTES].fill(0);
        self.magic = MAGIC;
        self.version = VERSION.into();
        self.kind = kind as u8;
        self.segments = 1.into();
    }

    /// Which of how many segments it stands before.
    pub fn segment(&self) -> (u32, u32) {
        (u32::from(self.segment.get()), u32::from(self.segments.get()))
    }

    pub(super) fn set_segment(&mut self, segment: u32, segments: u32) {
        assert!(segment < segments, "one of its segments");
        self.segment = U16::new(u16::try_from(segment).expect("few segments"));
        self.segments = U16::new(u16::try_from(segments).expect("few segments"));
    }

    /// The number of the change that it is part of.
    pub fn sequence(&self) -> u64 {
        self.sequence.get()
    }

    /// Blocks from the start of this extent that were known to be durable when it was written.
    pub fn durable(&self) -> u32 {
        self.durable.get()
    }

    /// Payload bytes of the whole record.
    pub fn payload_bytes(&self) -> u32 {
        self.payload_bytes.get()
    }

    /// Payload bytes behind this block.
    pub fn segment_bytes(&self) -> u32 {
        self.segment_bytes.get()
    }

    pub(super) fn set_lengths(&mut self, payload_bytes: u32, segment_bytes: u32) {
        self.payload_bytes = payload_bytes.into();
        self.segment_bytes = segment_bytes.into();
    }

    /// CRC32C of each 64 KiB of the payload behind it.
    pub fn crcs(&self) -> [u32; 4] {
        self.crcs.map(U32::get)
    }

    pub(super) fn set_crcs(&mut self, crcs: [u32; 4]) {
        self.crcs = crcs.map(U32::new);
    }

    /// Its own checksum, as written.
    pub fn crc(&self) -> u32 {
        self.crc.get()
    }

    /// The last strokes before it is written: its place, number and checksum.
    pub fn seal(&mut self, origin: &Origin, sequence: u64, durable: u32) {
        assert!(self.magic == MAGIC, "an empty block was made something of first");
        self.uuid = origin.uuid;
        self.extent = origin.extent.0.into();
        self.block = origin.block.into();
        self.incarnation = origin.incarnation.into();
        self.sequence = sequence.into();
        self.durable = durable.into();
        self.crc = self.checksum().into();
    }

    fn checksum(&self) -> u32 {
        crc32c(&self.as_bytes()[8..])
    }
}
