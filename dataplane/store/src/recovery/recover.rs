//! From checkpoints to an index, and from there to a store.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use isotherm_seam::IoError;

use super::ahead::{Ahead, AheadBytes};
use super::format::write_checkpoint;
use super::scan::{Found, Hidden, OpenError, ScannedDisk, written_blocks};
use super::walk::{FoundRecord, Hole, Walked, Walker, What};
use crate::PutError;
use crate::append::{Lanes, NO_KILLS};
use crate::core::{CheckpointState, Core, Counters, SPARES, State, World};
use crate::event::{Answers, Event};
use crate::extents::Extents;
use crate::index::{
    Delta, DeltaKind, Entry, Index, Input, Loaded, Loader, Merge, Merged, Rows, RunInfo, RunSource,
};
use crate::layout::{
    Block, Checkpoint, ExtentHead, ExtentRow, Kind, Origin, Shape, State as ExtentState, Stream,
};
use crate::medium::{Medium, can_hold};
use crate::payload::PutBuf;
use crate::sched::{Class, DiskProfile, DiskQueue};
use crate::scrub::ScrubState;
use crate::store::{Options, Store};
use crate::{BLOCK_BYTES, ExtentId, Key, Place};

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
    /// Blocks that could not be read.
    pub unreadable_blocks: u64,
}

/// A disk whose index is known, and that nothing was written to yet.
pub struct RecoveredDisk {
    scanned: ScannedDisk,
    options: Options,
    checkpoint: Checkpoint,
    extents: Extents,
    index: Index,
    runs: Vec<RunInfo>,
    /// Zones that are to be finished, as they are not appended to any more.
    to_finish: Vec<ExtentId>,
    /// Extents that a clean stop left open.
    to_resume: Vec<ExtentId>,
    turn: usize,
    ends: [u32; 2],
    report: RecoveryReport,
}

/// Room for numbers that were given out and never seen again.
const SEQUENCE_GAP: u64 = 1 << 20;
const INCARNATION_GAP: u64 = 1 << 16;
/// A checkpoint that could not be read this time may be read the next time, and must not be taken
/// for one that was written since. There are fewer in the meta extents.
const CHECKPOINT_GAP: u64 = 1 << 18;
const _: () = assert!(CHECKPOINT_GAP > 2 * Place::EXTENT_BLOCKS_MAX as u64);

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
                        (row.state, row.stream) = (ExtentState::Sealed, Stream::Index);
                        row.written = written;
                        if written < self.medium.cut.extent_blocks {
                            to_finish.push(id);
                        }
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
            end: found.end,
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
            if is_touched && limit < self.medium.cut.extent_blocks {
                to_finish.push(id);
            }
        }
        let is_next = row.state == ExtentState::Next;
        let from = if is_next { 0 } else { row.written.min(limit) };
        let walked = self.walker(options).walk(id, row.incarnation, from..limit, is_next).await?;
        if is_next && walked.is_empty() && !is_touched {
            row.state = ExtentState::Free;
            return Ok(walked);
        }
        row.state = ExtentState::Sealed;
        row.written = row.written.max(walked.end);
        row.newest_s = row.newest_s.max(walked.newest_s);
        row.suspect |= walked.unreadable > 0 && !walked.holes.is_empty();
        if let Some(stream) = walked.stream {
            row.stream = stream;
        }
        Ok(walked)
    }

    /// Merges the runs, with what is more recent than all of them, into an index.
    async fn load(
        &self,
        runs: &[RunInfo],
        recent: Recent,
        rows: &[ExtentRow],
        extents: &mut Extents,
        report: &mut RecoveryReport,
        options: &Options,
    ) -> Result<Index, OpenError> {
        let recent: BTreeMap<Key, Entry> = recent.winners();
        report.records_replayed = recent.len() as u64;
        let expected: u64 = runs.iter().map(|run| run.entries).sum();
        let seed = u64::from_le_bytes(self.uuid[..8].try_into().expect("8 bytes"));
        let mut loader = Loader::new(seed, options.entries_max, expected);
        let mut counts = true;
        let index = loop {
            let live = counts.then_some(&mut *extents);
            self.load_pass(runs, &recent, &mut loader, rows, live).await?;
            match loader.finish() {
                Loaded::Done(index) => break index,
                Loaded::Again(again) => loader = again,
            }
            counts = false;
        };
        report.run_entries = index.len().saturating_sub(recent.len() as u64);
        for chunk in runs.iter().flat_map(|run| &run.chunks) {
            extents.add_live(&chunk.place);
        }
        Ok(index)
    }

    /// Gives all entries to the loader; counts what is live where `extents` is given.
    async fn load_pass(
        &self,
        runs: &[RunInfo],
        recent: &BTreeMap<Key, Entry>,
        loader: &mut Loader,
        rows: &[ExtentRow],
        mut extents: Option<&mut Extents>,
    ) -> Result<(), OpenError> {
        let newest = Rows::new(recent.values().copied());
        let mut ahead: Vec<Ahead> = runs.iter().map(Ahead::new).collect();
        let mut sources: Vec<Input<AheadBytes, _>> = vec![Input::Rows(newest)];
        sources.extend(runs.iter().cloned().map(|run| Input::Run(RunSource::new(run))));
        let mut merge = Merge::new(sources, false);
        let mut next_recent = recent.keys().copied().peekable();
        loop {
            let entry = match merge.next() {
                Merged::End => return Ok(()),
                Merged::NeedChunk(at) => {
                    let Input::Run(source) = merge.source_mut(at) else {
                        unreachable!("rows need no chunks");
                    };
                    drop(source.take_spent());
                    // The first source is what is more recent than the runs.
                    let bytes = self.next_chunk(&mut ahead[at - 1], rows).await?;
                    let Input::Run(source) = merge.source_mut(at) else {
                        unreachable!("it was a run a moment ago");
                    };
                    source.feed(bytes).map_err(|_| OpenError::Index)?;
                    continue;
                }
                Merged::Entry(entry) => entry,
            };
            if entry.delta.kind != DeltaKind::Gone {
                let place = entry.delta.place;
                if !self.is_inside(&place, rows) {
                    return Err(OpenError::Index);
                }
                if let Some(extents) = &mut extents {
                    extents.add_live(&place);
                }
            }
            // Both rows of keys ascend, and each recent key comes out of the merge.
            match next_recent.next_if_eq(&entry.key) {
                Some(_) => loader.push_recent(&entry),
                None => loader.push(&entry),
            }
        }
    }

    /// Whether an extent that holds something has such a place.
    pub(super) fn is_inside(&self, place: &Place, rows: &[ExtentRow]) -> bool {
        let end = place.block + u32::from(place.blocks);
        place.blocks > 0
            && end <= self.medium.cut.extent_blocks
            && rows.get(place.extent.0 as usize).is_some_and(|row| can_hold(row.state))
    }

    async fn full_scan(&self, options: &Options) -> Result<Parts, OpenError> {
        let mut report = RecoveryReport { full_scan: true, ..RecoveryReport::default() };
        let cut = self.medium.cut;
        let mut recent = Recent::default();
        let mut rows = Vec::new();
        let mut to_finish = Vec::new();
        let (mut sequence_max, mut incarnation_max) = (0, 1);
        for id in (0..cut.extents).map(ExtentId) {
            let mut row = ExtentRow {
                incarnation: 0,
                written: 0,
                state: ExtentState::Free,
                stream: Stream::Fresh,
                suspect: false,
                newest_s: 0,
                verified_s: 0,
            };
            if cut.meta().contains(&id) {
                row.state = ExtentState::Meta;
                rows.push(row);
                continue;
            }
            let mut limit = cut.extent_blocks;
            if cut.zoned {
                limit = limit.min(written_blocks(&self.world, &self.medium, id).await?);
            }
            let (life, floor) = self.find_life(id, limit).await?;
            incarnation_max = incarnation_max.max(floor);
            if let Some(incarnation) = life {
                row.incarnation = incarnation;
                incarnation_max = incarnation_max.max(incarnation);
                let walked = self.walker(options).walk(id, incarnation, 0..limit, false).await?;
                row.state = ExtentState::Sealed;
                row.written = walked.end;
                row.newest_s = walked.newest_s;
                row.stream = walked.stream.unwrap_or(Stream::Fresh);
                row.suspect = walked.unreadable > 0;
                sequence_max = sequence_max.max(walked.sequence_max);
                report.take(&walked);
                recent.take(walked.records);
            } else if limit > 0 && cut.zoned {
                // Written, but nothing of it counts: emptied like any other.
                row.state = ExtentState::Sealed;
            }
            if cut.zoned && limit > 0 && limit < cut.extent_blocks {
                to_finish.push(id);
            }
            rows.push(row);
        }
        let known = self.checkpoints.first().map(|found| &found.checkpoint);
        let next_incarnation =
            known.map_or(0, |checkpoint| checkpoint.next_incarnation).max(incarnation_max + 1);
        let mut extents = Extents::new(&rows, next_incarnation, options.reserve);
        let index = self.load(&[], recent, &rows, &mut extents, &mut report, options).await?;
        let newest = self.checkpoints.first();
        Ok(Parts {
            checkpoint: Checkpoint {
                uuid: self.uuid,
                extent_blocks: cut.extent_blocks,
                payload_max: known.map_or_else(
                    || cut.payload_max(self.medium.io_bytes_max()),
                    |checkpoint| checkpoint.payload_max,
                ),
                number: self.number_max,
                clean: false,
                retired: known.is_some_and(|checkpoint| checkpoint.retired),
                next_sequence: known
                    .map_or(1, |checkpoint| checkpoint.next_sequence)
                    .max(sequence_max + 1),
                next_incarnation,
                written_s: 0,
                formatted_s: known.map_or(0, |checkpoint| checkpoint.formatted_s),
                extents: Vec::new(),
                runs: Vec::new(),
                profile: known.map_or_else(Vec::new, |checkpoint| checkpoint.profile.clone()),
            },
            extents,
            index,
            runs: Vec::new(),
            to_finish,
            to_resume: Vec::new(),
            turn: newest.map_or(1, |found| found.turn),
            end: newest.map_or(u32::MAX, |found| found.end),
            report,
        })
    }

    /// The present life of an extent, by what is in it, and the greatest incarnation seen.
    pub(crate) async fn find_life(
        &self,
        extent: ExtentId,
        limit: u32,
    ) -> Result<(Option<u64>, u64), OpenError> {
        if limit == 0 {
            return Ok((None, 0));
        }
        let last = self.medium.cut.extent_blocks - 1;
        let first = self.head_at(extent, 0).await?;
        let end = if last < limit { self.head_at(extent, last).await? } else { None };
        // The last block is a head only where it says that a life has ended.
        let floor = end.map_or(0, |(incarnation, _)| incarnation);
        match first {
            Some((incarnation, true)) if incarnation > floor => {
                Ok((Some(incarnation), incarnation))
            }
            _ => {
                // The head of a life is damaged, or its write failed and the end of the life
                // before it still stands there: what lies behind it tells.
                let floor = floor.max(first.map_or(0, |(incarnation, _)| incarnation));
                let seen = self.walker(&Options::default()).lives(extent, limit).await?;
                let life = seen.filter(|incarnation| *incarnation > floor);
                Ok((life, seen.unwrap_or(0).max(floor)))
            }
        }
    }

    /// The incarnation of a head there, and whether it begins a life.
    async fn head_at(
        &self,
        extent: ExtentId,
        block: u32,
    ) -> Result<Option<(u64, bool)>, OpenError> {
        let buf = self.world.pool.alloc(BLOCK_BYTES)?;
        let (result, buf) = self.medium.read(extent, block, buf).await;
        match result {
            Ok(()) => {}
            Err(IoError::Media { .. } | IoError::TimedOut | IoError::Zone(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let Ok((own, Kind::Head)) = Block::check(&buf) else { return Ok(None) };
        let incarnation = own.origin().incarnation;
        let here = Origin { uuid: self.uuid, extent, block, incarnation };
        if own.check_origin(&here).is_err() {
            return Ok(None);
        }
        Ok(ExtentHead::read(own).ok().map(|head| (incarnation, head.stream.is_some())))
    }
}

/// The checkpoint that recovery went by, once more, with numbers that are free for sure: whoever
/// dies between this and the next checkpoint leaves blocks under numbers that nobody gives out
/// again.
fn claim(checkpoint: &Checkpoint, number: u64) -> Checkpoint {
    Checkpoint {
        number,
        clean: false,
        next_sequence: checkpoint.next_sequence + SEQUENCE_GAP,
        next_incarnation: checkpoint.next_incarnation + INCARNATION_GAP,
        ..checkpoint.clone()
    }
}

/// Writes the claim before anything else is written; a write that fails is tried once more.
/// Gives back where the next checkpoint goes, and the number of the last durable one.
async fn write_claim(
    world: &World,
    medium: &Medium,
    claim: &Checkpoint,
    longest: usize,
    (turn, mut ends, follows): (usize, [u32; 2], u64),
) -> Result<(usize, [u32; 2], u64), OpenError> {
    let mut buf = world.pool.alloc(longest)?;
    for tries in 0.. {
        let mut result = match medium.cut.zoned {
            true => medium.zone_reset(medium.cut.meta()[turn]).await,
            false => Ok(()),
        };
        if result.is_ok() {
            let (end, back) = write_checkpoint(buf, medium, claim, follows, turn, 0).await;
            buf = back;
            ends[turn] = *end.as_ref().unwrap_or(&u32::MAX);
            result = end.map(drop);
        }
        match result {
            Ok(()) => break,
            Err(_) if tries == 0 => {}
            Err(_) => return Err(OpenError::Start(PutError::Fenced)),
        }
    }
    medium.flush().await.map_err(|_| OpenError::Start(PutError::Fenced))?;
    Ok((1 - turn, ends, claim.number))
}

/// What recovery worked out.
struct Parts {
    checkpoint: Checkpoint,
    extents: Extents,
    index: Index,
    runs: Vec<RunInfo>,
    to_finish: Vec<ExtentId>,
    to_resume: Vec<ExtentId>,
    turn: usize,
    end: u32,
    report: RecoveryReport,
}

impl Parts {
    fn into_disk(self, scanned: ScannedDisk, options: Options, damaged: bool) -> RecoveredDisk {
        let mut report = self.report;
        report.checkpoint_damaged |= damaged;
        // The next checkpoint goes to the other meta extent, from its start: behind its last
        // whole one there may be a torn one.
        let mut ends = [u32::MAX; 2];
        ends[self.turn] = self.end;
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
            ends,
            report,
        }
    }
}

impl RecoveryReport {
    fn take(&mut self, walked: &Walked) {
        self.extents_read += 1;
        self.records_torn += u64::from(walked.torn);
        self.unreadable_blocks += u64::from(walked.unreadable);
        self.holes.extend_from_slice(&walked.holes);
    }
}

/// Committed records of extents that were read, by key.
#[derive(Default)]
struct Recent {
    best: BTreeMap<Key, FoundRecord>,
}

impl Recent {
    fn take(&mut self, records: Vec<FoundRecord>) {
        for record in records {
            let key = match &record.what {
                What::Shard(head) => head.key,
                What::Tomb(tomb) => tomb.key,
            };
            match self.best.entry(key) {
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(record);
                }
                std::collections::btree_map::Entry::Occupied(mut best) => {
                    if record.beats(best.get()) {
                        best.insert(record);
                    }
                }
            }
        }
    }

    fn winners(self) -> BTreeMap<Key, Entry> {
        self.best
            .into_iter()
            .map(|(key, record)| {
                let (kind, wall_s, flags) = match &record.what {
                    What::Shard(head) => {
                        let flags = if head.kills.is_empty() { NO_KILLS } else { 0 };
                        (DeltaKind::Live, head.put_s, flags)
                    }
                    What::Tomb(tomb) => (DeltaKind::Dead, tomb.deleted_s, 0),
                };
                let (place, sequence) = (record.place, record.sequence);
                (key, Entry { key, delta: Delta { kind, flags, wall_s, place, sequence } })
            })
            .collect()
    }
}

impl FoundRecord {
    /// Whether it counts rather than another record of the same key: the later change does, and
    /// of copies of one change the one that names where the other lies.
    fn beats(&self, other: &FoundRecord) -> bool {
        if self.sequence != other.sequence {
            return self.sequence > other.sequence;
        }
        let kills = match &self.what {
            What::Shard(head) => &head.kills,
            What::Tomb(tomb) => &tomb.kills,
        };
        kills
            .iter()
            .any(|kill| kill.extent == other.place.extent && kill.incarnation == other.incarnation)
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

    /// Writes the first checkpoint and takes requests from then on.
    pub async fn start(self) -> Result<(Store, RecoveryReport), OpenError> {
        let RecoveredDisk {
            scanned, options, checkpoint, mut extents, index, runs, report, ..
        } = self;
        let medium = scanned.medium.clone();
        for extent in &self.to_finish {
            medium.zone_finish(*extent).await?;
        }
        let mut lanes = Lanes::new();
        for extent in self.to_resume {
            let row = *extents.row(extent);
            let agrees = !medium.cut.zoned
                || written_blocks(&scanned.world, &medium, extent).await? == row.written;
            if !agrees || !lanes.resume(extent, row.stream, &row) {
                extents.seal(extent, row.written);
                if medium.cut.zoned {
                    medium.zone_finish(extent).await?;
                }
            }
        }
        let gap = !report.clean;
        let longest = PutBuf::buffer_bytes(checkpoint.payload_max as usize);
        let mut place = (self.turn, self.ends, checkpoint.number);
        let mut last = scanned.number_max.max(checkpoint.number);
        if gap {
            last += CHECKPOINT_GAP;
            extents.skip_incarnations(INCARNATION_GAP);
            if !report.full_scan {
                let claim = claim(&checkpoint, last + 1);
                place = write_claim(&scanned.world, &medium, &claim, longest, place).await?;
            }
        }
        let (turn, ends, durable) = place;
        let next_run = runs.iter().map(|run| run.id + 1).max().unwrap_or(0)
            + if gap { SEQUENCE_GAP } else { 0 };
        let batch_bufs = (0..4)
            .map(|_| scanned.world.pool.alloc(options.batch_bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let profile = options.profile.or_else(|| {
            let kept = checkpoint.profile.as_slice().try_into().ok()?;
            DiskProfile::from_bytes(kept).ok()
        });
        let profile = profile.unwrap_or_else(|| DiskProfile::flat(32));
        let queue =
            DiskQueue::new(&scanned.world.handle, medium.disk().clone(), profile, options.sched);
        let medium = medium.queued(queue);
        let spares = (0..SPARES)
            .map(|_| scanned.world.pool.alloc(longest))
            .collect::<Result<Vec<_>, _>>()?;
        let state = State {
            index,
            runs,
            extents,
            lanes,
            unflushed: Vec::new(),
            flushing: false,
            held: Vec::new(),
            next_sequence: checkpoint.next_sequence + if gap { SEQUENCE_GAP } else { 0 },
            next_run: next_run.max(checkpoint.number << 20),
            turns: BTreeMap::new(),
            changes: BTreeSet::new(),
            next_change: 0,
            answers: Answers::default(),
            batch_bufs,
            spares,
            longest,
            released: BTreeSet::new(),
            fenced: false,
            closing: false,
            over: false,
            failures_in_row: 0,
            checkpoint: CheckpointState {
                durable,
                last: last.max(durable),
                busy: false,
                wanted: false,
                turn,
                ends,
                profile: profile.to_bytes().to_vec(),
            },
            reclaiming: false,
            merging: false,
            exhausted: false,
            deaths: 0,
            scrub: ScrubState::default(),
            retired: checkpoint.retired,
            stuck: BTreeSet::new(),
            keeping: false,
            moves: 0,
        };
        let core = Rc::new(Core {
            world: scanned.world,
            background: medium.for_class(Class::Rebalance),
            medium: medium.for_class(Class::Append),
            options,
            uuid: scanned.uuid,
            formatted_s: checkpoint.formatted_s,
            payload_max: checkpoint.payload_max,
            state: RefCell::new(state),
            work: Event::default(),
            written: Event::default(),
            chores: Event::default(),
            progress: Event::default(),
            counters: Cell::new(Counters::default()),
        });
        core.spawn("store.append", Rc::clone(&core).append_task());
        core.spawn("store.flush", Rc::clone(&core).flush_task());
        // Two, until the extents that may be opened are named in the last two.
        for _ in 0..2 {
            core.checkpoint(false).await.map_err(OpenError::Start)?;
        }
        core.spawn("store.keeper", Rc::clone(&core).keeper_task());
        core.spawn("store.cleaner", Rc::clone(&core).cleaner_task());
        Ok((Store { core }, report))
    }
}

impl Store {
    /// Opens the store on a disk: [`ScannedDisk`], [`RecoveredDisk`] and then this.
    pub async fn open(
        world: &World,
        disk: &isotherm_reactor::Disk,
        options: Options,
    ) -> Result<(Store, RecoveryReport), OpenError> {
        ScannedDisk::scan(world, disk).await?.recover(options).await?.start().await
    }
}
