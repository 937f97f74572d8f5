//! What becomes of a batch: written, flushed, then in the index, then answered.
//!
//! What must always hold:
//! - A batch is answered when it and all before it in its extent are durable.
//! - One flush is in the device at a time, for all that was written before it.

use std::future::Future;
use std::rc::Rc;

use isotherm_seam::{IoBuf, IoError};

use super::batch::Batch;
use super::item::{Body, Item, Then};
use crate::api::{Identity, PutError};
use crate::core::{Answer, Core, Done, State};
use crate::extents::Extents;
use crate::index::{Delta, DeltaKind};
use crate::layout::Kill;
use crate::{BLOCK_BYTES, Bug, Key, Place};

impl Core {
    /// Waits for the writes of a batch and passes it on to the flush.
    pub(super) async fn finish_batch(
        self: Rc<Core>,
        mut batch: Batch,
        transfers: Vec<impl Future<Output = (Result<(), IoError>, IoBuf)>>,
    ) {
        // Behind a failed write a zone refuses those that follow: they are no failures of their own.
        let (mut failed, mut refused) = (false, true);
        let count = transfers.len();
        for (at, transfer) in transfers.into_iter().enumerate() {
            let (result, buf) = transfer.await;
            failed |= result.is_err();
            refused &= matches!(result, Ok(()) | Err(IoError::Zone(_)));
            if batch.direct && at + 1 == count {
                batch.give_back(buf);
            } else {
                self.state.borrow_mut().batch_bufs.push(buf);
            }
        }
        self.state.borrow_mut().lanes.lanes[batch.lane].writing -= 1;
        if self.medium.volatile_cache {
            self.written.notify();
        }
        if failed {
            self.batch_failed(batch, refused);
        } else if self.medium.volatile_cache && !self.has(Bug::MissingFlush) {
            self.state.borrow_mut().unflushed.push(batch);
            self.work.notify();
        } else {
            self.batch_durable(batch);
        }
    }

    /// The task that flushes what was written: one flush at a time, for all that was written
    /// before it.
    pub(crate) async fn flush_task(self: Rc<Core>) {
        loop {
            // What else clients wait for and is in the device already shares the flush. Nothing new
            // is written meanwhile, so this is no long wait.
            let (is_empty, waits) = {
                let state = self.state.borrow();
                (state.unflushed.is_empty(), state.lanes.clients_write() && !state.fenced)
            };
            if is_empty || waits {
                if self.is_over() && is_empty {
                    return;
                }
                self.written.next().await;
                continue;
            }
            let batches = {
                let state = &mut *self.state.borrow_mut();
                state.flushing = true;
                std::mem::take(&mut state.unflushed)
            };
            // Who writes next runs when this waits, and so behind the flush.
            self.work.notify();
            let result = self.medium.flush().await;
            self.state.borrow_mut().flushing = false;
            self.count(|counters| counters.flushes += 1);
            match result {
                Ok(()) => batches.into_iter().for_each(|batch| self.batch_durable(batch)),
                Err(_) => {
                    self.fence();
                    batches.into_iter().for_each(|batch| self.batch_lost(batch));
                }
            }
        }
    }

    /// A batch is durable: it counts once all before it in its extent are.
    fn batch_durable(self: &Rc<Core>, mut batch: Batch) {
        if let Some((block, mark)) = batch.late_mark.take() {
            let late = self.medium.write(batch.extent, block, mark);
            self.spawn("store.late", async move {
                let _ = late.await;
            });
        }
        let state = &mut *self.state.borrow_mut();
        state.failures_in_row = 0;
        state.settle(&batch);
        state.held.push(batch);
        let mut counters = self.counters.get();
        state.answer_durable(&mut counters, self.has(Bug::IndexBeforeData));
        self.counters.set(counters);
        self.want_spill(state);
        self.work.notify();
        self.progress.notify();
    }

    /// A write failed: the extent is closed and the items go somewhere else.
    fn batch_failed(self: &Rc<Core>, batch: Batch, refused: bool) {
        let fences = {
            let state = &mut *self.state.borrow_mut();
            // A zone that refuses for good is closed, and others are tried, as long as there are.
            state.failures_in_row += u32::from(!refused);
            // Who waits for the second try may hold up who makes room for a third.
            let again = |(item, ..): &(Item, Place, u64)| {
                !item.owed.is_empty() && matches!(item.then, Then::Answer { .. })
            };
            state.failures_in_row > 1 || !refused && batch.items.iter().any(again)
        };
        if fences {
            self.fence();
            return self.batch_lost(batch);
        }
        let state = &mut *self.state.borrow_mut();
        let Batch { extent, .. } = &batch;
        let kill = Kill { extent: *extent, incarnation: state.extents.row(*extent).incarnation };
        state.lanes.close_extent(*extent, &mut state.extents);
        let own = &mut state.lanes.lanes[batch.lane];
        own.ended(&batch);
        // Of what was refused nothing is on the disk.
        match refused {
            true => own.settle(*extent, batch.end, &mut state.extents),
            false => own.owe(*extent, batch.end, batch.items.len() as u32, &mut state.extents),
        }
        // Each has the number that it was given with its first batch.
        for (mut item, ..) in batch.items.into_iter().rev() {
            if !refused {
                item.written_at_failed(kill, batch.end);
            }
            own.queue.push_front(item);
        }
        let mut counters = self.counters.get();
        state.answer_durable(&mut counters, self.has(Bug::IndexBeforeData));
        self.counters.set(counters);
        self.work.notify();
        self.progress.notify();
    }

    /// Nobody knows what became of the batch, and nothing is written any more.
    fn batch_lost(&self, batch: Batch) {
        self.state.borrow_mut().settle(&batch);
        for (item, ..) in batch.items {
            self.refuse(item, PutError::Fenced);
        }
        let state = &mut *self.state.borrow_mut();
        for batch in std::mem::take(&mut state.held) {
            // Durable, but behind something that is not: it may be answered, since what lies
            // in front was never acknowledged.
            let mut counters = self.counters.get();
            for (item, place, sequence) in batch.items {
                state.finish(item, place, sequence, &mut counters, false);
            }
            self.counters.set(counters);
        }
        self.work.notify();
        self.progress.notify();
    }
}

impl State {
    /// The batch is no longer under way.
    fn settle(&mut self, batch: &Batch) {
        let lane = &mut self.lanes.lanes[batch.lane];
        lane.ended(batch);
        lane.settle(batch.extent, batch.end, &mut self.extents);
    }

    /// An item is durable or given up: that much less is owed to the batches that it was in before.
    /// Whether anything was: what waits behind those may be durable by it.
    pub(super) fn pay(&mut self, item: &mut Item) -> bool {
        let owes = !item.owed.is_empty();
        for (extent, end) in item.owed.drain(..) {
            self.lanes.pay(extent, end, &mut self.extents);
        }
        owes
    }

    /// Answers the batches that nothing in front of them holds back.
    pub(super) fn answer_durable(&mut self, counters: &mut crate::core::Counters, applied: bool) {
        // Each may be what another waited for.
        let is_next =
            |batch: &Batch, extents: &Extents| batch.end <= extents.row(batch.extent).written;
        while let Some(at) = self.held.iter().position(|batch| is_next(batch, &self.extents)) {
            let batch = self.held.remove(at);
            for (item, place, sequence) in batch.items {
                self.finish(item, place, sequence, counters, applied);
            }
        }
    }

    /// A record is durable: the index learns of it, and whoever waits is answered.
    fn finish(
        &mut self,
        mut item: Item,
        place: Place,
        sequence: u64,
        counters: &mut crate::core::Counters,
        applied: bool,
    ) {
        if !applied {
            self.apply(&item, &place, sequence);
        }
        self.pay(&mut item);
        let key = item.key();
        if !matches!(item.then, Then::Answer { .. })
            && let Body::Shard { buf, .. } | Body::Chunk { buf, .. } = &mut item.body
            && let Some(own) = buf.take()
        {
            self.recycle(own.buf);
        }
        match (&item.body, item.then) {
            (Body::Shard { head, .. }, Then::Answer { slot, change, .. }) => {
                counters.puts += 1;
                counters.put_bytes += u64::from(item.shape.payload_bytes);
                let identity = Identity {
                    key,
                    epoch: head.epoch,
                    codec: head.codec,
                    len_bytes: item.shape.payload_bytes,
                    sequence,
                    put_s: head.put_s,
                };
                self.answer_change(key, slot, change, Ok(Done::Put(identity)));
            }
            (_, Then::Answer { slot, change, .. }) => {
                counters.deletes += 1;
                self.answer_change(key, slot, change, Ok(Done::Deleted));
            }
            (_, Then::Move { .. }) => {
                self.moves -= 1;
                counters.moved += 1;
                counters.moved_bytes += u64::from(place.blocks) * BLOCK_BYTES as u64;
                self.end_turn(key);
            }
            (_, Then::Tell { slot }) => {
                // Counted at once, so that its extent does not look empty before the manifest
                // names the chunk.
                self.extents.add_live(&place);
                self.answers.put(slot, Ok(Done::Chunk(place)));
            }
        }
    }

    /// Points the index at a record.
    pub(super) fn apply(&mut self, item: &Item, place: &Place, sequence: u64) {
        let key = item.key();
        let delta = Delta {
            kind: if place.dead { DeltaKind::Dead } else { DeltaKind::Live },
            place: *place,
            sequence,
            wall_s: item.at_s(),
            flags: item.flags(),
        };
        match &item.then {
            Then::Answer { replaced, .. } => {
                self.index.apply_put(key, delta, *replaced);
                if let Some(replaced) = replaced {
                    self.extents.sub_live(replaced);
                    self.exhausted = false;
                    self.deaths += 1;
                }
                self.extents.add_live(place);
            }
            Then::Move { from } => {
                if self.index.relocate(key, *from, delta) {
                    self.extents.sub_live(from);
                    self.extents.add_live(place);
                }
            }
            Then::Tell { .. } => {}
        }
    }

    /// A change of a key has come to its end.
    pub(crate) fn answer_change(&mut self, key: Key, slot: u32, change: u64, answer: Answer) {
        self.answers.put(slot, answer);
        self.changes.remove(&change);
        self.end_turn(key);
    }

    /// The next in line may change the key.
    pub(crate) fn end_turn(&mut self, key: Key) {
        let turns = self.turns.get_mut(&key).expect("it was somebody's turn");
        turns.serving += 1;
        if turns.serving == turns.next {
            self.turns.remove(&key);
        }
    }
}
