//! The end of a batch, and the head of an extent.
//!
//! ```text
//! Mark, body at 88                      Head, body at 88
//!  88 batch's first block   4           88 stream          1
//!  92 records               4           89 zero            7
//!  96 CRC of heads          4           96 opened, s       4
//! 100 zero               3996          100 expires, day    4
//!                                      104 zero         3992
//! ```
//!
//! What must always hold: a record counts as committed when the mark of its batch is sound, or
//! when a later block of its extent says that it was durable. The CRC of heads chains the
//! checksums of all check blocks of the batch, in order: it vouches for exactly these records.
//! h(0) = 0, h(i) = CRC32C(h(i-1) then the checksum of block i, each as four bytes).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::block::{BODY_BYTES, Block, BlockError, Kind};
use super::checkpoint::Stream;
use super::crc32c;

/// The end of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The first block of its batch.
    pub first_block: u32,
    /// Records in it.
    pub records: u32,
    /// CRC32C over the checksums of its check blocks.
    pub heads_crc: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MarkBody {
    first_block: U32,
    records: U32,
    heads_crc: U32,
    zero: [u8; BODY_BYTES - 12],
}

const _: () = assert!(size_of::<MarkBody>() == BODY_BYTES);

impl Mark {
    /// The chained CRC with one more check block.
    pub fn chain(heads_crc: u32, block_crc: u32) -> u32 {
        let both = u64::from(heads_crc) | u64::from(block_crc) << 32;
        crc32c(&both.to_le_bytes())
    }

    /// Makes the block a mark.
    pub fn write(&self, block: &mut Block) {
        block.clear(Kind::Mark);
        let body = MarkBody::mut_from_bytes(&mut block.body).expect("its size");
        body.first_block = self.first_block.into();
        body.records = self.records.into();
        body.heads_crc = self.heads_crc.into();
    }

    /// Reads a sound block of kind [`Kind::Mark`].
    pub fn read(block: &Block) -> Result<Mark, BlockError> {
        let body = MarkBody::ref_from_bytes(&block.body).expect("its size");
        let mark = Mark {
            first_block: body.first_block.get(),
            records: body.records.get(),
            heads_crc: body.heads_crc.get(),
        };
        if mark.first_block > block.origin().block {
            return Err(BlockError::Contradiction);
        }
        Ok(mark)
    }
}

/// The first block of an extent: which life begins here, and what for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtentHead {
    /// What it holds; `None` says that it was reset and nothing of an earlier life counts.
    pub stream: Option<Stream>,
    /// When it was opened, in seconds since 1970.
    pub opened_s: u32,
    /// On which day since 1970 its shards expire, 0 where unknown.
    pub expires_day: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct HeadBody {
    stream: u8,
    zero: [u8; 7],
    opened_s: U32,
    expires_day: U32,
    rest: [u8; BODY_BYTES - 16],
}

const _: () = assert!(size_of::<HeadBody>() == BODY_BYTES);

const RESET: u8 = 255;

impl ExtentHead {
    /// Makes the block the head of an extent.
    pub fn write(&self, block: &mut Block) {
        block.clear(Kind::Head);
        let body = HeadBody::mut_from_bytes(&mut block.body).expect("its size");
        body.stream = self.stream.map_or(RESET, |stream| stream as u8);
        body.opened_s = self.opened_s.into();
        body.expires_day = self.expires_day.into();
    }

    /// Reads a sound block of kind [`Kind::Head`].
    pub fn read(block: &Block) -> Result<ExtentHead, BlockError> {
        let body = HeadBody::ref_from_bytes(&block.body).expect("its size");
        let stream = match body.stream {
            RESET => None,
            byte => Some(Stream::from_u8(byte).ok_or(BlockError::Contradiction)?),
        };
        Ok(ExtentHead {
            stream,
            opened_s: body.opened_s.get(),
            expires_day: body.expires_day.get(),
        })
    }
}
