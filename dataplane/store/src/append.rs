//! Appends: what was asked for becomes batches, batches become durable, and only then count.
//!
//! ```text
//! queue of a lane -> batch -> write ───┐ flush ──> durable -> index -> answer
//!                    batch -> write ───┴──── (the next append overlaps the flush)
//! ```
//!
//! What must always hold:
//! - There is no timer: a batch is whatever came while the batches before it were under way.
//! - Within an extent batches count in order: one is answered only when all before it are
//!   durable. So the acknowledged part of an extent is one piece from its start.
//! - The index points at a record only when it is durable.
//! - A failed write closes its extent and the batch is written again elsewhere, before anyone is
//!   answered. A second failure in a row, or a failed flush, fences the disk for writes.

mod batch;
mod item;
mod lane;
mod settle;

use std::collections::VecDeque;
use std::rc::Rc;

pub(crate) use batch::Batch;
pub(crate) use item::{Body, Item, NO_KILLS, Then};
pub(crate) use lane::Aim;
pub(crate) use lane::Lanes;
use lane::{BUCKETS_MAX, DAY_S, OpenExtent};

use crate::api::PutError;
use crate::core::{Core, State};
use crate::extents::{NoExtent, Taker};
use crate::{BLOCK_BYTES, Bug, ExtentId};

/// Batches of one lane under way at a time.
const BATCHES_MAX: u32 = 4;
/// Large records of one lane under way at a time.
const DIRECT_MAX: u32 = 24;
/// Writes of one lane in the device at a time where it has a write cache. The cache makes one run
/// of all that it is given at once, and a flush of the first then waits for the last, while nothing
/// is left that the arm could go on with. Given one by one, each is a run: when a flush ends, the
/// next run is in the cache already. (64 KiB puts, 32 in flight: 46 % of the sequential rate with
/// four at a time.)
const CACHED_WRITES_MAX: u32 = 1;

impl Core {
    /// Queues something to append.
    pub(crate) fn enqueue(&self, item: Item, aim: Aim) {
        self.state.borrow_mut().queue(item, aim);
        self.work.notify();
    }

    /// The task that makes batches. Ends when the store is closed.
    pub(crate) async fn append_task(self: Rc<Core>) {
        loop {
            let lanes = self.state.borrow().lanes.lanes.len();
            let mut any = false;
            for lane in 0..lanes {
                while self.start_batch(lane) {
                    any = true;
                }
            }
            self.finish_zones();
            if !any {
                if self.is_over() {
                    return;
                }
                self.work.next().await;
            }
        }
    }

    /// Zones that nobody appends to any more must not stay open: a disk allows but a few.
    fn finish_zones(self: &Rc<Core>) {
        let sealed = self.state.borrow_mut().extents.take_sealed();
        if !self.medium.cut.zoned || sealed.is_empty() {
            return;
        }
        let core = Rc::clone(self);
        self.spawn("store.finish", async move {
            for extent in sealed {
                // One that can't be finished is none the worse for what it holds.
                let full = core.state.borrow().extents.row(extent).written
                    == core.medium.cut.extent_blocks;
                if !full && core.life_of(extent).is_some() {
                    let _ = core.medium.zone_finish(extent).await;
                }
            }
        });
    }

    fn life_of(&self, extent: ExtentId) -> Option<u64> {
        self.state.borrow().extents.life(extent)
    }

    /// Makes and submits one batch of a lane; `false` if there is none to make now.
    fn start_batch(self: &Rc<Core>, lane: usize) -> bool {
        if self.state.borrow().fenced {
            return self.refuse_queue(lane, PutError::Fenced);
        }
        match self.make_room(lane) {
            Room::Wait => return false,
            Room::Refuse(item) if item.is_retried() => {
                // Nobody knows what became of it, and there is no room to make it certain.
                self.fence();
                self.refuse(*item, PutError::Fenced);
                return true;
            }
            Room::Refuse(item) => {
                self.refuse(*item, PutError::Full);
                return true;
            }
            Room::Elsewhere => return true,
            Room::Ready => {}
        }
        let Some((batch, writes)) = self.form_batch(lane) else {
            return false;
        };
        self.count(|counters| {
            counters.batches += 1;
            counters.appended_bytes += u64::from(batch.end - batch.first) * BLOCK_BYTES as u64;
        });
        if self.has(Bug::IndexBeforeData) {
            let state = &mut *self.state.borrow_mut();
            for (item, place, sequence) in &batch.items {
                state.apply(item, place, *sequence);
            }
        }
        let medium = self.medium_of(self.state.borrow().lanes.lanes[lane].aim.stream());
        let transfers: Vec<_> =
            writes.into_iter().map(|(block, buf)| medium.write(batch.extent, block, buf)).collect();
        self.spawn("store.batch", Rc::clone(self).finish_batch(batch, transfers));
        true
    }

    fn refuse_queue(&self, lane: usize, why: PutError) -> bool {
        let mut any = false;
        loop {
            let item = self.state.borrow_mut().lanes.lanes[lane].queue.pop_front();
            let Some(item) = item else { return any };
            self.refuse(item, why);
            any = true;
        }
    }

    /// Answers what can't be appended.
    pub(super) fn refuse(&self, mut item: Item, why: PutError) {
        let key = item.key();
        let state = &mut *self.state.borrow_mut();
        if state.pay(&mut item) {
            let mut counters = self.counters.get();
            state.answer_durable(&mut counters, self.has(Bug::IndexBeforeData));
            self.counters.set(counters);
        }
        match item.then {
            Then::Answer { slot, change, .. } => state.answer_change(key, slot, change, Err(why)),
            Then::Move { .. } => {
                state.moves -= 1;
                state.end_turn(key);
            }
            Then::Tell { slot } => state.answers.put(slot, Err(why)),
        }
        self.progress.notify();
    }

    /// Makes sure that the lane's extent has room for its next item.
    fn make_room(&self, lane: usize) -> Room {
        let state = &mut *self.state.borrow_mut();
        let own = &mut state.lanes.lanes[lane];
        let Some(front) = own.queue.front() else { return Room::Wait };
        let (under_way, most) = match front.is_direct() {
            true => (own.direct, DIRECT_MAX),
            false => (own.batches, BATCHES_MAX),
        };
        // The flush of what was written goes to the device before the next write, which it would
        // wait for otherwise.
        let waits_for_flush = !state.unflushed.is_empty() && !state.flushing;
        let is_cached = self.medium.volatile_cache;
        if under_way >= most || is_cached && (own.writing >= CACHED_WRITES_MAX || waits_for_flush) {
            return Room::Wait;
        }
        let (blocks, taker, is_retried) = (front.blocks(), front.taker(), front.is_retried());
        let ignore = self.has(Bug::ReserveIgnored);
        if let Some(open) = &mut own.open {
            if open.has_room(blocks, self.medium.cut.extent_blocks) {
                let may = taker != Taker::Put || open.for_puts || ignore;
                if may || state.extents.room() > 0 {
                    open.for_puts |= !may;
                    return Room::Ready;
                }
                return Room::Refuse(Box::new(own.queue.pop_front().expect("seen above")));
            }
            own.close(&mut state.extents);
        }
        match state.extents.take(taker, own.aim.stream(), ignore) {
            Ok(extent) => {
                own.open = Some(OpenExtent {
                    extent,
                    incarnation: state.extents.row(extent).incarnation,
                    end: 0,
                    durable: 0,
                    under_way: VecDeque::new(),
                    for_puts: taker == Taker::Put,
                });
                if state.extents.should_name() {
                    state.checkpoint.wanted = true;
                }
                // The cleaner too looks whether there is enough left.
                self.chores.notify();
                Room::Ready
            }
            Err(NoExtent::NotNamed) => {
                state.checkpoint.wanted = true;
                self.chores.notify();
                Room::Wait
            }
            // What room another lane has left is taken, but by puts only when the cleaner can make
            // no more: who mixes brief and long lives pays for it later.
            Err(NoExtent::Full)
                if (taker != Taker::Put || state.exhausted)
                    && state.lanes.fold(lane, self.medium.cut.extent_blocks) =>
            {
                Room::Elsewhere
            }
            // It waits among clients: the cleaner, which is to make room for it, waits for what it moves.
            Err(NoExtent::Full) if is_retried && !state.lanes.lanes[lane].aim.is_for_clients() => {
                state.lanes.wait_among_clients(lane);
                Room::Elsewhere
            }
            // A delete waits for the cleaner as long as that may gain something, and so does what is
            // to be written again.
            Err(NoExtent::Full)
                if (taker == Taker::Tomb || is_retried)
                    && self.options.reclaims
                    && !state.exhausted
                    && !state.closing =>
            {
                self.chores.notify();
                Room::Wait
            }
            Err(NoExtent::Full) => {
                self.chores.notify();
                let front = state.lanes.lanes[lane].queue.pop_front();
                Room::Refuse(Box::new(front.expect("seen above")))
            }
        }
    }
}

enum Room {
    Ready,
    /// The item is another lane's now.
    Elsewhere,
    Wait,
    Refuse(Box<Item>),
}

impl State {
    /// Queues something to append.
    pub(crate) fn queue(&mut self, item: Item, aim: Aim) {
        let is_roomy = self.extents.room() > 2 * BUCKETS_MAX as u32;
        let aim = match (&item.body, aim) {
            (Body::Shard { head, .. }, Aim::Fresh | Aim::Brief) if head.expires_s > 0 => {
                Aim::Expiring(head.expires_s / DAY_S)
            }
            _ => aim,
        };
        let lane = self.lanes.lane_of(aim, is_roomy);
        self.lanes.lanes[lane].queue.push_back(item);
    }
}
