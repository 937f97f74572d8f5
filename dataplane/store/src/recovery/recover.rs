//! From checkpoints, and what was written since, to what a store begins with.

use std::ops::Range;

use super::load::Recent;
use super::scan::{Found, Hidden, OpenError, ScannedDisk, written_blocks};
use super::walk::{Hole, Walked, Walker};
use crate::extents::Extents;
use crate::index::{Index, RunInfo};
use crate::layout::{Checkpoint, ExtentRow, Shape, State as ExtentState, Stream};
use crate::medium::{Medium, can_hold};
use crate::store::Options;
use crate::{BLOCK_BYTES, ExtentId, Place};

/// What recovery found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// The store had been closed.
    pub clean: bool,
    /// The checkpoint that it went by; 0 after a full scan.
    pub checkpoint: u64,
    /// A newer checkpoint was there and is damaged.
    pub checkpoint_damaged: bool,
    /// Everything was read, because it was asked for.
    pub full_scan: bool,
    /// Entries of the index's runs.
    pub run_entries: u64,
    /// Extents that were read to their end.
    pub extents_read: u32,
    /// Committed records found in them.
    pub records_replayed: u64,
    /// Records behind the last commit: never acknowledged.
    pub records_torn: u64,
    /// Where something that was acknowledged may be lost: repair it from other disks.
    pub holes: Vec<Hole>,
    /// Batches that are not what their marks say: torn by a power cut before they were
    /// acknowledged, or harmed since. What is whole in them counts.
    pub broken: Vec<Hole>,
    /// Blocks that could not be read.
    pub unreadable_blocks: u64,
}

/// A disk whose index is known, and that nothing was written to yet.
pub struct RecoveredDisk {
    pub(super) scanned: ScannedDisk,
    pub(super) options: Options,
    pub(super) checkpoint: Checkpoint,
    pub(super) extents: Extents,
    pub(super) index: Index,
    pub(super) runs: Vec<RunInfo>,
    /// Zones that are to be finished, as they are not appended to any more.
    pub(super) to_finish: Vec<ExtentId>,
    /// Extents that a clean stop left open.
    pub(super) to_resume: Vec<ExtentId>,
    pub(super) turn: usize,
    pub(super) places: [Range<u32>; 2],
    pub(super) report: RecoveryReport,
}

/// Blocks of a window that the longest record fits in, with the head of an extent.
pub(crate) fn window_blocks(medium: &Medium) -> u32 {
    let payload = medium.cut.payload_max(medium.io_bytes_max());
    let record = Shape { payload_bytes: payload }.blocks() + 1;
    record.min(medium.io_bytes_max() / BLOCK_BYTES as u32)
}

impl ScannedDisk {
    /// Loads the index and reads what was written since the checkpoint. Falls back on the
    /// checkpoint before, if the last one is damaged.
    pub async fn recover(self, options: Options) -> Result<RecoveredDisk, OpenError> {
        let mut why = OpenError::NoCheckpoint;
        // The last two are enough, of those that there are.
        let enough = match self.hidden {
            Hidden::None => 2,
            Hidden::One => 1,
            Hidden::More => 0,
        };
        for at in 0..self.checkpoints.len().min(enough) {
            // An older one than the last but one may point at what has been emptied since.
            // What was torn was never durable: only what a later one followed counts.
            if self.checkpoints[at].checkpoint.number < self.follows_max {
                break;
            }
            match self.recover_from(&self.checkpoints[at], &options).await {
                Ok(parts) => return Ok(parts.into_disk(self, options, at > 0)),
                Err(error @ OpenError::Walk(_)) => return Err(error),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Reads the whole disk and trusts only what the records say of themselves: the way out
    /// when no checkpoint is whole.
    pub async fn recover_by_full_scan(self, options: Options) -> Result<RecoveredDisk, OpenError> {
        let parts = self.full_scan(&options).await?;
        Ok(parts.into_disk(self, options, false))
    }

    pub(crate) fn walker(&self, options: &Options) -> Walker<'_> {
        Walker {
            world: &self.world,
            medium: &self.medium,
            uuid: self.uuid,
            planted: options.planted,
            window_blocks: window_blocks(&self.medium),
        }
    }

    async fn recover_from(&self, found: &Found, options: &Options) -> Result<Parts, OpenError> {
        let checkpoint = &found.checkpoint;
        let is_newest = checkpoint.number == self.number_max && self.hidden == Hidden::None;
        let clean = checkpoint.clean && is_newest;
        let mut report = RecoveryReport {
            clean,
            checkpoint: checkpoint.number,
            checkpoint_damaged: !is_newest,
            ..RecoveryReport::default()
        };
        let mut rows = checkpoint.extents.clone();
        let mut recent = Recent::default();
        let mut to_finish = Vec::new();
        let mut to_resume = Vec::new();
        let mut sequence_max = 0;
        for (at, row) in rows.iter_mut().enumerate() {
            let id = ExtentId(at as u32);
            match row.state {
                ExtentState::Open if clean => to_resume.push(id),
                ExtentState::Next if clean => row.state = ExtentState::Free,
                ExtentState::Open | ExtentState::Next => {
                    let walked = self.replay(id, row, &mut to_finish, options).await?;
                    sequence_max = sequence_max.max(walked.sequence_max);
                    report.take(&walked);
                    recent.take(walked.records);
                }
                // An extent for the index needs no name: one that was opened behind the last
                // checkpoint holds nothing that counts, but its zone takes no write at its start.
                ExtentState::Free if self.medium.cut.zoned && !clean => {
                    let written = written_blocks(&self.world, &self.medium, id).await?;
                    if written > 0 {
                        (row.state, row.stream) = (ExtentState::Dead, Stream::Index);
                        row.written = written;
                    }
                }
                _ => {}
            }
        }
        let runs = decode_runs(&checkpoint.runs)?;
        let mut extents = Extents::new(&rows, checkpoint.next_incarnation, options.reserve);
        let index = self.load(&runs, recent, &rows, &mut extents, &mut report, options).await?;
        Ok(Parts {
            checkpoint: Checkpoint {
                next_sequence: checkpoint.next_sequence.max(sequence_max + 1),
                ..checkpoint.clone()
            },
            extents,
            index,
            runs,
            to_finish,
            to_resume,
            turn: found.turn,
            place: found.blocks.clone(),
            report,
        })
    }

    /// Reads an extent that may have been appended to since the checkpoint.
    async fn replay(
        &self,
        id: ExtentId,
        row: &mut ExtentRow,
        to_finish: &mut Vec<ExtentId>,
        options: &Options,
    ) -> Result<Walked, OpenError> {
        let mut limit = self.medium.cut.extent_blocks;
        let mut is_touched = false;
        if self.medium.cut.zoned {
            limit = limit.min(written_blocks(&self.world, &self.medium, id).await?);
            is_touched = limit > 0;
        }
        let is_next = row.state == ExtentState::Next;
        let from = if is_next { 0 } else { row.written.min(limit) };
        // Of those that may have been opened few were, and to read all of each would take long.
        // But a lost write must not hide what lies behind it: whatever was written first ends
        // within a batch. A zone says itself how far it is written.
        let walker = self.walker(options);
        let probe_blocks = match is_next && !is_touched {
            true => 2 * walker.window_blocks + (options.batch_bytes / BLOCK_BYTES) as u32,
            false => u32::MAX,
        };
        let walked = walker.walk(id, row.incarnation, from..limit, probe_blocks).await?;
        if is_next && walked.is_empty() && !is_touched {
            row.state = ExtentState::Free;
            return Ok(walked);
        }
        // The checkpoint calls it empty, and nothing that counts came behind: at most chunks of a
        // run that no checkpoint names.
        let is_dead = is_next && walked.holds_nothing();
        row.state = if is_dead { ExtentState::Dead } else { ExtentState::Sealed };
        if !is_dead && is_touched && limit < self.medium.cut.extent_blocks {
            to_finish.push(id);
        }
        row.written = row.written.max(walked.end);
        row.newest_s = row.newest_s.max(walked.newest_s);
        row.suspect |= walked.unreadable > 0 && !walked.holes.is_empty();
        if let Some(stream) = walked.stream {
            row.stream = stream;
        }
        Ok(walked)
    }

    /// Whether an extent that holds something has such a place.
    pub(super) fn is_inside(&self, place: &Place, rows: &[ExtentRow]) -> bool {
        let end = place.block + u32::from(place.blocks);
        place.blocks > 0
            && end <= self.medium.cut.extent_blocks
            && rows.get(place.extent.0 as usize).is_some_and(|row| can_hold(row.state))
    }
}

/// The place of a checkpoint where there is none: what follows goes to the start.
pub(crate) const NOWHERE: Range<u32> = u32::MAX..u32::MAX;

/// What recovery worked out.
pub(super) struct Parts {
    pub(super) checkpoint: Checkpoint,
    pub(super) extents: Extents,
    pub(super) index: Index,
    pub(super) runs: Vec<RunInfo>,
    pub(super) to_finish: Vec<ExtentId>,
    pub(super) to_resume: Vec<ExtentId>,
    pub(super) turn: usize,
    pub(super) place: Range<u32>,
    pub(super) report: RecoveryReport,
}

impl Parts {
    fn into_disk(self, scanned: ScannedDisk, options: Options, damaged: bool) -> RecoveredDisk {
        let mut report = self.report;
        report.checkpoint_damaged |= damaged;
        // The next checkpoint goes to the other meta extent, from its start: behind its last
        // whole one there may be a torn one.
        let mut places = [NOWHERE; 2];
        places[self.turn] = self.place;
        RecoveredDisk {
            scanned,
            options,
            checkpoint: self.checkpoint,
            extents: self.extents,
            index: self.index,
            runs: self.runs,
            to_finish: self.to_finish,
            to_resume: self.to_resume,
            turn: 1 - self.turn,
            places,
            report,
        }
    }
}

impl RecoveryReport {
    pub(super) fn take(&mut self, walked: &Walked) {
        self.extents_read += 1;
        self.records_torn += u64::from(walked.torn);
        self.unreadable_blocks += u64::from(walked.unreadable);
        self.holes.extend_from_slice(&walked.holes);
        self.broken.extend_from_slice(&walked.broken);
    }
}

fn decode_runs(mut bytes: &[u8]) -> Result<Vec<RunInfo>, OpenError> {
    let mut runs = Vec::new();
    while !bytes.is_empty() {
        let (run, rest) = RunInfo::decode(bytes).map_err(|_| OpenError::Index)?;
        runs.push(run);
        bytes = rest;
    }
    Ok(runs)
}

impl RecoveredDisk {
    /// What was found.
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// Entries of the index: shards and kept tombstones.
    pub fn entries(&self) -> u64 {
        self.index.len()
    }

    /// Bytes of live records.
    pub fn live_bytes(&self) -> u64 {
        self.extents.live_bytes()
    }

    /// What tools look into.
    pub(crate) fn tools(&self) -> (&ScannedDisk, &Index, &Extents, &[RunInfo]) {
        (&self.scanned, &self.index, &self.extents, &self.runs)
    }

    /// The state of the disk, as its last checkpoint says it.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}
