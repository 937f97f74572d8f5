//! What the tasks of one store share.
//!
//! What must always hold: everything here belongs to one core and is borrowed for moments only,
//! never across an `await`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Range;
use std::rc::Rc;

use isotherm_reactor::Handle;
use isotherm_seam::{BufPool, Clock, IoBuf, Nanos, PoolExhausted};

use crate::api::{Identity, PutError};
use crate::append::{Batch, Lanes};
use crate::event::{Answers, Event};
use crate::extents::Extents;
use crate::index::{Index, RunInfo};
use crate::layout::{Checkpoint, Stream};
use crate::medium::Medium;
use crate::payload::PutBuf;
use crate::recovery::{Walker, window_blocks};
use crate::scrub::ScrubState;
use crate::{Bug, ExtentId, Key, Options};

/// What a store needs of its surroundings.
#[derive(Clone)]
pub struct World {
    /// The core.
    pub handle: Handle,
    /// Its buffers: classes of 4 KiB and more for small records, and of
    /// [`crate::PutBuf::buffer_bytes`] of the longest payload.
    pub pool: BufPool,
    /// For ages.
    pub clock: Rc<dyn Clock>,
}

impl World {
    /// The calendar's time in seconds since 1970.
    pub(crate) fn wall_s(&self) -> u32 {
        let seconds = self.clock.wall().0.div_euclid(1_000_000_000);
        u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
    }
}

/// Shared by a store's handles and tasks.
pub(crate) struct Core {
    pub(crate) world: World,
    /// The disk for clients' appends, and for what must be written soon.
    pub(crate) medium: Medium,
    /// The disk for the cleaner.
    pub(crate) background: Medium,
    pub(crate) options: Options,
    pub(crate) uuid: [u8; 16],
    pub(crate) formatted_s: u32,
    pub(crate) payload_max: u32,
    pub(crate) state: RefCell<State>,
    /// There may be something to append.
    pub(crate) work: Event,
    /// Batches wait for a flush.
    pub(crate) written: Event,
    /// A checkpoint was asked for, or something else for the keeper.
    pub(crate) chores: Event,
    /// Something was finished that others may wait for.
    pub(crate) progress: Event,
    pub(crate) counters: Cell<Counters>,
}

/// What a store has done since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Puts that were acknowledged.
    pub puts: u64,
    /// Deletes that were acknowledged.
    pub deletes: u64,
    /// Gets that gave their bytes.
    pub gets: u64,
    /// Payload bytes of acknowledged puts.
    pub put_bytes: u64,
    /// Batches that were appended.
    pub batches: u64,
    /// Bytes appended, all included.
    pub appended_bytes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Checkpoints, and their bytes.
    pub checkpoints: u64,
    /// Bytes of checkpoints.
    pub checkpoint_bytes: u64,
    /// Records that the cleaner moved.
    pub moved: u64,
    /// Bytes of those.
    pub moved_bytes: u64,
    /// Extents that were emptied.
    pub emptied: u64,
    /// Tombstones that were dropped.
    pub tombs_dropped: u64,
    /// Index runs that were merged into others.
    pub runs_merged: u64,
    /// Records that a read found damaged or unreadable.
    pub damaged: u64,
    /// Extents that were read and checked as a whole.
    pub scrubbed: u64,
}

/// What changes.
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) runs: Vec<RunInfo>,
    pub(crate) extents: Extents,
    pub(crate) lanes: Lanes,
    /// Written, waiting for a flush.
    pub(crate) unflushed: Vec<Batch>,
    /// A flush of what was written is in the device.
    pub(crate) flushing: bool,
    /// Durable, but something before them in their extent is not.
    pub(crate) held: Vec<Batch>,
    pub(crate) next_sequence: u64,
    pub(crate) next_run: u64,
    /// Keys that are being changed, by the tickets of those who wait for their turn.
    pub(crate) turns: BTreeMap<Key, Turns>,
    /// Changes that have not been answered, by their number.
    pub(crate) changes: BTreeSet<u64>,
    pub(crate) next_change: u64,
    pub(crate) answers: Answers<Answer>,
    /// Buffers for batches that are free.
    pub(crate) batch_bufs: Vec<IoBuf>,
    /// Buffers of the longest record that clients never get: what they wait for may need one.
    pub(crate) spares: Vec<IoBuf>,
    /// Bytes of such a buffer.
    pub(crate) longest: usize,
    /// Tombstones that their holders have released.
    pub(crate) released: BTreeSet<Key>,
    pub(crate) fenced: bool,
    /// No more changes are taken.
    pub(crate) closing: bool,
    /// The tasks of the store end.
    pub(crate) over: bool,
    pub(crate) failures_in_row: u32,
    pub(crate) checkpoint: CheckpointState,
    pub(crate) reclaiming: bool,
    /// Runs of the index are being merged.
    pub(crate) merging: bool,
    /// The cleaner found nothing to gain since something last died.
    pub(crate) exhausted: bool,
    /// Records that have died since the store was opened.
    pub(crate) deaths: u64,
    pub(crate) scrub: ScrubState,
    /// The disk is being taken out of service: no puts.
    pub(crate) retired: bool,
    /// Extents in which something live can't be read, in this life of theirs.
    pub(crate) stuck: BTreeSet<(ExtentId, u64)>,
    /// The keeper is at work.
    pub(crate) keeping: bool,
    /// Records that the cleaner has queued and that are not durable yet.
    pub(crate) moves: u64,
}

/// Who changes a key now, and who is next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    pub(crate) serving: u32,
    pub(crate) next: u32,
}

/// The answer to a change.
pub(crate) type Answer = Result<Done, PutError>;

/// What a change has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Done {
    Put(Identity),
    Deleted,
    /// A chunk of the index lies there.
    Chunk(crate::Place),
}

/// Where the next checkpoint goes.
pub(crate) struct CheckpointState {
    /// The number of the last durable one.
    pub(crate) durable: u64,
    /// The number of the last one that was begun: none is used twice.
    pub(crate) last: u64,
    /// The last durable one as it was written, while the disk is short of room.
    pub(crate) said: Option<Checkpoint>,
    /// One is being written.
    pub(crate) busy: bool,
    /// One is wanted.
    pub(crate) wanted: bool,
    /// The meta extent of the next one, 0 or 1.
    pub(crate) turn: usize,
    /// The last checkpoint in each meta extent, which goes on behind it.
    pub(crate) places: [Range<u32>; 2],
    /// Calibration of the disk, kept with it.
    pub(crate) profile: Vec<u8>,
}

/// Buffers that a store keeps for itself.
pub(crate) const SPARES: usize = 2;

impl State {
    /// A buffer of the store's own is no longer needed.
    pub(crate) fn recycle(&mut self, buf: IoBuf) {
        if self.spares.len() < SPARES && buf.capacity() >= self.longest {
            self.spares.push(buf);
        }
    }
}

impl Core {
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.options.planted.has(bug)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        let mut counters = self.counters.get();
        change(&mut counters);
        self.counters.set(counters);
    }

    /// Keeps an extent from being emptied for as long as the guard lives.
    pub(crate) fn pin(self: &Rc<Core>, extent: ExtentId) -> Pin {
        self.state.borrow_mut().extents.pin(extent);
        Pin { core: Rc::clone(self), extent }
    }

    /// The store was closed, and nothing is left to be written.
    pub(crate) fn is_over(&self) -> bool {
        self.state.borrow().over
    }

    /// Starts a task of the store. A core has room for the tasks of its stores: it is sized so.
    pub(crate) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        drop(self.world.handle.spawn(name, task));
    }

    /// No more writes: a flush failed, or two writes in a row.
    pub(crate) fn fence(&self) {
        self.state.borrow_mut().fenced = true;
        self.work.notify();
        self.written.notify();
        self.chores.notify();
        self.progress.notify();
    }

    /// Asks for a checkpoint if so much has changed that a restart would take long.
    pub(crate) fn want_spill(&self, state: &mut State) {
        if state.index.memtable().active_len() >= self.options.changes_max {
            state.checkpoint.wanted = true;
            self.chores.notify();
        }
    }

    /// Reads extents piece by piece, on behalf of the medium's class.
    pub(crate) fn walker<'a>(&'a self, medium: &'a Medium) -> Walker<'a> {
        Walker {
            world: &self.world,
            medium,
            uuid: self.uuid,
            planted: self.options.planted,
            window_blocks: window_blocks(medium),
        }
    }

    /// The disk as whoever appends to this stream has it.
    pub(crate) fn medium_of(&self, stream: Stream) -> &Medium {
        match stream {
            Stream::Fresh | Stream::Expiring | Stream::Index => &self.medium,
            Stream::Warm | Stream::Cold => &self.background,
        }
    }

    /// A buffer for a record of the store's own, as soon as there is one.
    pub(crate) async fn record_buf(&self, len_bytes: u32) -> PutBuf {
        PutBuf::over(self.own_buf(PutBuf::buffer_bytes(len_bytes as usize)).await, len_bytes)
    }

    /// A buffer of the pool, or one of those that never leave the store, as soon as there is one.
    pub(crate) async fn own_buf(&self, len_bytes: usize) -> IoBuf {
        loop {
            match self.world.pool.alloc(len_bytes) {
                Ok(buf) => return buf,
                Err(PoolExhausted::TooLong) => panic!("the pool is made for the longest record"),
                Err(_) => {}
            }
            if let Some(mut buf) = self.state.borrow_mut().spares.pop() {
                buf.set_len(len_bytes);
                return buf;
            }
            self.world.handle.sleep(Nanos::from_micros(200)).await;
        }
    }
}

/// See [`Core::pin`].
pub(crate) struct Pin {
    core: Rc<Core>,
    extent: ExtentId,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.core.state.borrow_mut().extents.unpin(self.extent);
    }
}
