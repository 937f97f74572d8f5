//! What the records of a disk say of themselves, without checkpoints and without the index; and
//! where the index says otherwise.
//!
//! What must always hold: each extent is read in the life that its own blocks name. Of several
//! records of a key the one with the highest sequence counts; of copies of one change the one
//! that the index has, since the cleaner may have left the other behind.

use std::collections::BTreeMap;

use super::{Progress, Watch};
use crate::api::GetError;
use crate::index::Entry;
use crate::recovery::{
    Hole, OpenError, RecoveredDisk, ScannedDisk, WalkError, What, written_blocks,
};
use crate::{ExtentId, Key, Options, Place};

/// The index and the records do not say the same of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Difference {
    /// A shard is on the disk that the index does not have.
    NotIndexed {
        /// The shard.
        key: Key,
        /// Where it lies.
        place: Place,
        /// The number of its change.
        sequence: u64,
    },
    /// The index has it, and there is no sound, committed record of that change.
    NotFound {
        /// The shard or tombstone.
        key: Key,
        /// Where the index has it.
        place: Place,
        /// The number of its change.
        sequence: u64,
    },
    /// The disk has a later change than the index.
    Outdated {
        /// The shard or tombstone.
        key: Key,
        /// Where the index has it,
        indexed: Place,
        /// and where the later change lies.
        found: Place,
        /// The number of that.
        sequence: u64,
    },
}

/// What a scan found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// Extents that were looked at.
    pub extents: u32,
    /// Of those, extents that hold something.
    pub holding: u32,
    /// Committed records: shards and tombstones, superseded ones too.
    pub records: u64,
    /// Records behind the last commit of their extent: never acknowledged.
    pub torn: u64,
    /// Keys whose last change is a put.
    pub shards: u64,
    /// Keys whose last change is a delete.
    pub tombstones: u64,
    /// Tombstones that the index has dropped and that are still on the disk: they kill nothing.
    pub tombstones_dropped: u64,
    /// Where something acknowledged may have been.
    pub holes: Vec<Hole>,
    /// Blocks that can't be read.
    pub unreadable_blocks: u64,
    /// What the index says otherwise; empty where no index was given.
    pub differences: Vec<Difference>,
    /// It was stopped before its end: nothing was compared.
    pub stopped: bool,
}

/// The change of a key that counts.
struct Newest {
    sequence: u64,
    place: Place,
}

impl ScannedDisk {
    /// Reads every check block of the disk, and compares what counts with an index.
    pub async fn survey(
        &self,
        index: Option<&RecoveredDisk>,
        watch: Watch<'_>,
    ) -> Result<Survey, OpenError> {
        let (world, medium) = self.tools();
        let cut = medium.cut;
        let options = Options::default();
        let mut survey = Survey::default();
        let mut newest: BTreeMap<Key, Newest> = BTreeMap::new();
        for id in (0..cut.extents).map(ExtentId).filter(|id| !cut.meta().contains(id)) {
            if !watch(Progress { extent: id, done: id.0, extents: cut.extents }) {
                survey.stopped = true;
                return Ok(survey);
            }
            let mut limit = cut.extent_blocks;
            if cut.zoned {
                limit = limit.min(written_blocks(world, medium, id).await?);
            }
            survey.extents += 1;
            let (life, _) = self.find_life(id, limit).await?;
            let Some(incarnation) = life else { continue };
            let walked = self.walker(&options).walk(id, incarnation, 0..limit, u32::MAX).await?;
            survey.holding += 1;
            survey.records += walked.records.len() as u64;
            survey.torn += u64::from(walked.torn);
            survey.unreadable_blocks += u64::from(walked.unreadable);
            survey.holes.extend_from_slice(&walked.holes);
            for record in walked.records {
                let key = match &record.what {
                    What::Shard(head) => head.key,
                    What::Tomb(tomb) => tomb.key,
                };
                let (sequence, place) = (record.sequence, record.place);
                let counts = newest.get(&key).is_none_or(|best| {
                    sequence > best.sequence
                        || sequence == best.sequence
                            && index.is_some_and(|disk| disk.tools().1.is_at(&key, place))
                });
                if counts {
                    newest.insert(key, Newest { sequence, place });
                }
            }
        }
        survey.tombstones = newest.values().filter(|newest| newest.place.dead).count() as u64;
        survey.shards = newest.len() as u64 - survey.tombstones;
        if let Some(disk) = index {
            survey.compare(disk, newest).await.map_err(open_error)?;
        }
        Ok(survey)
    }
}

impl Survey {
    async fn compare(
        &mut self,
        disk: &RecoveredDisk,
        newest: BTreeMap<Key, Newest>,
    ) -> Result<(), GetError> {
        let mut found = newest.into_iter().peekable();
        let mut entries = disk.entries_from(Key::MIN);
        while let Some(entry) = entries.next().await? {
            while let Some((key, newest)) = found.next_if(|(key, _)| *key < entry.key) {
                self.not_indexed(key, &newest);
            }
            let same = found.next_if(|(key, _)| *key == entry.key).map(|(_, newest)| newest);
            self.differences.extend(difference(&entry, same.as_ref()));
        }
        for (key, newest) in found {
            self.not_indexed(key, &newest);
        }
        Ok(())
    }

    fn not_indexed(&mut self, key: Key, newest: &Newest) {
        let Newest { sequence, place } = *newest;
        if place.dead {
            self.tombstones_dropped += 1;
        } else {
            self.differences.push(Difference::NotIndexed { key, place, sequence });
        }
    }
}

/// How an entry of the index differs from what was found of its key.
fn difference(entry: &Entry, newest: Option<&Newest>) -> Option<Difference> {
    let (key, place, sequence) = (entry.key, entry.delta.place, entry.delta.sequence);
    match newest {
        Some(newest) if newest.sequence > sequence => Some(Difference::Outdated {
            key,
            indexed: place,
            found: newest.place,
            sequence: newest.sequence,
        }),
        Some(newest) if newest.sequence == sequence && newest.place == place => None,
        _ => Some(Difference::NotFound { key, place, sequence }),
    }
}

/// A read of the index that failed, in the words of recovery.
fn open_error(error: GetError) -> OpenError {
    match error {
        GetError::Io(error) => OpenError::Walk(WalkError::Io(error)),
        GetError::Buffer(why) => OpenError::Walk(WalkError::Buffer(why)),
        _ => OpenError::Index,
    }
}
