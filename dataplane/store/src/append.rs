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

use std::collections::VecDeque;
use std::future::Future;
use std::rc::Rc;

use isotherm_seam::{IoBuf, IoError};

use crate::api::{Identity, PutError};
use crate::core::{Answer, Core, Done, State};
use crate::extents::{Extents, NoExtent, Taker};
use crate::index::{Delta, DeltaKind};
use crate::layout::{
    Block, ExtentHead, Kill, Kind, Mark, Origin, RecordHead, Shape, Stream, TOMBS_MAX, Tomb, Tombs,
};
use crate::payload::PutBuf;
use crate::{BLOCK_BYTES, Bug, ExtentId, Key, Place};

/// Records longer than this go to the disk from their own buffer, each as a batch.
const DIRECT_BYTES: usize = 128 << 10;
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
/// Seconds of expiry that share an extent.
const BUCKET_S: u32 = 86_400;
/// Expiries that have an extent at a time.
const BUCKETS_MAX: usize = 4;

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
}

/// What is appended.
pub(crate) enum Body {
    Shard {
        head: RecordHead,
        buf: Option<PutBuf>,
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
    fn blocks(&self) -> u32 {
        match &self.body {
            Body::Shard { .. } | Body::Chunk { .. } => self.shape.blocks(),
            Body::Tomb(_) => 1,
        }
    }

    /// What the index notes of it: whether nothing older of its key may lie anywhere.
    fn flags(&self) -> u8 {
        match &self.body {
            Body::Shard { head, .. } if head.kills.is_empty() => NO_KILLS,
            _ => 0,
        }
    }

    fn is_direct(&self) -> bool {
        self.blocks() as usize * BLOCK_BYTES > DIRECT_BYTES
    }

    /// It was in a write that failed: it may be on the disk already, so it can't be refused as
    /// if nothing had happened.
    fn is_retried(&self) -> bool {
        matches!(self.then, Then::Answer { .. }) && self.sequence.is_some()
    }

    fn taker(&self) -> Taker {
        match (&self.body, &self.then) {
            (_, Then::Move { .. }) => Taker::Cleaner,
            _ if self.is_retried() => Taker::Cleaner,
            (Body::Chunk { .. }, _) => Taker::Index,
            (Body::Tomb(_), _) => Taker::Tomb,
            (Body::Shard { .. }, _) => Taker::Put,
        }
    }

    pub(crate) fn key(&self) -> Key {
        match &self.body {
            Body::Shard { head, .. } | Body::Chunk { head, .. } => head.key,
            Body::Tomb(tomb) => tomb.key,
        }
    }
}

/// An extent that is appended to.
pub(crate) struct OpenExtent {
    pub(crate) extent: ExtentId,
    incarnation: u64,
    /// Where the next batch begins.
    end: u32,
    /// All before this is durable and in the index.
    durable: u32,
    /// Batches under way: their ends, and whether they are durable.
    under_way: VecDeque<(u32, bool)>,
    /// Puts may go here; otherwise it was taken from the reserve.
    for_puts: bool,
}

/// Appends that go to the same extent.
pub(crate) struct Lane {
    pub(crate) stream: Stream,
    bucket: u32,
    pub(crate) queue: VecDeque<Item>,
    open: Option<OpenExtent>,
    /// Full extents whose last batches are under way.
    closing: Vec<OpenExtent>,
    batches: u32,
    direct: u32,
    /// Those of both whose writes have not been answered.
    writing: u32,
}

/// All lanes of a store.
pub(crate) struct Lanes {
    pub(crate) lanes: Vec<Lane>,
}

/// A batch under way.
pub(crate) struct Batch {
    lane: usize,
    extent: ExtentId,
    first: u32,
    end: u32,
    items: Vec<(Item, Place, u64)>,
    direct: bool,
    /// Only for a planted bug: the mark that is written too late.
    late_mark: Option<(u32, IoBuf)>,
}

impl Lanes {
    pub(crate) fn new() -> Lanes {
        let streams = [Stream::Fresh, Stream::Warm, Stream::Cold, Stream::Index];
        Lanes { lanes: streams.map(|stream| Lane::new(stream, 0)).into() }
    }

    /// An extent that a clean stop left open goes on.
    pub(crate) fn resume(
        &mut self,
        extent: ExtentId,
        stream: Stream,
        row: &crate::layout::ExtentRow,
    ) -> bool {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.stream == stream) else {
            return false;
        };
        if lane.open.is_some() {
            return false;
        }
        lane.open = Some(OpenExtent {
            extent,
            incarnation: row.incarnation,
            end: row.written,
            durable: row.written,
            under_way: VecDeque::new(),
            for_puts: false,
        });
        true
    }

    fn lane_of(&mut self, stream: Stream, bucket: u32, roomy: bool) -> usize {
        if stream == Stream::Expiring {
            let found = self
                .lanes
                .iter()
                .position(|lane| lane.stream == Stream::Expiring && lane.bucket == bucket);
            if let Some(at) = found {
                return at;
            }
            let expiring =
                || self.lanes.iter().enumerate().filter(|(_, l)| l.stream == Stream::Expiring);
            if roomy && expiring().count() < BUCKETS_MAX {
                self.lanes.push(Lane::new(stream, bucket));
                return self.lanes.len() - 1;
            }
            // The idle lane of the nearest past takes the new bucket; its extent goes on.
            let idle = expiring()
                .filter(|(_, lane)| lane.queue.is_empty())
                .min_by_key(|(_, lane)| lane.bucket)
                .map(|(at, _)| at);
            if let (true, Some(at)) = (roomy, idle) {
                self.lanes[at].bucket = bucket;
                return at;
            }
            return self.lane_of(Stream::Fresh, 0, roomy);
        }
        self.lanes.iter().position(|lane| lane.stream == stream).expect("a lane for each stream")
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.lanes.iter().all(|lane| lane.queue.is_empty() && lane.batches == 0 && lane.direct == 0)
    }

    /// Somebody appends to this extent.
    pub(crate) fn holds(&self, extent: ExtentId) -> bool {
        self.lanes
            .iter()
            .any(|lane| lane.open.iter().chain(&lane.closing).any(|open| open.extent == extent))
    }

    /// Closes the open extent of whoever appends to this one.
    pub(crate) fn close_extent(&mut self, extent: ExtentId, extents: &mut Extents) {
        for lane in &mut self.lanes {
            if lane.open.as_ref().is_some_and(|open| open.extent == extent) {
                lane.close(extents);
            }
        }
    }
}

impl Lane {
    fn new(stream: Stream, bucket: u32) -> Lane {
        Lane {
            stream,
            bucket,
            queue: VecDeque::new(),
            open: None,
            closing: Vec::new(),
            batches: 0,
            direct: 0,
            writing: 0,
        }
    }

    /// Appends no more to the open extent.
    fn close(&mut self, extents: &mut Extents) {
        if let Some(open) = self.open.take() {
            if open.under_way.is_empty() {
                extents.seal(open.extent, open.end);
            } else {
                self.closing.push(open);
            }
        }
    }

    fn open_of(&mut self, extent: ExtentId) -> &mut OpenExtent {
        self.open
            .iter_mut()
            .chain(&mut self.closing)
            .find(|open| open.extent == extent)
            .expect("an extent stays while a batch is under way")
    }

    /// The batch that ends at `end` is durable, or never will be.
    fn settle(&mut self, extent: ExtentId, end: u32, extents: &mut Extents) {
        let open = self.open_of(extent);
        let at = open.under_way.iter_mut().find(|(own, _)| *own == end).expect("it was under way");
        at.1 = true;
        while let Some((end, true)) = open.under_way.front().copied() {
            open.under_way.pop_front();
            open.durable = end;
        }
        extents.row_mut(extent).written = open.durable;
        let is_done = open.under_way.is_empty();
        let end = open.end;
        if let Some(at) = self.closing.iter().position(|open| open.extent == extent)
            && is_done
        {
            self.closing.swap_remove(at);
            extents.seal(extent, end);
        }
    }
}

impl Core {
    /// Queues something to append.
    pub(crate) fn enqueue(&self, item: Item, stream: Stream) {
        let state = &mut *self.state.borrow_mut();
        let roomy = state.extents.room() > 2 * BUCKETS_MAX as u32;
        let (stream, bucket) = match &item.body {
            Body::Shard { head, .. } if stream == Stream::Fresh && head.expires_s > 0 => {
                (Stream::Expiring, head.expires_s / BUCKET_S)
            }
            _ => (stream, 0),
        };
        let lane = state.lanes.lane_of(stream, bucket, roomy);
        state.lanes.lanes[lane].queue.push_back(item);
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
        let medium = self.medium_of(self.state.borrow().lanes.lanes[lane].stream);
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
    fn refuse(&self, item: Item, why: PutError) {
        let key = item.key();
        let state = &mut *self.state.borrow_mut();
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
        let (blocks, taker) = (front.blocks(), front.taker());
        let ignore = self.has(Bug::ReserveIgnored);
        if let Some(open) = &mut own.open {
            let head = u32::from(open.end == 0);
            if open.end + head + blocks < self.medium.cut.extent_blocks {
                let may = taker != Taker::Put || open.for_puts || ignore;
                if may || state.extents.room() > 0 {
                    open.for_puts |= !may;
                    return Room::Ready;
                }
                return Room::Refuse(Box::new(own.queue.pop_front().expect("seen above")));
            }
            own.close(&mut state.extents);
        }
        match state.extents.take(taker, own.stream, ignore) {
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
            // A delete waits for the cleaner as long as that may gain something.
            Err(NoExtent::Full)
                if taker == Taker::Tomb && self.options.reclaims && !state.exhausted =>
            {
                self.chores.notify();
                Room::Wait
            }
            Err(NoExtent::Full) => {
                self.chores.notify();
                Room::Refuse(Box::new(own.queue.pop_front().expect("seen above")))
            }
        }
    }

    /// Takes items off the queue and lays them out: the batch, and what to write where.
    fn form_batch(&self, lane: usize) -> Option<(Batch, Vec<(u32, IoBuf)>)> {
        let now_s = self.world.wall_s();
        let state = &mut *self.state.borrow_mut();
        let own = &mut state.lanes.lanes[lane];
        let direct = own.queue.front()?.is_direct();
        let open = own.open.as_mut().expect("room was made");
        let first = open.end;
        let needs_buf = !direct || first == 0;
        let mut buf = match needs_buf {
            true => Some(state.batch_bufs.pop()?),
            false => None,
        };
        let mut writer = Writer {
            uuid: self.uuid,
            extent: open.extent,
            incarnation: open.incarnation,
            durable: open.durable,
            at: first,
            heads: 0,
            records: 0,
        };
        let mut writes = Vec::with_capacity(2);
        let mut items = Vec::new();
        if first == 0 {
            let head =
                ExtentHead { stream: Some(own.stream), opened_s: now_s, expires_day: own.bucket };
            let buf = buf.as_mut().expect("taken above");
            buf.set_len(BLOCK_BYTES);
            head.write(Block::over_mut(buf));
            writer.seal(Block::over_mut(buf), 0);
        }
        let mut late_mark = None;
        if direct {
            if let Some(buf) = buf.take() {
                writes.push((first, buf));
            }
            let mut item = own.queue.pop_front().expect("seen above");
            let sequence = item.number(&mut state.next_sequence);
            let place = writer.place(item.blocks(), false);
            let mut record = item.write_record(&mut writer, sequence);
            let len = record.len();
            record.set_len(len + BLOCK_BYTES);
            writer.mark(first, Block::over_mut(&mut record[len..]));
            writes.push((place.block, record));
            items.push((item, place, sequence));
        } else {
            let mut out = buf.take().expect("taken above");
            let mut used = if first == 0 { BLOCK_BYTES } else { 0 };
            let mut tombs = Vec::new();
            let mut tombs_blocks = 0u32;
            while let Some(front) = own.queue.front() {
                let is_tomb = matches!(front.body, Body::Tomb(_));
                let blocks = match is_tomb {
                    true => u32::from(tombs.len() % TOMBS_MAX == 0),
                    false => front.blocks(),
                };
                let may =
                    front.taker() != Taker::Put || open.for_puts || self.has(Bug::ReserveIgnored);
                // The mark, and the tombstones gathered so far, go behind.
                let behind = tombs_blocks + 1;
                let room = writer.at + blocks + behind <= self.medium.cut.extent_blocks
                    && used + (blocks + behind) as usize * BLOCK_BYTES <= out.capacity();
                if front.is_direct() || !may || !room {
                    break;
                }
                let mut item = own.queue.pop_front().expect("seen above");
                let sequence = item.number(&mut state.next_sequence);
                if is_tomb {
                    tombs_blocks += blocks;
                    tombs.push((item, sequence));
                    continue;
                }
                let place = writer.place(blocks, false);
                let len = blocks as usize * BLOCK_BYTES;
                out.set_len(used + len);
                item.copy_record(&mut writer, sequence, &mut out[used..used + len]);
                used += len;
                items.push((item, place, sequence));
            }
            while !tombs.is_empty() {
                let chunk: Vec<(Item, u64)> = tombs.drain(..tombs.len().min(TOMBS_MAX)).collect();
                let rows: Vec<Tomb> = chunk.iter().map(|(item, _)| item.tomb()).collect();
                let place = writer.place(1, true);
                out.set_len(used + BLOCK_BYTES);
                let block = Block::over_mut(&mut out[used..used + BLOCK_BYTES]);
                Tombs::write(&rows, block);
                writer.seal(block, rows[0].sequence);
                writer.records += 1;
                used += BLOCK_BYTES;
                items.extend(chunk.into_iter().map(|(item, sequence)| (item, place, sequence)));
            }
            assert!(!items.is_empty(), "room was made for the first item");
            out.set_len(used + BLOCK_BYTES);
            writer.mark(first, Block::over_mut(&mut out[used..used + BLOCK_BYTES]));
            if self.has(Bug::AckBeforeMark)
                && let Ok(mut mark) = self.world.pool.alloc(BLOCK_BYTES)
            {
                mark.copy_from_slice(&out[used..used + BLOCK_BYTES]);
                out.set_len(used);
                late_mark = Some((writer.at - 1, mark));
            }
            writes.push((first, out));
        }
        open.end = writer.at;
        open.under_way.push_back((writer.at, false));
        match direct {
            true => own.direct += 1,
            false => own.batches += 1,
        }
        own.writing += 1;
        let newest = items.iter().map(|(item, ..)| item.at_s()).max().unwrap_or(0);
        let row = state.extents.row_mut(writer.extent);
        row.newest_s = row.newest_s.max(newest);
        let batch =
            Batch { lane, extent: writer.extent, first, end: writer.at, items, direct, late_mark };
        Some((batch, writes))
    }

    /// Waits for the writes of a batch and passes it on to the flush.
    async fn finish_batch(
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
        if failed {
            self.batch_failed(batch, refused);
        } else if self.medium.volatile_cache && !self.has(Bug::MissingFlush) {
            self.state.borrow_mut().unflushed.push(batch);
            self.written.notify();
            self.work.notify();
        } else {
            self.batch_durable(batch);
        }
    }

    /// The task that flushes what was written: one flush at a time, for all that was written
    /// before it.
    pub(crate) async fn flush_task(self: Rc<Core>) {
        loop {
            if self.state.borrow().unflushed.is_empty() {
                if self.is_over() {
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
            state.failures_in_row > 1
        };
        if fences {
            self.fence();
            return self.batch_lost(batch);
        }
        let state = &mut *self.state.borrow_mut();
        let Batch { extent, .. } = &batch;
        let kill = Kill { extent: *extent, incarnation: state.extents.row(*extent).incarnation };
        state.lanes.close_extent(*extent, &mut state.extents);
        state.settle(&batch);
        let own = &mut state.lanes.lanes[batch.lane];
        // Each has the number that it was given with its first batch.
        for (mut item, ..) in batch.items.into_iter().rev() {
            item.written_at_failed(kill);
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

enum Room {
    Ready,
    Wait,
    Refuse(Box<Item>),
}

/// Where a batch is being laid out.
struct Writer {
    uuid: [u8; 16],
    extent: ExtentId,
    incarnation: u64,
    durable: u32,
    at: u32,
    heads: u32,
    records: u32,
}

impl Writer {
    fn place(&self, blocks: u32, dead: bool) -> Place {
        Place { extent: self.extent, block: self.at, blocks: blocks as u16, dead }
    }

    /// Seals the check block of the next block and moves on by that one block.
    fn seal(&mut self, block: &mut Block, sequence: u64) {
        let origin = Origin {
            uuid: self.uuid,
            extent: self.extent,
            block: self.at,
            incarnation: self.incarnation,
        };
        block.seal(&origin, sequence, self.durable);
        self.heads = Mark::chain(self.heads, block.crc());
        self.at += 1;
    }

    fn mark(&mut self, first_block: u32, block: &mut Block) {
        let mark = Mark { first_block, records: self.records, heads_crc: self.heads };
        mark.write(block);
        self.seal(block, 0);
    }

    /// Writes the check blocks of a record.
    fn record(
        &mut self,
        kind: Kind,
        head: &RecordHead,
        shape: Shape,
        sequence: u64,
        bytes: &mut [u8],
    ) {
        let start = self.at;
        for segment in 0..shape.segments() {
            let at = shape.segment_block(segment) as usize * BLOCK_BYTES;
            let (block, payload) = bytes[at..].split_at_mut(BLOCK_BYTES);
            let block = Block::over_mut(block);
            let payload = &payload[..shape.segment_bytes(segment) as usize];
            head.write(kind, shape, segment, payload, block);
            self.at = start + shape.segment_block(segment);
            self.seal(block, sequence);
        }
        self.at = start + shape.blocks();
        self.records += 1;
    }
}

impl Item {
    fn number(&mut self, next: &mut u64) -> u64 {
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

    fn at_s(&self) -> u32 {
        match &self.body {
            Body::Shard { head, .. } | Body::Chunk { head, .. } => head.put_s,
            Body::Tomb(tomb) => tomb.deleted_s,
        }
    }

    fn tomb(&self) -> Tomb {
        match &self.body {
            Body::Tomb(tomb) => *tomb,
            Body::Shard { .. } | Body::Chunk { .. } => unreachable!("asked of tombstones only"),
        }
    }

    fn record(&mut self) -> (Kind, &RecordHead, &mut Option<PutBuf>) {
        match &mut self.body {
            Body::Shard { head, buf } => (Kind::Data, head, buf),
            Body::Chunk { head, buf } => (Kind::Run, head, buf),
            Body::Tomb(_) => unreachable!("tombstones are packed, not written one by one"),
        }
    }

    /// Writes its check blocks and hands over the buffer, as long as the record.
    fn write_record(&mut self, writer: &mut Writer, sequence: u64) -> IoBuf {
        let (kind, head, buf) = self.record();
        let PutBuf { mut buf, shape } = buf.take().expect("it is here until it is written");
        buf.set_len(shape.blocks() as usize * BLOCK_BYTES);
        writer.record(kind, head, shape, sequence, &mut buf);
        buf
    }

    /// Writes its check blocks and copies the record.
    fn copy_record(&mut self, writer: &mut Writer, sequence: u64, out: &mut [u8]) {
        let (kind, head, buf) = self.record();
        let PutBuf { buf, shape } = buf.as_mut().expect("it is here until it is durable");
        let len = shape.blocks() as usize * BLOCK_BYTES;
        writer.record(kind, head, *shape, sequence, &mut buf[..len]);
        out.copy_from_slice(&buf[..len]);
    }

    /// A record of it may lie where a write failed.
    fn written_at_failed(&mut self, kill: Kill) {
        match &mut self.body {
            Body::Shard { head, .. } | Body::Chunk { head, .. } => head.kills.add(kill),
            // A copy of a tombstone kills no less than the tombstone.
            Body::Tomb(_) => {}
        }
    }
}

impl Batch {
    /// The buffer of its one large record is back.
    fn give_back(&mut self, mut buf: IoBuf) {
        let (item, place, _) = &mut self.items[0];
        let shape = item.shape;
        buf.set_len((u32::from(place.blocks) + 1) as usize * BLOCK_BYTES);
        *item.record().2 = Some(PutBuf { buf, shape });
    }
}

impl State {
    /// The batch is no longer under way.
    fn settle(&mut self, batch: &Batch) {
        let lane = &mut self.lanes.lanes[batch.lane];
        match batch.direct {
            true => lane.direct -= 1,
            false => lane.batches -= 1,
        }
        lane.settle(batch.extent, batch.end, &mut self.extents);
    }

    /// Answers the batches that nothing in front of them holds back.
    fn answer_durable(&mut self, counters: &mut crate::core::Counters, applied: bool) {
        let mut at = 0;
        while at < self.held.len() {
            let batch = &self.held[at];
            if batch.end > self.extents.row(batch.extent).written {
                at += 1;
                continue;
            }
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
    fn apply(&mut self, item: &Item, place: &Place, sequence: u64) {
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
