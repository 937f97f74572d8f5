//! The store as its users hold it.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use isotherm_seam::{Nanos, PoolExhausted};

use crate::api::{Delete, DeleteError, Get, GetError, Identity, Page, Put, PutError};
use crate::core::{Answer, Core, Counters, Done};
use crate::extents::{ExtentCounts, Reserve};
use crate::payload::{PutBuf, Shard};
use crate::sched::{Class, DiskProfile, SchedConfig, SchedStats};
use crate::{Key, Planted};

/// How a store works. All of it may differ from one opening to the next.
#[derive(Clone, Debug)]
pub struct Options {
    /// Entries that the index may hold: shards and kept tombstones. 16 bytes of memory each.
    pub entries_max: u64,
    /// Changes since the last checkpoint after which the next one is made.
    pub changes_max: usize,
    /// Empty extents that puts leave back.
    pub reserve: Reserve,
    /// Extents that a checkpoint names as the next ones. Recovery after a crash reads those that
    /// were used, so they bound its time: eight are 2 GiB, 8 s.
    pub named: usize,
    /// Bytes of a batch that is copied together. Memory for four of them is held.
    pub batch_bytes: usize,
    /// What the disk can do; `None` takes what was kept when it was formatted.
    pub profile: Option<DiskProfile>,
    /// How its time is shared.
    pub sched: SchedConfig,
    /// The cleaner works by itself when room gets short.
    pub reclaims: bool,
    /// A deliberate bug.
    pub planted: Planted,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            entries_max: 64 << 20,
            changes_max: 1 << 16,
            reserve: Reserve::default(),
            named: 8,
            batch_bytes: 1 << 20,
            profile: None,
            sched: SchedConfig::default(),
            reclaims: true,
            planted: Planted::default(),
        }
    }
}

/// What a store holds and how it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// The disk's own name.
    pub uuid: [u8; 16],
    /// Bytes of an extent.
    pub extent_bytes: u64,
    /// Extents by what they are.
    pub extents: ExtentCounts,
    /// Extents that puts may still open.
    pub room_extents: u32,
    /// Shards and kept tombstones.
    pub entries: u64,
    /// Entries that the index has room for.
    pub entries_left: u64,
    /// Memory of the index.
    pub index_bytes: u64,
    /// Runs of the index on the disk.
    pub runs: u32,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Longest payload of a shard.
    pub payload_max: u32,
    /// Nothing is written any more.
    pub fenced: bool,
    /// It is being taken out of service.
    pub retired: bool,
    /// The last durable checkpoint.
    pub checkpoint: u64,
    /// What was done since it was opened.
    pub counters: Counters,
}

/// A store of shards on one disk. Clones are handles to the same store.
#[derive(Clone)]
pub struct Store {
    pub(crate) core: Rc<Core>,
}

/// A change under way. It belongs to the store: dropping this only means that nobody hears the
/// answer.
#[must_use = "the answer comes from awaiting it"]
pub(crate) struct Pending {
    core: Rc<Core>,
    slot: Option<u32>,
}

impl Pending {
    pub(crate) fn new(core: &Rc<Core>, slot: u32) -> Pending {
        Pending { core: Rc::clone(core), slot: Some(slot) }
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let slot = self.slot.expect("polled after it was done");
        let poll = self.core.state.borrow_mut().answers.poll(slot, cx.waker());
        if poll.is_ready() {
            self.slot = None;
        }
        poll
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.core.state.borrow_mut().answers.abandon(slot);
        }
    }
}

impl Store {
    /// A buffer for a payload of so many bytes.
    pub fn buffer(&self, len_bytes: usize) -> Result<PutBuf, PoolExhausted> {
        if len_bytes > self.core.payload_max as usize {
            return Err(PoolExhausted::TooLong);
        }
        PutBuf::new(&self.core.world.pool, len_bytes as u32)
    }

    /// Longest payload of a shard on this disk, in bytes.
    pub fn payload_max(&self) -> u32 {
        self.core.payload_max
    }

    /// Keeps a shard. It begins at once; its answer says that the shard is durable. A shard of
    /// the same key is replaced.
    pub fn put(
        &self,
        put: Put,
        buf: PutBuf,
    ) -> impl Future<Output = Result<Identity, PutError>> + use<> {
        let pending = Pending::new(&self.core, self.core.begin_put(put, buf));
        async move {
            pending.await.map(|done| match done {
                Done::Put(identity) => identity,
                Done::Deleted | Done::Chunk(_) => unreachable!("the answer to a put"),
            })
        }
    }

    /// Deletes a shard; one that is not there counts as deleted. It begins at once; its answer
    /// says that the shard is gone for good, whatever happens to the power.
    pub fn delete(&self, delete: Delete) -> impl Future<Output = Result<(), DeleteError>> + use<> {
        let pending = Pending::new(&self.core, self.core.begin_delete(delete));
        async move { pending.await.map(|_| ()) }
    }

    /// The holder of a tombstone no longer needs it: the store drops it when it kills nothing
    /// any more. Forgotten when the store is closed: say it again.
    pub fn release(&self, key: Key) {
        self.core.state.borrow_mut().released.insert(key);
    }

    /// Reads a shard, or a range of one, with one read of the disk.
    pub async fn get(&self, get: Get) -> Result<Shard, GetError> {
        self.core.get(&get).await
    }

    /// As [`Store::get`], for another class of work: what nobody waits for shares the disk by
    /// its class's budget, and takes the order that the rate is best with.
    pub async fn get_for(&self, class: Class, get: Get) -> Result<Shard, GetError> {
        self.core.read_shard(class, &get).await
    }

    /// A whole shard without a deadline.
    pub async fn read(&self, key: Key) -> Result<Shard, GetError> {
        self.core.get(&Get { key, range: None, deadline: None }).await
    }

    /// A range of a shard without a deadline.
    pub async fn read_range(&self, key: Key, range: Range<u32>) -> Result<Shard, GetError> {
        self.core.get(&Get { key, range: Some(range), deadline: None }).await
    }

    /// What a shard's record says of itself.
    pub async fn stat(&self, key: Key) -> Result<Identity, GetError> {
        self.core.stat(&key).await
    }

    /// A page of at most `limit` of the shards and kept tombstones whose keys lie in
    /// `from..=to`. Go on with [`Page::next`]: keys that stay throughout are listed once.
    pub async fn list(&self, from: Key, to: Key, limit: usize) -> Result<Page, GetError> {
        self.core.list(from, to, limit).await
    }

    /// Waits until everything that was asked before is answered, and with it durable.
    pub async fn flush(&self) {
        let limit = self.core.state.borrow().next_change;
        let core = &self.core;
        let is_done = || {
            core.state.borrow().changes.first().is_none_or(|first| *first >= limit).then_some(())
        };
        core.progress.until(is_done).await;
    }

    /// What it holds and how it is.
    pub fn status(&self) -> Status {
        let core = &self.core;
        let state = core.state.borrow();
        Status {
            uuid: core.uuid,
            extent_bytes: u64::from(core.medium.cut.extent_blocks) * crate::BLOCK_BYTES as u64,
            extents: state.extents.counts(),
            room_extents: state.extents.room(),
            entries: state.index.len(),
            entries_left: state.index.room(),
            index_bytes: state.index.bytes(),
            runs: state.runs.len() as u32,
            live_bytes: state.extents.live_bytes(),
            payload_max: core.payload_max,
            fenced: state.fenced,
            retired: state.retired,
            checkpoint: state.checkpoint.durable,
            counters: core.counters.get(),
        }
    }

    /// How the disk's time was shared so far.
    pub fn sched_stats(&self) -> SchedStats {
        self.core.medium.queue().stats()
    }

    /// How long a request of a class would wait for the disk now.
    pub fn expected_wait(&self, class: Class) -> Nanos {
        self.core.medium.queue().expected_wait(class)
    }

    /// Gives a background class another fraction of disk time.
    pub fn set_budget(&self, class: Class, fraction: f64) {
        self.core.medium.queue().set_budget(class, fraction);
    }

    /// Writes down the state of the disk, so that the next opening is quick and what the
    /// cleaner has emptied can be used.
    pub async fn checkpoint(&self) -> Result<(), PutError> {
        self.core.checkpoint(false).await
    }

    /// Takes the disk out of service: puts are refused from now on, also after it is opened
    /// again. Gets, listings and deletes go on, so that all it holds can be moved elsewhere:
    /// page through [`Store::list`], copy each shard, delete it here; it is empty when
    /// [`Status::entries`] counts nothing but tombstones.
    pub async fn retire(&self) -> Result<(), PutError> {
        self.set_retired(true).await
    }

    /// Brings a disk back with what it still holds. What was deleted on other disks while it
    /// was away is not known here: whoever brings it back compares its listing with theirs.
    pub async fn return_to_service(&self) -> Result<(), PutError> {
        self.set_retired(false).await
    }

    async fn set_retired(&self, retired: bool) -> Result<(), PutError> {
        let before = std::mem::replace(&mut self.core.state.borrow_mut().retired, retired);
        let result = self.core.checkpoint(false).await;
        if result.is_err() {
            self.core.state.borrow_mut().retired = before;
        }
        result
    }

    /// Answers what was asked, writes a clean mark and ends the store's tasks. Other handles
    /// get `Closed` from now on.
    pub async fn close(self) -> Result<(), PutError> {
        self.core.state.borrow_mut().closing = true;
        // A delete that waits for the cleaner waits no more.
        self.core.work.notify();
        self.core.progress.notify();
        self.flush().await;
        let core = &self.core;
        core.progress
            .until(|| {
                let state = core.state.borrow();
                let quiet = state.lanes.is_idle() && !state.reclaiming && !state.keeping;
                (quiet || state.fenced).then_some(())
            })
            .await;
        let result = core.checkpoint(true).await;
        core.state.borrow_mut().over = true;
        core.work.notify();
        core.written.notify();
        core.chores.notify();
        core.progress.notify();
        result
    }
}
