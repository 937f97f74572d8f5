//! From what was recovered to a store.
//!
//! What must always hold: the first write is a claim to numbers that are free for sure, and
//! nothing else is written before it is durable.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use super::format::write_checkpoint;
use super::recover::{NOWHERE, RecoveredDisk, RecoveryReport};
use super::scan::{OpenError, ScannedDisk, written_blocks};
use crate::append::Lanes;
use crate::core::{CheckpointState, Core, Counters, SPARES, State, World};
use crate::event::{Answers, Event};
use crate::layout::Checkpoint;
use crate::medium::Medium;
use crate::payload::PutBuf;
use crate::sched::{Class, DiskProfile, DiskQueue};
use crate::scrub::ScrubState;
use crate::store::{Options, Store};
use crate::{Place, PutError};

/// Room for numbers that were given out and never seen again.
const SEQUENCE_GAP: u64 = 1 << 20;
const INCARNATION_GAP: u64 = 1 << 16;
/// A checkpoint that could not be read this time may be read the next time, and must not be taken
/// for one that was written since. There are fewer in the meta extents.
const CHECKPOINT_GAP: u64 = 1 << 18;
const _: () = assert!(CHECKPOINT_GAP > 2 * Place::EXTENT_BLOCKS_MAX as u64);

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
    (turn, mut places, follows): (usize, [Range<u32>; 2], u64),
) -> Result<(usize, [Range<u32>; 2], u64), OpenError> {
    let mut buf = world.pool.alloc(longest)?;
    for tries in 0.. {
        let mut result = match medium.cut.zoned {
            true => medium.zone_reset(medium.cut.meta()[turn]).await,
            false => Ok(()),
        };
        if result.is_ok() {
            let (end, back) = write_checkpoint(buf, medium, claim, follows, turn, 0).await;
            buf = back;
            places[turn] = end.as_ref().map_or(NOWHERE, |end| 0..*end);
            result = end.map(drop);
        }
        match result {
            Ok(()) => break,
            Err(_) if tries == 0 => {}
            Err(_) => return Err(OpenError::Start(PutError::Fenced)),
        }
    }
    medium.flush().await.map_err(|_| OpenError::Start(PutError::Fenced))?;
    Ok((1 - turn, places, claim.number))
}

impl RecoveredDisk {
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
        extents.retry_offline();
        let gap = !report.clean;
        let claims = gap && !report.full_scan;
        let longest = PutBuf::buffer_bytes(checkpoint.payload_max as usize);
        let mut place = (self.turn, self.places, checkpoint.number);
        let mut last = scanned.number_max.max(checkpoint.number);
        let mut said = None;
        if gap {
            last += CHECKPOINT_GAP;
            extents.skip_incarnations(INCARNATION_GAP);
            if claims {
                let claim = claim(&checkpoint, last + 1);
                place = write_claim(&scanned.world, &medium, &claim, longest, place).await?;
                said = Some(claim);
            }
        }
        if report.full_scan && scanned.checkpoints.is_empty() && medium.cut.zoned {
            // One that can't be read now may come back, with a number that nobody knows.
            for meta in medium.cut.meta() {
                medium.zone_reset(meta).await?;
            }
        }
        let (turn, places, durable) = place;
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
                said,
                busy: false,
                wanted: false,
                turn,
                places,
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
        if claims {
            // Dead in the checkpoint before and in the claim. The next one may need an extent, and
            // on a full disk there may be no other: what dies by it is emptied behind it.
            let durable = core.state.borrow().checkpoint.durable;
            core.empty_dead(durable).await;
        }
        let mut first = core.checkpoint(false).await;
        if report.full_scan && first == Err(PutError::Full) {
            // What this checkpoint was to give up. Who goes by no checkpoint finds the same without
            // it, and nobody else can be sure to find the disk as his checkpoint says: he is told
            // to scan it again.
            core.state.borrow_mut().kill_idle(0);
            core.empty_dead(1).await;
            first = core.checkpoint(false).await;
        }
        first.map_err(OpenError::Start)?;
        // One more, so that the extents that may be opened are named in the last two.
        core.checkpoint(false).await.map_err(OpenError::Start)?;
        core.state.borrow_mut().extents.keep_for_recovery(true);
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
