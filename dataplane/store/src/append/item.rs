//! What is appended, and what follows when it is durable.
//!
//! What must always hold: an item has one number for good: the one that it was given with its
//! first batch.

use isotherm_seam::IoBuf;

use super::batch::Writer;
use crate::extents::Taker;
use crate::layout::{Kill, Kind, RecordHead, Shape, Tomb};
use crate::payload::PutBuf;
use crate::{BLOCK_BYTES, ExtentId, Key, Place};

/// Records longer than this go to the disk from their own buffer, each as a batch.
const DIRECT_BYTES: usize = 128 << 10;

/// Flag of an index entry: its record names nothing older.
pub(crate) const NO_KILLS: u8 = 1;

/// Something to append.
pub(crate) struct Item {
    pub(crate) body: Body,
    /// Lengths of its record; of nothing for a tombstone.
    pub(crate) shape: Shape,
    /// Its number; given when its batch is made if it has none.
    pub(crate) sequence: Option<u64>,
    pub(crate) then: Then,
    /// Batches that it was in and whose write failed: their extents and ends.
    pub(crate) owed: Vec<(ExtentId, u32)>,
}

/// What is appended.
pub(crate) enum Body {
    Shard {
        head: RecordHead,
        buf: Option<PutBuf>,
        /// It may take what is kept for tombstones.
        vital: bool,
    },
    Tomb(Tomb),
    /// A chunk of an index run.
    Chunk {
        head: RecordHead,
        buf: Option<PutBuf>,
    },
}

/// What happens when it is durable.
pub(crate) enum Then {
    /// The index points there instead of at `replaced`, and `slot` is answered.
    Answer { slot: u32, change: u64, replaced: Option<Place> },
    /// The index points there if it still points at `from`.
    Move { from: Place },
    /// Only `slot` is answered.
    Tell { slot: u32 },
}

impl Item {
    pub(super) fn blocks(&self) -> u32 {
        match &self.body {
            Body::Shard { .. } | Body::Chunk { .. } => self.shape.blocks(),
            Body::Tomb(_) => 1,
        }
    }

    /// What the index notes of it: whether nothing older of its key may lie anywhere.
    pub(super) fn flags(&self) -> u8 {
        match &self.body {
            Body::Shard { head, .. } if head.kills.is_empty() => NO_KILLS,
            _ => 0,
        }
    }

    pub(super) fn is_direct(&self) -> bool {
        self.blocks() as usize * BLOCK_BYTES > DIRECT_BYTES
    }

    /// It was in a write that failed: it may be on the disk already, so it can't be refused as
    /// if nothing had happened.
    pub(super) fn is_retried(&self) -> bool {
        matches!(self.then, Then::Answer { .. }) && self.sequence.is_some()
    }

    pub(super) fn taker(&self) -> Taker {
        match (&self.body, &self.then) {
            (_, Then::Move { .. }) => Taker::Cleaner,
            _ if self.is_retried() => Taker::Cleaner,
            (Body::Chunk { .. }, _) => Taker::Index,
            (Body::Tomb(_) | Body::Shard { vital: true, .. }, _) => Taker::Tomb,
            (Body::Shard { vital: false, .. }, _) => Taker::Put,
        }
    }

    pub(crate) fn key(&self) -> Key {
        match &self.body {
            Body::Shard { head, .. } | Body::Chunk { head, .. } => head.key,
            Body::Tomb(tomb) => tomb.key,
        }
    }

    pub(super) fn number(&mut self, next: &mut u64) -> u64 {
        let sequence = self.sequence.unwrap_or_else(|| {
            *next += 1;
            *next - 1
        });
        self.sequence = Some(sequence);
        if let Body::Tomb(tomb) = &mut self.body {
            tomb.sequence = sequence;
        }
        sequence
    }

    pub(super) fn at_s(&self) -> u32 {
        match &self.body {
            Body::Shard { head, .. } | Body::Chunk { head, .. } => head.put_s,
            Body::Tomb(tomb) => tomb.deleted_s,
        }
    }

    pub(super) fn tomb(&self) -> Tomb {
        match &self.body {
            Body::Tomb(tomb) => *tomb,
            Body::Shard { .. } | Body::Chunk { .. } => unreachable!("asked of tombstones only"),
        }
    }

    pub(super) fn record(&mut self) -> (Kind, &RecordHead, &mut Option<PutBuf>) {
        match &mut self.body {
            Body::Shard { head, buf, .. } => (Kind::Data, head, buf),
            Body::Chunk { head, buf } => (Kind::Run, head, buf),
            Body::Tomb(_) => unreachable!("tombstones are packed, not written one by one"),
        }
    }

    /// Writes its check blocks and hands over the buffer, as long as the record.
    pub(super) fn write_record(&mut self, writer: &mut Writer, sequence: u64) -> IoBuf {
        let (kind, head, buf) = self.record();
        let PutBuf { mut buf, shape } = buf.take().expect("it is here until it is written");
        buf.set_len(shape.blocks() as usize * BLOCK_BYTES);
        writer.record(kind, head, shape, sequence, &mut buf);
        buf
    }

    /// Writes its check blocks and copies the record.
    pub(super) fn copy_record(&mut self, writer: &mut Writer, sequence: u64, out: &mut [u8]) {
        let (kind, head, buf) = self.record();
        let PutBuf { buf, shape } = buf.as_mut().expect("it is here until it is durable");
        let len = shape.blocks() as usize * BLOCK_BYTES;
        writer.record(kind, head, *shape, sequence, &mut buf[..len]);
        out.copy_from_slice(&buf[..len]);
    }

    /// A record of it may lie where a write failed: in the batch that ends at `end`.
    pub(super) fn written_at_failed(&mut self, kill: Kill, end: u32) {
        self.owed.push((kill.extent, end));
        match &mut self.body {
            Body::Shard { head, .. } | Body::Chunk { head, .. } => head.kills.add(kill),
            // A copy of a tombstone kills no less than the tombstone.
            Body::Tomb(_) => {}
        }
    }
}
