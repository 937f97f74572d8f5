//! A shard on the disk: a row of segments, each behind its check block.
//!
//! ```text
//! | check | up to 256 KiB | check | up to 256 KiB | ...      the last one padded to 4 KiB
//!
//! body at 88:
//!  88 key        26   116 put, s        4   134 kills       1   184 supersedes   8
//! 114 codec       1   120 epoch         8   135 zero        1   192 cell CRCs  4 x 976
//! 115 zero        1   128 expires, s    4   136 kills  4 x 12
//!                     132 cells         2
//! ```
//!
//! What must always hold: each segment's check block has the record's identity, so any segment
//! can be read and checked alone; cell CRCs stand in the first one only. A record names the
//! extents in which older records of its key may still lie.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::block::{BODY_BYTES, Block, BlockError, Kind};
use super::crc32c;
use crate::{BLOCK_BYTES, ExtentId, Key, Place};

/// Payload of a full segment.
pub const SEGMENT_BYTES: usize = 256 << 10;
/// Payload that one CRC covers.
pub const CRC_BYTES: usize = 64 << 10;
/// CRCs of cells that a record has room for.
pub const CELLS_MAX: usize = 976;
/// Kills that a record names.
pub const KILLS_MAX: usize = 4;

/// The lengths of a record of so many payload bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Of the payload.
    pub payload_bytes: u32,
}

impl Shape {
    /// Segments, at least one.
    pub fn segments(self) -> u32 {
        (self.payload_bytes as usize).div_ceil(SEGMENT_BYTES).max(1) as u32
    }

    /// Blocks of the whole record.
    pub fn blocks(self) -> u32 {
        self.segments() + (self.payload_bytes as usize).div_ceil(BLOCK_BYTES) as u32
    }

    /// Payload bytes of a segment.
    pub fn segment_bytes(self, segment: u32) -> u32 {
        let start = segment as usize * SEGMENT_BYTES;
        (self.payload_bytes as usize - start).min(SEGMENT_BYTES) as u32
    }

    /// Where a segment's check block lies within the record.
    pub fn segment_block(self, segment: u32) -> u32 {
        segment * (1 + (SEGMENT_BYTES / BLOCK_BYTES) as u32)
    }

    /// The segments and their payload within the bytes of a record.
    pub fn payload_at(self, segment: u32) -> std::ops::Range<usize> {
        let start = (self.segment_block(segment) as usize + 1) * BLOCK_BYTES;
        start..start + self.segment_bytes(segment) as usize
    }
}

/// A place where an older record of a key may lie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Kill {
    /// The extent,
    pub extent: ExtentId,
    /// in this life.
    pub incarnation: u64,
}

/// Where older records of a key may still lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kills {
    rows: [Option<Kill>; KILLS_MAX],
    more: bool,
}

impl Kills {
    /// Adds one; beyond [`KILLS_MAX`] it only remembers that there are more.
    pub fn add(&mut self, kill: Kill) {
        if self.iter().any(|own| own == kill) {
            return;
        }
        match self.rows.iter_mut().find(|row| row.is_none()) {
            Some(row) => *row = Some(kill),
            None => self.more = true,
        }
    }

    /// Keeps those for which `keep` says so. What was forgotten stays forgotten.
    pub fn retain(&mut self, keep: impl Fn(&Kill) -> bool) {
        for row in &mut self.rows {
            if row.is_some_and(|kill| !keep(&kill)) {
                *row = None;
            }
        }
    }

    /// There may be any number of others.
    pub fn forget(&mut self) {
        self.more = true;
    }

    /// Adds all of another.
    pub fn join(&mut self, other: &Kills) {
        other.iter().for_each(|kill| self.add(kill));
        self.more |= other.more;
    }

    /// Those that are named.
    pub fn iter(&self) -> impl Iterator<Item = Kill> + '_ {
        self.rows.iter().flatten().copied()
    }

    /// There were more than could be named.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Whether nothing is left to kill.
    pub fn is_empty(&self) -> bool {
        !self.more && self.rows.iter().all(Option::is_none)
    }

    pub(super) fn to_rows(self) -> ([KillRow; KILLS_MAX], u8, bool) {
        let mut rows = [KillRow::default(); KILLS_MAX];
        let mut count = 0;
        for (row, kill) in rows.iter_mut().zip(self.iter()) {
            row.extent = kill.extent.0.into();
            row.incarnation = kill.incarnation.into();
            count += 1;
        }
        (rows, count, self.more)
    }

    pub(super) fn from_rows(rows: &[KillRow; KILLS_MAX], count: u8, more: bool) -> Kills {
        let mut kills = Kills { more, ..Kills::default() };
        for row in &rows[..usize::from(count)] {
            kills.add(Kill {
                extent: ExtentId(row.extent.get()),
                incarnation: row.incarnation.get(),
            });
        }
        kills
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct KillRow {
    extent: U32,
    incarnation: U64,
}

const SUPERSEDES: u64 = 1 << 63;

pub(super) fn supersedes_to(place: Option<Place>) -> u64 {
    place.map_or(0, |place| place.pack() | SUPERSEDES)
}

pub(super) fn supersedes_from(bits: u64) -> Option<Place> {
    (bits & SUPERSEDES != 0).then(|| Place::unpack(bits))
}

/// What a record says of itself in each of its segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordHead {
    /// The shard's name.
    pub key: Key,
    /// The epoch of its group.
    pub epoch: u64,
    /// How its stripe is coded.
    pub codec: u8,
    /// When it was put, in seconds since 1970.
    pub put_s: u32,
    /// When it will probably be deleted; 0 where unknown.
    pub expires_s: u32,
    /// Where older records of its key may lie.
    pub kills: Kills,
    /// The index entry that it took the place of.
    pub supersedes: Option<Place>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RecordBody {
    key: [u8; Key::BYTES],
    codec: u8,
    zero: u8,
    put_s: U32,
    epoch: U64,
    expires_s: U32,
    cells: U16,
    kills: u8,
    zero2: u8,
    rows: [KillRow; KILLS_MAX],
    supersedes: U64,
    cell_crcs: [U32; CELLS_MAX],
}

const _: () = assert!(size_of::<KillRow>() == 12);
const _: () = assert!(size_of::<RecordBody>() == BODY_BYTES);

const KILLS_MORE: u8 = 1;

impl RecordHead {
    /// Makes `block` the check block of a segment with this payload, whose CRCs it takes.
    pub fn write(&self, kind: Kind, shape: Shape, segment: u32, payload: &[u8], block: &mut Block) {
        assert_eq!(payload.len() as u32, shape.segment_bytes(segment), "the segment's payload");
        let has_cells = segment == 0 && block.flags == CELLS_SET;
        block.clear_head(kind);
        let body = RecordBody::mut_from_bytes(&mut block.body).expect("its size");
        if !has_cells {
            body.cells = U16::ZERO;
            body.cell_crcs.fill(U32::ZERO);
        }
        (body.zero, body.zero2) = (0, 0);
        body.key = self.key.to_bytes();
        block.set_segment(segment, shape.segments());
        block.set_lengths(shape.payload_bytes, payload.len() as u32);
        let mut crcs = [0; 4];
        for (crc, chunk) in crcs.iter_mut().zip(payload.chunks(CRC_BYTES)) {
            *crc = crc32c(chunk);
        }
        block.set_crcs(crcs);
        self.stamp(block);
    }

    /// Writes everything that may change when a record moves; payload and CRCs stay.
    pub fn stamp(&self, block: &mut Block) {
        let (rows, count, more) = self.kills.to_rows();
        block.flags = if more { KILLS_MORE } else { 0 };
        let body = RecordBody::mut_from_bytes(&mut block.body).expect("its size");
        body.codec = self.codec;
        body.put_s = self.put_s.into();
        body.epoch = self.epoch.into();
        body.expires_s = self.expires_s.into();
        body.kills = count;
        body.rows = rows;
        body.supersedes = supersedes_to(self.supersedes).into();
    }

    /// Reads a sound block of kind [`Kind::Data`] or [`Kind::Run`].
    pub fn read(block: &Block) -> Result<(RecordHead, Shape), BlockError> {
        let body = RecordBody::ref_from_bytes(&block.body).expect("its size");
        let shape = Shape { payload_bytes: block.payload_bytes() };
        let (segment, segments) = block.segment();
        if usize::from(body.kills) > KILLS_MAX
            || usize::from(body.cells.get()) > CELLS_MAX
            || segments != shape.segments()
            || block.segment_bytes() != shape.segment_bytes(segment)
            || shape.blocks() > Place::BLOCKS_MAX
        {
            return Err(BlockError::Contradiction);
        }
        let head = RecordHead {
            key: Key::from_bytes(&body.key),
            epoch: body.epoch.get(),
            codec: body.codec,
            put_s: body.put_s.get(),
            expires_s: body.expires_s.get(),
            kills: Kills::from_rows(&body.rows, body.kills, block.flags & KILLS_MORE != 0),
            supersedes: supersedes_from(body.supersedes.get()),
        };
        Ok((head, shape))
    }
}

/// Says on a block that is not written yet that it holds cell CRCs.
const CELLS_SET: u8 = 0x80;

impl Block {
    /// Notes the CRCs of all cells of the stripe on the block of a first segment, before
    /// [`RecordHead::write`]. More than [`CELLS_MAX`] can't be noted and are left out.
    pub fn set_cells(&mut self, crcs: &[u32]) {
        let body = RecordBody::mut_from_bytes(&mut self.body).expect("its size");
        let crcs = if crcs.len() <= CELLS_MAX { crcs } else { &[] };
        body.cells = U16::new(crcs.len() as u16);
        body.cell_crcs.fill(U32::ZERO);
        for (own, crc) in body.cell_crcs.iter_mut().zip(crcs) {
            *own = U32::new(*crc);
        }
        self.flags = CELLS_SET;
    }

    /// Says that the cell CRCs of a record that was read stay when it is written again.
    pub fn keep_cells(&mut self) {
        self.flags = CELLS_SET;
    }

    /// Says that no cell CRCs were noted.
    pub fn clear_cells(&mut self) {
        self.flags = 0;
    }

    /// The CRCs of all cells of the stripe, where they were noted.
    pub fn cells(&self) -> impl Iterator<Item = u32> + '_ {
        let body = RecordBody::ref_from_bytes(&self.body).expect("its size");
        body.cell_crcs[..usize::from(body.cells.get()).min(CELLS_MAX)].iter().map(|crc| crc.get())
    }
}

/// The segments of a record in memory, checked one by one.
pub struct Segments;

impl Segments {
    /// Whether the payload behind a check block is what was written, for CRC units
    /// `from..to` of the segment (a unit is 64 KiB).
    pub fn check_units(block: &Block, payload: &[u8], from: usize, to: usize) -> bool {
        let crcs = block.crcs();
        (from..to).all(|unit| {
            let end = ((unit + 1) * CRC_BYTES).min(block.segment_bytes() as usize);
            payload.get(unit * CRC_BYTES..end).is_some_and(|bytes| crc32c(bytes) == crcs[unit])
        })
    }
}
