//! Whether all that the index says is there is there, and unharmed.
//!
//! What must always hold: an extent counts as sound only if what was found in it and is live adds
//! up to the byte to what the index counts there. So nothing live can be missing unseen, and the
//! names of all keys are gone through only when something is.

use std::collections::{BTreeMap, BTreeSet};

use super::{Progress, Watch};
use crate::api::GetError;
use crate::index::DeltaKind;
use crate::layout::{Block, BlockError, ExtentHead, Kind, State};
use crate::medium::can_hold;
use crate::recovery::{Cursor, Piece, RecoveredDisk, WalkError};
use crate::{BLOCK_BYTES, ExtentId, Key, Options, Place};

/// Something that is not as it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The first block of an extent that is appended to.
    #[error("extent {}: its head: {why}", extent.0)]
    Head {
        /// The extent.
        extent: ExtentId,
        /// What is wrong with it.
        why: BlockError,
    },
    /// The first block of an extent can't be read.
    #[error("extent {}: its head can't be read", extent.0)]
    HeadUnreadable {
        /// The extent.
        extent: ExtentId,
    },
    /// A live record is there, and part of it is damaged or can't be read.
    #[error("{key}: damaged at {}:{}", place.extent.0, place.block)]
    Damaged {
        /// The shard or tombstone.
        key: Key,
        /// Where it lies.
        place: Place,
    },
    /// The index says that a record is there, and there is none.
    #[error("{key}: nothing of it at {}:{}, where the index has it", place.extent.0, place.block)]
    Missing {
        /// The shard or tombstone.
        key: Key,
        /// Where it should lie.
        place: Place,
    },
    /// A chunk of the index.
    #[error("chunk {chunk} of index run {run}: damaged at {}:{}", place.extent.0, place.block)]
    Chunk {
        /// The run,
        run: u64,
        /// and its chunk.
        chunk: u32,
        /// Where it lies.
        place: Place,
    },
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Extents that were read.
    pub extents: u32,
    /// Blocks of those.
    pub blocks: u64,
    /// Live shards whose every byte has its checksum.
    pub shards: u64,
    /// Live tombstones.
    pub tombstones: u64,
    /// Chunks of the index.
    pub chunks: u64,
    /// Records and tombstones that count no more.
    pub superseded: u64,
    /// Of those, damaged ones: harmless, but the medium is not well there.
    pub superseded_damaged: u64,
    /// Blocks that can't be read.
    pub unreadable_blocks: u64,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// It was stopped before its end.
    pub stopped: bool,
}

/// Live bytes that a kept tombstone counts for.
const TOMB_BYTES: u64 = 128;

impl RecoveredDisk {
    /// Reads the heads of the extents that a clean stop left open.
    pub async fn check_heads(&self) -> Result<Checked, WalkError> {
        let (scanned, _, extents, _) = self.tools();
        let (world, medium) = scanned.tools();
        let mut checked = Checked::default();
        for id in extents.ids() {
            let row = extents.row(id);
            if row.state != State::Open || row.written == 0 {
                continue;
            }
            let buf = world.pool.alloc(BLOCK_BYTES)?;
            let (result, buf) = medium.read(id, 0, buf).await;
            checked.extents += 1;
            checked.blocks += 1;
            if result.is_err() {
                checked.unreadable_blocks += 1;
                checked.faults.push(Fault::HeadUnreadable { extent: id });
                continue;
            }
            let place = Place { extent: id, block: 0, blocks: 1, dead: false };
            let head = Block::check(&buf).and_then(|(block, kind)| {
                block.check_origin(&self.origin(&place))?;
                if kind == Kind::Head { ExtentHead::read(block) } else { Err(BlockError::Kind) }
            });
            if let Err(why) = head {
                checked.faults.push(Fault::Head { extent: id, why });
            }
        }
        Ok(checked)
    }

    /// Reads every extent that holds something and checks every record in it.
    pub async fn check_records(&self, watch: Watch<'_>) -> Result<Checked, GetError> {
        let (_, _, extents, runs) = self.tools();
        let mut checked = Checked::default();
        let mut chunks = BTreeMap::new();
        for run in runs {
            for (number, chunk) in (0u32..).zip(&run.chunks) {
                let place = chunk.place;
                chunks.insert((place.extent, place.block), (run.id, number, place));
            }
        }
        let mut short: BTreeMap<ExtentId, BTreeSet<Key>> = BTreeMap::new();
        let holding: Vec<ExtentId> =
            extents.ids().filter(|id| can_hold(extents.row(*id).state)).collect();
        for (done, &id) in (0..).zip(&holding) {
            if !watch(Progress { extent: id, done, extents: holding.len() as u32 }) {
                checked.stopped = true;
                break;
            }
            let walked = self.check_extent(id, &mut chunks, &mut checked, watch, done).await?;
            let Some((found, live_bytes)) = walked else {
                checked.stopped = true;
                break;
            };
            if live_bytes != extents.live_bytes_of(id) {
                short.insert(id, found);
            }
        }
        if checked.stopped {
            return Ok(checked);
        }
        for (run, chunk, place) in chunks.into_values() {
            checked.faults.push(Fault::Chunk { run, chunk, place });
        }
        self.name_missing(&short, &mut checked).await?;
        Ok(checked)
    }

    /// Reads one extent: the live keys in it, and the live bytes of it that were found, harmed or
    /// not. `None` if it was stopped.
    async fn check_extent(
        &self,
        id: ExtentId,
        chunks: &mut BTreeMap<(ExtentId, u32), (u64, u32, Place)>,
        checked: &mut Checked,
        watch: Watch<'_>,
        done: u32,
    ) -> Result<Option<(BTreeSet<Key>, u64)>, GetError> {
        let (scanned, index, extents, _) = self.tools();
        let row = extents.row(id);
        let limit = row.written.min(self.medium().cut.extent_blocks);
        let walker = scanned.walker(&Options::default());
        let mut cursor = Cursor::new(id, row.incarnation, limit);
        let mut found = BTreeSet::new();
        let mut live_bytes = 0;
        let mut pieces = 0u32;
        checked.extents += 1;
        checked.blocks += u64::from(limit);
        loop {
            pieces += 1;
            let progress = Progress { extent: id, done, extents: extents.len() };
            if pieces.is_multiple_of(64) && !watch(progress) {
                return Ok(None);
            }
            let Some(piece) = walker.next(&mut cursor).await.map_err(get_error)? else { break };
            let place =
                Place { extent: id, block: piece.at, blocks: piece.blocks as u16, dead: false };
            let is_live = |key: &Key, place: &Place| {
                index.is_at(key, *place) && index.lookup(key).place() == Some(*place)
            };
            match piece.what {
                Piece::Bad => checked.unreadable_blocks += 1,
                Piece::Junk | Piece::Head(_) | Piece::Mark(_) => {}
                Piece::Tombs(tombs) => {
                    for tomb in tombs {
                        if is_live(&tomb.key, &Place { dead: true, ..place }) {
                            live_bytes += TOMB_BYTES;
                            found.insert(tomb.key);
                            checked.tombstones += 1;
                        } else {
                            checked.superseded += 1;
                        }
                    }
                }
                Piece::Record { kind: Kind::Run, whole, unreadable, .. } => {
                    checked.unreadable_blocks += u64::from(unreadable);
                    match chunks.remove(&(id, piece.at)) {
                        Some((run, chunk, place)) => {
                            live_bytes += u64::from(place.blocks) * BLOCK_BYTES as u64;
                            checked.chunks += 1;
                            if !whole || u32::from(place.blocks) != piece.blocks {
                                checked.faults.push(Fault::Chunk { run, chunk, place });
                            }
                        }
                        None => {
                            checked.superseded += 1;
                            checked.superseded_damaged += u64::from(!whole);
                        }
                    }
                }
                Piece::Record { head, whole, unreadable, .. } => {
                    checked.unreadable_blocks += u64::from(unreadable);
                    if is_live(&head.key, &place) {
                        live_bytes += u64::from(piece.blocks) * BLOCK_BYTES as u64;
                        found.insert(head.key);
                        if whole {
                            checked.shards += 1;
                        } else {
                            checked.faults.push(Fault::Damaged { key: head.key, place });
                        }
                    } else {
                        checked.superseded += 1;
                        checked.superseded_damaged += u64::from(!whole);
                    }
                }
            }
        }
        Ok(Some((found, live_bytes)))
    }

    /// Goes through all keys for those that should be in these extents and were not found.
    async fn name_missing(
        &self,
        short: &BTreeMap<ExtentId, BTreeSet<Key>>,
        checked: &mut Checked,
    ) -> Result<(), GetError> {
        if short.is_empty() {
            return Ok(());
        }
        let mut entries = self.entries_from(Key::MIN);
        while let Some(entry) = entries.next().await? {
            let place = entry.delta.place;
            let is_missing = short.get(&place.extent).is_some_and(|found| {
                entry.delta.kind != DeltaKind::Gone && !found.contains(&entry.key)
            });
            if is_missing {
                checked.faults.push(Fault::Missing { key: entry.key, place });
            }
        }
        Ok(())
    }
}

/// A walk that can't go on, in the words of a read.
pub(super) fn get_error(error: WalkError) -> GetError {
    match error {
        WalkError::Io(error) => GetError::Io(error),
        WalkError::Buffer(why) => GetError::Buffer(why),
    }
}
