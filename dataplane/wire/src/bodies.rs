//! Bodies with a form of their own: a page of a listing, the state of a disk.
//!
//! ```text
//! entry of a page, 40 bytes: | key 26 | tombstone 1 | 0 | at_s 4 | sequence 8 |
//! ```

use isotherm_seam::Key;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::WireError;

/// An entry of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The shard's name.
    pub key: Key,
    /// A kept tombstone, not a shard.
    pub is_tombstone: bool,
    /// When it was put or deleted, in seconds since 1970.
    pub at_s: u32,
    /// Its number among all changes of the disk.
    pub sequence: u64,
}

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 40;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawEntry {
    key: [u8; Key::BYTES],
    tombstone: u8,
    pad: u8,
    at_s: U32,
    sequence: U64,
}

const _: () = assert!(size_of::<RawEntry>() == ENTRY_BYTES);

/// Writes a page.
pub fn encode_entries(entries: impl Iterator<Item = Entry>) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let raw = RawEntry {
            key: entry.key.to_bytes(),
            tombstone: u8::from(entry.is_tombstone),
            pad: 0,
            at_s: U32::new(entry.at_s),
            sequence: U64::new(entry.sequence),
        };
        out.extend_from_slice(raw.as_bytes());
    }
    out
}

/// Reads a page.
pub fn decode_entries(body: &[u8]) -> Result<Vec<Entry>, WireError> {
    let (raw, rest) = <[RawEntry]>::ref_from_prefix_with_elems(body, body.len() / ENTRY_BYTES)
        .map_err(|_| WireError::Body)?;
    if !rest.is_empty() {
        return Err(WireError::Body);
    }
    raw.iter()
        .map(|raw| match raw.tombstone {
            0 | 1 => Ok(Entry {
                key: Key::from_bytes(&raw.key),
                is_tombstone: raw.tombstone == 1,
                at_s: raw.at_s.get(),
                sequence: raw.sequence.get(),
            }),
            _ => Err(WireError::Field { name: "tombstone" }),
        })
        .collect()
}

/// How a disk is: the body of the answer to a status.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskState {
    /// Size of the device.
    pub capacity_bytes: u64,
    /// Of all extents, those with nothing in them, in bytes.
    pub free_bytes: u64,
    /// Bytes of the records that are neither replaced nor deleted.
    pub live_bytes: u64,
    /// Shards in the index.
    pub shards: u64,
    /// Room for more, as the index's ceiling has it.
    pub shards_room: u64,
    /// It takes no writes after an error.
    pub is_fenced: bool,
    /// It is being taken out of service.
    pub is_retired: bool,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RawState {
    capacity_bytes: U64,
    free_bytes: U64,
    live_bytes: U64,
    shards: U64,
    shards_room: U64,
    is_fenced: u8,
    is_retired: u8,
    pad: [u8; 6],
}

impl DiskState {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let raw = RawState {
            capacity_bytes: U64::new(self.capacity_bytes),
            free_bytes: U64::new(self.free_bytes),
            live_bytes: U64::new(self.live_bytes),
            shards: U64::new(self.shards),
            shards_room: U64::new(self.shards_room),
            is_fenced: u8::from(self.is_fenced),
            is_retired: u8::from(self.is_retired),
            pad: [0; 6],
        };
        raw.as_bytes().to_vec()
    }

    /// From its bytes. A longer body is of a later version: what it adds is passed over.
    pub fn decode(body: &[u8]) -> Result<DiskState, WireError> {
        let (raw, _) = RawState::read_from_prefix(body).map_err(|_| WireError::Body)?;
        if raw.is_fenced > 1 || raw.is_retired > 1 {
            return Err(WireError::Field { name: "state" });
        }
        Ok(DiskState {
            capacity_bytes: raw.capacity_bytes.get(),
            free_bytes: raw.free_bytes.get(),
            live_bytes: raw.live_bytes.get(),
            shards: raw.shards.get(),
            shards_room: raw.shards_room.get(),
            is_fenced: raw.is_fenced == 1,
            is_retired: raw.is_retired == 1,
        })
    }
}
