//! Zones: how a device wants to be written.
//!
//! A host-managed SMR disk takes writes only at the write pointer of a zone and forgets a zone
//! only as a whole. A conventional disk has no zones of its own; what stands above it picks a
//! software zone size. Terms as in ZBC/ZAC and Linux's `blkzoned.h`.

use crate::{IoBuf, Lba, ZoneId};

/// The zones of a host-managed device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneGeometry {
    /// From the start of one zone to the next, in logical blocks.
    pub zone_blocks: u64,
    /// Writable blocks at the start of each zone: `zone_blocks` or fewer.
    pub capacity_blocks: u64,
    /// How many zones.
    pub zones: u32,
    /// The first so many are conventional: written in any order.
    pub conventional: u32,
    /// How many sequential zones may be open (partly written) at once; 0 is no limit.
    pub open_max: u32,
}

impl ZoneGeometry {
    /// The zone that holds a block.
    pub fn zone_of(&self, lba: Lba) -> ZoneId {
        ZoneId(u32::try_from(lba.0 / self.zone_blocks).expect("a zone index fits 32 bits"))
    }

    /// The first block of a zone.
    pub fn start(&self, zone: ZoneId) -> Lba {
        Lba(u64::from(zone.0) * self.zone_blocks)
    }

    /// Whether a zone takes writes at its write pointer only.
    pub fn is_sequential(&self, zone: ZoneId) -> bool {
        zone.0 >= self.conventional
    }
}

/// Condition of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ZoneState {
    /// Written in any order; has no write pointer.
    Conventional = 0,
    /// Nothing written since its last reset.
    Empty = 1,
    /// Partly written.
    Open = 2,
    /// Written or finished to its end: only a reset makes it writable.
    Full = 3,
    /// May be read, never written again.
    ReadOnly = 4,
    /// Lost.
    Offline = 5,
}

impl ZoneState {
    fn from_u8(byte: u8) -> Option<ZoneState> {
        use ZoneState::{Conventional, Empty, Full, Offline, Open, ReadOnly};
        [Conventional, Empty, Open, Full, ReadOnly, Offline].into_iter().find(|s| *s as u8 == byte)
    }
}

/// One zone as the device reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZoneInfo {
    /// Its first block.
    pub start: Lba,
    /// Writable blocks.
    pub capacity_blocks: u64,
    /// Where the next write goes; `start` for a conventional zone.
    pub write_pointer: Lba,
    /// Its condition.
    pub state: ZoneState,
}

/// The answer to [`Op::ZoneReport`](crate::Op::ZoneReport): entries written by the device into
/// the request's buffer, so that a report allocates nothing.
///
/// ```text
/// entry i at 32 x i, little-endian
///  0        8          16             24     25        32
///  | start  | capacity | write pointer| state| zero    |
/// ```
pub struct ZoneReport;

impl ZoneReport {
    /// Bytes per entry.
    pub const ENTRY_BYTES: usize = 32;

    /// How many zones a buffer of `len_bytes` can report.
    pub const fn entries_in(len_bytes: usize) -> usize {
        len_bytes / Self::ENTRY_BYTES
    }

    /// Writes entry `index`.
    pub fn put(buf: &mut IoBuf, index: usize, zone: &ZoneInfo) {
        let at = index * Self::ENTRY_BYTES;
        let entry = &mut buf[at..at + Self::ENTRY_BYTES];
        entry[0..8].copy_from_slice(&zone.start.0.to_le_bytes());
        entry[8..16].copy_from_slice(&zone.capacity_blocks.to_le_bytes());
        entry[16..24].copy_from_slice(&zone.write_pointer.0.to_le_bytes());
        entry[24] = zone.state as u8;
        entry[25..].fill(0);
    }

    /// Reads entry `index`. Panics if no device wrote one there: that is a bug, not an input.
    pub fn get(buf: &IoBuf, index: usize) -> ZoneInfo {
        let at = index * Self::ENTRY_BYTES;
        let entry = &buf[at..at + Self::ENTRY_BYTES];
        let word = |i: usize| u64::from_le_bytes(entry[i..i + 8].try_into().expect("8 bytes"));
        ZoneInfo {
            start: Lba(word(0)),
            capacity_blocks: word(8),
            write_pointer: Lba(word(16)),
            state: ZoneState::from_u8(entry[24]).expect("a zone state that a device wrote"),
        }
    }
}

/// Why a zone refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ZoneError {
    /// A write that does not start at the write pointer.
    #[error("the write pointer is at {}", write_pointer.0)]
    NotAtWritePointer {
        /// Where the next write must start.
        write_pointer: Lba,
    },
    /// The zone is full: reset it first.
    #[error("the zone is full")]
    Full,
    /// The request crosses the end of a zone's capacity.
    #[error("the request crosses the end of the zone")]
    Crosses,
    /// A read of blocks not written since the last reset.
    #[error("nothing is written there")]
    Unwritten,
    /// As many zones are open as the device allows.
    #[error("too many open zones")]
    TooManyOpen,
    /// A reset or finish of a conventional zone.
    #[error("the zone is conventional")]
    Conventional,
    /// The zone is read-only or offline.
    #[error("the zone is out of service")]
    OutOfService,
}
