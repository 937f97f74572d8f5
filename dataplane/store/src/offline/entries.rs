//! The index of a disk that is not started: lookups, listings and reads.
//!
//! What must always hold: a lookup answers as the started store would. No byte of a payload
//! leaves unless its record has its checksums and is of the key that was asked for.

use std::ops::Range;

use isotherm_seam::IoBuf;

use crate::api::{GetError, Identity};
use crate::extents::ExtentCounts;
use crate::index::{
    ChunkInfo, DeltaKind, Entry, Found, Input, Merge, Merged, Rows, RunInfo, RunSource,
};
use crate::layout::{ExtentRow, Kind, Origin};
use crate::medium::Medium;
use crate::payload::Shard;
use crate::record::ReadRecord;
use crate::recovery::RecoveredDisk;
use crate::runs::{ChunkBytes, check_chunk};
use crate::{BLOCK_BYTES, ExtentId, Key, Place};

/// An extent as recovery leaves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtentInfo {
    /// Which one.
    pub id: ExtentId,
    /// What it is.
    pub row: ExtentRow,
    /// Bytes in it that the index points at.
    pub live_bytes: u64,
}

/// Every entry of an index, in the order of the keys.
pub struct Entries<'a> {
    disk: &'a RecoveredDisk,
    merge: Merge<Input<ChunkBytes, Box<dyn Iterator<Item = Entry> + 'a>>>,
    from: Key,
}

impl Entries<'_> {
    /// The next shard or kept tombstone.
    pub async fn next(&mut self) -> Result<Option<Entry>, GetError> {
        loop {
            match self.merge.next() {
                Merged::End => return Ok(None),
                Merged::Contradiction(entry) => return Err(self.disk.damaged(&entry.delta.place)),
                Merged::Entry(entry) if entry.key < self.from => {}
                Merged::Entry(entry) => return Ok(Some(entry)),
                Merged::NeedChunk(at) => {
                    let disk = self.disk;
                    let read = async |chunk: &ChunkInfo| disk.read_chunk(chunk).await;
                    self.merge.feed(at, read, |chunk| disk.damaged(&chunk.place)).await?;
                }
            }
        }
    }
}

impl RecoveredDisk {
    /// Every shard and kept tombstone whose key is at least `from`.
    pub fn entries_from(&self, from: Key) -> Entries<'_> {
        let (_, index, _, runs) = self.tools();
        let recent: Box<dyn Iterator<Item = Entry> + '_> =
            Box::new(index.memtable().active().filter(move |entry| entry.key >= from));
        let mut sources = vec![Input::Rows(Rows::new(recent))];
        let within = |run: &RunInfo| RunSource::within(run.clone(), &from, &Key::MAX);
        sources.extend(runs.iter().map(|run| Input::Run(within(run))));
        Entries { disk: self, merge: Merge::new(sources, true), from }
    }

    /// Every extent.
    pub fn extents(&self) -> impl Iterator<Item = ExtentInfo> + '_ {
        let (_, _, extents, _) = self.tools();
        extents.ids().map(|id| ExtentInfo {
            id,
            row: *extents.row(id),
            live_bytes: extents.live_bytes_of(id),
        })
    }

    /// How many extents are what.
    pub fn extent_counts(&self) -> ExtentCounts {
        self.tools().2.counts()
    }

    /// Extents that puts may still open.
    pub fn room_extents(&self) -> u32 {
        self.tools().2.room()
    }

    /// The runs of the index, the newest first.
    pub fn runs(&self) -> &[RunInfo] {
        self.tools().3
    }

    /// Where a shard lies, as far as the index knows: of two keys with one fingerprint only the
    /// record tells which it is.
    pub fn find(&self, key: &Key) -> Result<Place, GetError> {
        let place = match self.tools().1.lookup(key) {
            Found::Memory(delta) if delta.kind == DeltaKind::Gone => None,
            found => found.place(),
        };
        match place {
            None => Err(GetError::NotFound),
            Some(place) if place.dead => Err(GetError::Deleted),
            Some(place) => Ok(place),
        }
    }

    /// Reads a shard, or a range of one. All of its record is read and checked.
    pub async fn get(&self, key: &Key, range: Option<Range<u32>>) -> Result<Shard, GetError> {
        let place = self.find(key)?;
        let buf = self.read(&place).await?;
        let origin = self.origin(&place);
        let record = ReadRecord::new(&buf, &origin, Kind::Data, 0, false);
        let Some(record) = record.ok().filter(|record| record.check_whole().is_ok()) else {
            return Err(self.damaged(&place));
        };
        let ReadRecord { head, shape, sequence, .. } = record;
        if head.key != *key {
            return Err(GetError::NotFound);
        }
        let len_bytes = shape.payload_bytes;
        let range = range.unwrap_or(0..len_bytes);
        if range.start > range.end || range.end > len_bytes {
            return Err(GetError::OutOfRange { len_bytes });
        }
        let identity = Identity {
            key: head.key,
            epoch: head.epoch,
            codec: head.codec,
            len_bytes,
            sequence,
            put_s: head.put_s,
        };
        Ok(Shard { buf, identity, shape, first: 0, range })
    }

    /// What a block there must say of itself.
    pub(super) fn origin(&self, place: &Place) -> Origin {
        let (scanned, _, extents, _) = self.tools();
        Origin {
            uuid: scanned.uuid(),
            extent: place.extent,
            block: place.block,
            incarnation: extents.row(place.extent).incarnation,
        }
    }

    pub(super) fn medium(&self) -> &Medium {
        self.tools().0.tools().1
    }

    async fn read(&self, place: &Place) -> Result<IoBuf, GetError> {
        let (world, medium) = self.tools().0.tools();
        let len = usize::from(place.blocks) * BLOCK_BYTES;
        let buf = world.pool.alloc(len).map_err(GetError::Buffer)?;
        let (result, buf) = medium.read(place.extent, place.block, buf).await;
        result.map_err(GetError::Io)?;
        Ok(buf)
    }

    async fn read_chunk(&self, chunk: &ChunkInfo) -> Result<ChunkBytes, GetError> {
        let buf = self.read(&chunk.place).await?;
        let len = check_chunk(&buf, &self.origin(&chunk.place))
            .ok_or_else(|| self.damaged(&chunk.place))?;
        Ok(ChunkBytes::new(&buf, len))
    }

    fn damaged(&self, place: &Place) -> GetError {
        let lba = self.medium().lba(place.extent, place.block);
        GetError::Damaged { extent: place.extent, lba }
    }
}
