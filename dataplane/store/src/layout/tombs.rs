//! Tombstones: up to 35 of them in one check block.
//!
//! ```text
//! body at 88: 88 count 2 | 90 zero 6 | 96 tombstones of 112 bytes | zero
//!
//! tombstone   0 key         26   32 sequence          8   56 kills         4 x 12
//!            26 flags        1   40 epoch             8  104 supersedes    8
//!            27 kills        1   48 born              8
//!            28 deleted, s   4
//! ```
//!
//! What must always hold: a tombstone names each extent, with its incarnation, that may still
//! hold a record it kills; if they do not fit, it says so, and then it outlives every extent
//! that was opened before it was born.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::block::{BODY_BYTES, Block, BlockError, Kind};
use super::record::{KillRow, Kills, supersedes_from, supersedes_to};
use crate::{Key, Place};

/// Tombstones in a block.
pub const TOMBS_MAX: usize = 35;

/// One tombstone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tomb {
    /// What it kills: every record of this key with a lower sequence.
    pub key: Key,
    /// Its number among all changes of this disk.
    pub sequence: u64,
    /// The epoch of the delete.
    pub epoch: u64,
    /// When, in seconds since 1970.
    pub deleted_s: u32,
    /// Kept until its holder releases it.
    pub held: bool,
    /// Extents opened from this incarnation on hold nothing that it kills.
    pub born: u64,
    /// Where that may lie.
    pub kills: Kills,
    /// The index entry that it took the place of.
    pub supersedes: Option<Place>,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy)]
#[repr(C)]
struct TombRow {
    key: [u8; Key::BYTES],
    flags: u8,
    kills: u8,
    deleted_s: U32,
    sequence: U64,
    epoch: U64,
    born: U64,
    rows: [KillRow; 4],
    supersedes: U64,
}

const _: () = assert!(size_of::<TombRow>() == 112);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct TombsBody {
    count: U16,
    zero: [u8; 6],
    rows: [TombRow; TOMBS_MAX],
    rest: [u8; BODY_BYTES - 8 - 112 * TOMBS_MAX],
}

const _: () = assert!(size_of::<TombsBody>() == BODY_BYTES);

const HELD: u8 = 1;
const KILLS_MORE: u8 = 2;

/// A block of tombstones.
pub struct Tombs;

impl Tombs {
    /// Makes the block one of these tombstones, at most [`TOMBS_MAX`].
    pub fn write(tombs: &[Tomb], block: &mut Block) {
        assert!(tombs.len() <= TOMBS_MAX && !tombs.is_empty(), "as many as fit");
        block.clear(Kind::Tombs);
        let body = TombsBody::mut_from_bytes(&mut block.body).expect("its size");
        body.count = U16::new(tombs.len() as u16);
        for (row, tomb) in body.rows.iter_mut().zip(tombs) {
            let (rows, count, more) = tomb.kills.to_rows();
            *row = TombRow {
                key: tomb.key.to_bytes(),
                flags: if tomb.held { HELD } else { 0 } | if more { KILLS_MORE } else { 0 },
                kills: count,
                deleted_s: tomb.deleted_s.into(),
                sequence: tomb.sequence.into(),
                epoch: tomb.epoch.into(),
                born: tomb.born.into(),
                rows,
                supersedes: supersedes_to(tomb.supersedes).into(),
            };
        }
    }

    /// Reads a sound block of kind [`Kind::Tombs`].
    pub fn read(block: &Block) -> Result<impl Iterator<Item = Tomb> + use<'_>, BlockError> {
        let body = TombsBody::ref_from_bytes(&block.body).expect("its size");
        let count = usize::from(body.count.get());
        if count == 0 || count > TOMBS_MAX {
            return Err(BlockError::Contradiction);
        }
        let rows = &body.rows[..count];
        if rows.iter().any(|row| usize::from(row.kills) > row.rows.len()) {
            return Err(BlockError::Contradiction);
        }
        Ok(rows.iter().map(|row| Tomb {
            key: Key::from_bytes(&row.key),
            sequence: row.sequence.get(),
            epoch: row.epoch.get(),
            deleted_s: row.deleted_s.get(),
            held: row.flags & HELD != 0,
            born: row.born.get(),
            kills: Kills::from_rows(&row.rows, row.kills, row.flags & KILLS_MORE != 0),
            supersedes: supersedes_from(row.supersedes.get()),
        }))
    }
}
