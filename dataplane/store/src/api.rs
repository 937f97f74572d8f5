//! What is asked of a store and what it answers.
//!
//! What must always hold: each error names a cause that a caller can act on. An operation that
//! answers an error other than a late I/O failure has changed nothing.

use std::ops::Range;

use isotherm_seam::{IoError, Lba, Nanos, PoolExhausted};

use crate::{ExtentId, Key};

/// A put, but for its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Put {
    /// The shard's name.
    pub key: Key,
    /// The epoch of its group; kept and given back, never compared.
    pub epoch: u64,
    /// How its stripe is coded; kept and given back.
    pub codec: u8,
    /// The payload's CRC32C as its sender knows it; a payload that differs is refused.
    pub crc: Option<u32>,
    /// When it will probably be deleted, in seconds since 1970; 0 where nobody knows. Shards
    /// that expire together are kept together.
    pub expires_s: u32,
    /// It may take the room that is kept for deletes, and waits for the cleaner as they do. For a
    /// few bytes now and then that a full disk must be able to note of itself.
    pub vital: bool,
}

impl Put {
    /// A put without hints.
    pub fn new(key: Key) -> Put {
        Put { key, epoch: 0, codec: 0, crc: None, expires_s: 0, vital: false }
    }
}

/// A delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delete {
    /// The shard's name.
    pub key: Key,
    /// The epoch of its group.
    pub epoch: u64,
    /// Keep the tombstone until [`crate::Store::release`], also if the shard is not here.
    pub hold: bool,
}

impl Delete {
    /// A delete whose tombstone the store may drop once nothing is left that it kills.
    pub fn new(key: Key) -> Delete {
        Delete { key, epoch: 0, hold: false }
    }
}

/// What a record says of itself, for the caller to check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its name.
    pub key: Key,
    /// As put.
    pub epoch: u64,
    /// As put.
    pub codec: u8,
    /// Length of the payload.
    pub len_bytes: u32,
    /// Its number among all changes of this disk; a relocation keeps it.
    pub sequence: u64,
    /// When it was put, in seconds since 1970.
    pub put_s: u32,
}

/// An entry of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The shard's name.
    pub key: Key,
    /// A kept tombstone, not a shard.
    pub is_tombstone: bool,
    /// Its number among all changes of this disk.
    pub sequence: u64,
    /// When it was put or deleted, in seconds since 1970.
    pub at_s: u32,
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// In the order of their keys.
    pub entries: Vec<Listed>,
    /// Where to go on; `None` when the range is done.
    pub next: Option<Key>,
}

/// Why a put was refused or failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PutError {
    /// No room but what the cleaner and deletes need.
    #[error("the disk is full: only the cleaner's reserve is left; delete or drain something")]
    Full,
    /// The index has as many entries as its ceiling allows.
    #[error("the index is full: raise its ceiling or put larger shards")]
    IndexFull,
    /// The shard was deleted and its tombstone is still kept.
    #[error("the shard was deleted; its tombstone is still kept")]
    Deleted,
    /// The payload is not what its sender sent.
    #[error("the payload does not have its CRC")]
    Mismatch,
    /// Longer than a shard may be on this disk.
    #[error("longer than a shard may be here")]
    TooLong,
    /// After a failed flush, two failed writes in a row, or a checkpoint that can't be read back,
    /// nothing is written any more.
    #[error("the disk no longer takes writes after an error; its data can be read: drain it")]
    Fenced,
    /// The queue is so long that the deadline can't be met.
    #[error("busy: about {} ms", expected.as_millis_f64())]
    Busy {
        /// The expected wait.
        expected: Nanos,
    },
    /// A record had to be read to tell two keys apart, and could not be.
    #[error("could not read what the key replaces: {0}")]
    Read(IoError),
    /// What the key replaces is damaged and can't be told apart.
    #[error("what the key replaces is damaged")]
    Damaged,
    /// No buffer of the pool is free.
    #[error(transparent)]
    Buffer(PoolExhausted),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The disk is being taken out of service.
    #[error("the disk is being retired: put elsewhere, or return it to service")]
    Retired,
}

/// Why a delete failed: as a put may.
pub type DeleteError = PutError;

/// Why a get failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GetError {
    /// Never put, or deleted long ago.
    #[error("no such shard")]
    NotFound,
    /// Deleted; its tombstone is still kept.
    #[error("the shard was deleted")]
    Deleted,
    /// Beyond the end of the payload.
    #[error("the range is beyond the payload's {len_bytes} bytes")]
    OutOfRange {
        /// The payload's length.
        len_bytes: u32,
    },
    /// The medium can't be read there. Repair it from other disks.
    #[error("the disk can't read the shard: {0}")]
    Io(IoError),
    /// What is there is not what was put. Repair it from other disks.
    #[error("the shard is damaged in extent {} at {lba}", extent.0)]
    Damaged {
        /// In this extent.
        extent: ExtentId,
        /// The first block of its record.
        lba: Lba,
    },
    /// The queue is so long that the deadline can't be met.
    #[error("busy: about {} ms", expected.as_millis_f64())]
    Busy {
        /// The expected wait.
        expected: Nanos,
    },
    /// The deadline passed while it waited.
    #[error("the deadline passed")]
    Late,
    /// No buffer of the pool is free.
    #[error(transparent)]
    Buffer(PoolExhausted),
}

/// A get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Get {
    /// The shard's name.
    pub key: Key,
    /// Which bytes of the payload; `None` for all.
    pub range: Option<Range<u32>>,
    /// Answer by then, or refuse at once.
    pub deadline: Option<isotherm_seam::Mono>,
}
