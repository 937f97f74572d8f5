//! The cleaner: extents with little that is live are emptied.
//!
//! What must always hold:
//! - What the cleaner can't read it does not drop: the extent stays as it is, suspect, until what
//!   is live in it was repaired from elsewhere or deleted.
//! - An extent dies only when nothing in the index points into it, and is emptied only when the
//!   checkpoint that says so is durable.
//! - A tombstone is dropped only when every extent that may hold what it kills has been emptied;
//!   one whose emptying failed has not been.
//! - A key that moves is nobody else's to change until the move is durable. One that is being
//!   changed is left alone: it may wait for the room that the cleaner is to make.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::api::PutError;
use crate::append::{Aim, Body, Item, Then};
use crate::core::{Core, State};
use crate::layout::{Block, Kill, Kind, RecordHead, Shape, State as ExtentState, Stream, Tomb};
use crate::lifetime::{Candidate, aim_of_move, victim};
use crate::recovery::{Cursor, Piece};
use crate::sched::Class;
use crate::store::Store;
use crate::{BLOCK_BYTES, Bug, ExtentId, Place};

/// Extents that a pass cleans in part before it gives up.
const PASSED_MAX: usize = 8;
/// Passes that the cleaner makes in a row without an extent more at the end. What lies in many
/// extents comes together in few in that many: a pass empties four.
const FRUITLESS_MAX: u32 = 4;
/// Records that are on their way at a time.
const MOVES_MAX: u64 = 64;

/// What a cleaning pass did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reclaimed {
    /// Extents whose live records were moved.
    pub cleaned: u32,
    /// Extents that hold something live that can't be read.
    pub stuck: u32,
    /// Records that were moved.
    pub moved: u64,
}

/// How cleaning an extent ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cleaned {
    /// Nothing live is left in it.
    Empty,
    /// Something was being changed, or there was no room for all of it.
    InPart,
    /// Something live can't be read.
    Unreadable,
}

/// What became of a record that was to be moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    /// Its copy is on the way.
    Queued,
    /// It is not live any more.
    Gone,
    /// Its key is being changed.
    Busy,
}

impl Store {
    /// One pass of the cleaner: the best extents are emptied, as far as there are any. What is
    /// emptied can be used when it returns.
    pub async fn reclaim_once(&self) -> Result<Reclaimed, PutError> {
        self.core.reclaim_pass(1).await
    }
}

impl Core {
    /// The task that cleans when puts will soon find no extent.
    pub(crate) async fn cleaner_task(self: Rc<Core>) {
        let mut fruitless = 0;
        // The most extents that were empty since clients changed anything. To be as far as that again
        // is no gain: what is packed ever anew may give up two and take two in turn, without end.
        let mut best = 0;
        let mut changes = None;
        loop {
            let (over, is_short) = {
                let state = self.state.borrow();
                let may = !state.closing && !state.fenced && self.options.reclaims;
                (state.over, may && state.extents.is_short())
            };
            if over {
                return;
            }
            // The less room, the more of the disk's time: puts that wait for room are no gain.
            let share = if is_short { self.cleaning_share() } else { 0.10 };
            self.medium.queue().set_budget(Class::Rebalance, share);
            // A checkpoint alone may have freed what had died by itself.
            let deaths = {
                let (state, counters) = (self.state.borrow(), self.counters.get());
                let now = Some((state.deaths, counters.puts, counters.deletes));
                if changes != now {
                    (changes, best) = (now, state.extents.empty());
                }
                state.deaths
            };
            let gained = || self.state.borrow().extents.empty() > best;
            let mut worked = is_short
                && (matches!(self.reclaim_pass(4).await, Ok(done) if done.cleaned > 0) || gained());
            // What is packed ever anew without an extent more at the end is no gain. But the index
            // may be what keeps them.
            if is_short && (!worked || !gained() && fruitless >= FRUITLESS_MAX) {
                worked = self.tidy_runs().await;
            }
            fruitless = if gained() { 0 } else { fruitless + 1 };
            best = best.max(self.state.borrow().extents.empty());
            // Something has died meanwhile: there may be something to gain after all.
            let changed = is_short && self.state.borrow().deaths != deaths;
            if (!worked || fruitless > FRUITLESS_MAX) && !changed {
                if is_short {
                    self.state.borrow_mut().exhausted = true;
                    self.work.notify();
                }
                fruitless = 0;
                self.chores.next().await;
            }
        }
    }

    /// Makes one run of the index of many, where these keep extents from being emptied and no
    /// other has anything to gain; and empties what has died by itself.
    async fn tidy_runs(self: &Rc<Core>) -> bool {
        if self.reclaim_begins().await.is_err() {
            return false;
        }
        let merged = matches!(self.merge_runs(true).await, Ok(true));
        let frees = {
            let state = self.state.borrow();
            state.extents.ids().any(|id| state.is_idle(id) || state.extents.is_to_be_emptied(id))
        };
        // One checkpoint gives extents up, the next one empties them.
        let gained = (merged || frees)
            && self.checkpoint(false).await.is_ok()
            && self.checkpoint(false).await.is_ok();
        self.reclaim_ends();
        gained
    }

    /// The cleaner's share of disk time, 0.1 to 0.7, by what is left of the room.
    fn cleaning_share(&self) -> f64 {
        let state = self.state.borrow();
        let slack = f64::from(state.extents.slack());
        let left = f64::from(state.extents.room()) / slack;
        0.1 + 0.6 * (1.0 - left.min(1.0))
    }

    async fn reclaim_pass(self: &Rc<Core>, victims: u32) -> Result<Reclaimed, PutError> {
        self.reclaim_begins().await?;
        let result = self.reclaim_victims(victims).await;
        self.reclaim_ends();
        result
    }

    /// Waits for whoever cleans now. A store that closes begins no more of it, whoever waits: what
    /// is written behind the clean mark might meet the next store on the disk.
    async fn reclaim_begins(&self) -> Result<(), PutError> {
        self.progress
            .until(|| {
                let state = &mut *self.state.borrow_mut();
                if state.closing {
                    return Some(Err(PutError::Closed));
                }
                (!state.reclaiming).then(|| {
                    state.reclaiming = true;
                    Ok(())
                })
            })
            .await
    }

    fn reclaim_ends(&self) {
        self.state.borrow_mut().reclaiming = false;
        self.progress.notify();
    }

    async fn reclaim_victims(self: &Rc<Core>, victims: u32) -> Result<Reclaimed, PutError> {
        let mut done = Reclaimed::default();
        // Cleaned in part: something in them was being changed, perhaps by who waits for room.
        let mut passed = BTreeSet::new();
        while done.cleaned < victims && passed.len() < PASSED_MAX {
            if self.state.borrow().fenced {
                return Err(PutError::Fenced);
            }
            let Some(candidate) = self.pick(&passed) else { break };
            let moved = self.state_moved();
            let cleaned = self.clean(candidate.extent).await?;
            done.moved += self.state_moved() - moved;
            match cleaned {
                Cleaned::Empty => done.cleaned += 1,
                Cleaned::Unreadable => done.stuck += 1,
                Cleaned::InPart => {
                    passed.insert(candidate.extent);
                }
            }
            if self.has(Bug::ResetBeforeRelocation) {
                let _ = self.empty(candidate.extent).await;
                let _ = self.medium.flush().await;
            }
        }
        // One says that they are dead, the next one that they may be emptied, and two more name
        // them to be opened again.
        for _ in 0..2 {
            self.checkpoint(false).await?;
        }
        if self.state.borrow().extents.should_name() {
            for _ in 0..2 {
                self.checkpoint(false).await?;
            }
        }
        Ok(done)
    }

    fn state_moved(&self) -> u64 {
        self.counters.get().moved
    }

    fn pick(&self, passed: &BTreeSet<ExtentId>) -> Option<Candidate> {
        let state = self.state.borrow();
        let next_life = state.extents.next_incarnation();
        let bytes = f64::from(self.medium.cut.extent_blocks) * BLOCK_BYTES as f64;
        // Less than that would be lost again on heads and marks.
        let gain_least = (bytes / 16.0).max(3.0 * BLOCK_BYTES as f64);
        let candidates = state.extents.ids().filter_map(|extent| {
            let row = state.extents.row(extent);
            let may = row.state == ExtentState::Sealed
                && !passed.contains(&extent)
                && row.stream != Stream::Index
                && !state.lanes.holds(extent)
                && !state.stuck.contains(&(extent, row.incarnation))
                && state.extents.live_bytes_of(extent) > 0
                && state.extents.live_bytes_of(extent) as f64 <= bytes - gain_least;
            may.then(|| Candidate {
                extent,
                live: state.extents.live_bytes_of(extent) as f64 / bytes,
                age: next_life.saturating_sub(row.incarnation),
            })
        });
        victim(candidates)
    }

    /// Moves what is live in an extent to others.
    async fn clean(self: &Rc<Core>, extent: ExtentId) -> Result<Cleaned, PutError> {
        let _pin = self.pin(extent);
        let row = *self.state.borrow().extents.row(extent);
        let walker = self.walker(&self.background);
        let mut cursor = Cursor::new(extent, row.incarnation, row.written);
        let from = Kill { extent, incarnation: row.incarnation };
        let (mut is_busy, mut is_whole) = (false, true);
        let (moved, mut queued) = (self.state_moved(), 0);
        loop {
            let found = match walker.next(&mut cursor).await {
                Ok(Some(found)) => found,
                Ok(None) => break,
                // Not the medium but the device, or no buffer: another time.
                Err(_) => {
                    is_whole = false;
                    break;
                }
            };
            let place = |dead| Place { extent, block: found.at, blocks: found.blocks as u16, dead };
            match &found.what {
                Piece::Record { kind: Kind::Data, head, whole: true, .. } => {
                    let place = place(false);
                    if self.state.borrow().index.is_at(&head.key, place) {
                        let bytes = cursor.bytes(&found);
                        let (head, sequence) = (*head, found.sequence);
                        match self.move_record(head, sequence, bytes, place, from).await? {
                            Move::Queued => queued += 1,
                            Move::Busy => is_busy = true,
                            Move::Gone => {}
                        }
                    }
                }
                Piece::Tombs(tombs) => {
                    for tomb in tombs {
                        match self.move_tomb(*tomb, place(true)).await? {
                            Move::Queued => queued += 1,
                            Move::Busy => is_busy = true,
                            Move::Gone => {}
                        }
                    }
                }
                _ => {}
            }
        }
        self.progress
            .until(|| {
                let state = self.state.borrow();
                (state.moves == 0 || state.fenced).then_some(())
            })
            .await;
        let state = &mut *self.state.borrow_mut();
        if state.fenced {
            return Err(PutError::Fenced);
        }
        if state.extents.live_bytes_of(extent) == 0 {
            return Ok(Cleaned::Empty);
        }
        if is_busy || !is_whole || self.state_moved() - moved < queued {
            return Ok(Cleaned::InPart);
        }
        if self.has(Bug::CleanerDrops) {
            state.extents.forget_live(extent);
            return Ok(Cleaned::Empty);
        }
        // Something live was not found: it can't be read.
        state.extents.row_mut(extent).suspect = true;
        state.stuck.insert((extent, row.incarnation));
        self.count(|counters| counters.damaged += 1);
        Ok(Cleaned::Unreadable)
    }

    /// Queues a copy of a record.
    async fn move_record(
        self: &Rc<Core>,
        mut head: RecordHead,
        sequence: u64,
        bytes: &[u8],
        from: Place,
        kill: Kill,
    ) -> Result<Move, PutError> {
        self.wait_for_moves(MOVES_MAX).await?;
        let shape = Shape { payload_bytes: Block::over(&bytes[..BLOCK_BYTES]).payload_bytes() };
        let mut buf = self.record_buf(shape.payload_bytes).await;
        {
            let state = &mut *self.state.borrow_mut();
            if state.turns.contains_key(&head.key) {
                return Ok(Move::Busy);
            }
            if !state.index.is_at(&head.key, from) {
                return Ok(Move::Gone);
            }
            state.take_turn(head.key);
        }
        buf.buf[..bytes.len()].copy_from_slice(bytes);
        Block::over_mut(&mut buf.buf[..BLOCK_BYTES]).keep_cells();
        let aim = {
            let state = &mut *self.state.borrow_mut();
            head.kills.retain(|kill| state.extents.is_alive(kill));
            head.kills.add(kill);
            head.supersedes = Some(from);
            state.moves += 1;
            state.aim_of_move(sequence)
        };
        let body = Body::Shard { head, buf: Some(buf), vital: false };
        let item = Item {
            body,
            shape,
            sequence: Some(sequence),
            then: Then::Move { from },
            owed: Vec::new(),
        };
        self.enqueue(item, aim);
        Ok(Move::Queued)
    }

    /// Moves a tombstone if it still kills something or is held, and drops it otherwise.
    async fn move_tomb(self: &Rc<Core>, mut tomb: Tomb, from: Place) -> Result<Move, PutError> {
        if !self.state.borrow().index.is_at(&tomb.key, from) {
            return Ok(Move::Gone);
        }
        self.wait_for_moves(16 * MOVES_MAX).await?;
        let state = &mut *self.state.borrow_mut();
        if state.turns.contains_key(&tomb.key) {
            return Ok(Move::Busy);
        }
        if !state.index.is_at(&tomb.key, from) {
            return Ok(Move::Gone);
        }
        state.take_turn(tomb.key);
        let held = tomb.held && !state.released.contains(&tomb.key);
        let needed = state.extents.may_hold(&tomb.kills, tomb.born);
        if held || needed && !self.has(Bug::TombstoneEarly) {
            tomb.kills.retain(|kill| state.extents.is_alive(kill));
            tomb.held = held;
            tomb.supersedes = Some(from);
            state.moves += 1;
            let (body, shape) = (Body::Tomb(tomb), Shape { payload_bytes: 0 });
            let then = Then::Move { from };
            let item = Item { body, shape, sequence: Some(tomb.sequence), then, owed: Vec::new() };
            state.queue(item, state.aim_of_move(tomb.sequence));
            self.work.notify();
            Ok(Move::Queued)
        } else {
            let removed = state.index.apply_remove(tomb.key, from, tomb.sequence, tomb.deleted_s);
            assert!(removed, "it was there");
            state.extents.sub_live(&from);
            state.released.remove(&tomb.key);
            state.end_turn(tomb.key);
            self.count(|counters| counters.tombs_dropped += 1);
            self.progress.notify();
            Ok(Move::Gone)
        }
    }

    async fn wait_for_moves(&self, most: u64) -> Result<(), PutError> {
        self.progress
            .until(|| {
                let state = self.state.borrow();
                if state.fenced {
                    return Some(Err(PutError::Fenced));
                }
                (state.moves < most).then_some(Ok(()))
            })
            .await
    }
}

impl State {
    /// Where that is moved which was put with this number.
    fn aim_of_move(&self, sequence: u64) -> Aim {
        aim_of_move(self.next_sequence.saturating_sub(sequence), self.index.len())
    }
}
