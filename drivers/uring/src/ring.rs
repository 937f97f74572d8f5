//! One io_uring of one core, shared by all its disks: who submits, who reaps, who sleeps.
//!
//! What must always hold: it is entered only by the thread that made it (handles are not
//! `Send`); never more requests are in flight than its completion queue holds, because each
//! disk reserves its depth when it is opened; a completion is handed to its disk by whoever
//! finds it, so one entry into the kernel serves all disks of the core.
//!
//! ```text
//! submit ---> slot of the disk's queue pair ---> submission queue --.
//!                                                                   | enter: in `poll` when
//!                                                                   | nothing is ready, in
//! poll <--- ready list of the queue pair <--- completion queue <----' `park`, or when full
//! ```
//!
//! `poll` enters the kernel only if there is something to hand over or the kernel says that it
//! has something to run; so of many disks polled in one turn the first one enters for all, and
//! a poll that spins costs two loads.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use isotherm_seam::{
    BufPool, Completion, Due, IoError, Mono, Nanos, OpenCause, OpenError, Park, Request, Unpark,
};

use crate::alarm::Alarm;
use crate::helper::Helper;
use crate::qpair::{Landed, Qpair, Route, Target};
use crate::raw::{LEVELS, Level, RawRing, Sleep};
use crate::setup::{FILE_SLOTS, FixedSpan, raise_worker_limit, register_file_table};
use crate::wake::Wake;
use crate::watch::{Side, Watches};

/// Completions kept free for the ring's own requests: the bell, the alarm, cancellations.
const OWN_ENTRIES: u32 = 16;
/// Entries of the submission queue: one batch. A longer one is handed over in parts.
const SQ_ENTRIES: u32 = 256;
/// Reads that a poll makes itself, where the device is read that way, before it returns.
const PLAIN_READS_PER_POLL: usize = 16;

/// Completions kept free for one socket: its two polls.
const WATCH_ENTRIES: u32 = 2;
/// Entries into the kernel at most to take a closed socket back from it.
const UNWATCH_ROUNDS: u32 = 16;

/// How long a dropped disk's requests are waited for, and when they are cancelled.
const DROP_WAIT: Nanos = Nanos::from_secs(2);
const CANCEL_AFTER: Nanos = Nanos::from_millis(50);

/// User data of the ring's own requests; disks are numbered from zero.
const BELL: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;
const CANCEL: u64 = u64::MAX - 2;

/// What a ring is made of.
#[derive(Clone)]
pub struct RingConfig {
    /// Completions that the ring holds, rounded up to a power of two; 16 bytes of kernel memory
    /// each. Less 16 of its own, that many requests can be in flight over all its disks: each
    /// reserves its depth when it is opened.
    pub entries: u32,
    /// The core's buffers, registered with the ring as far as the kernel allows. Buffers of
    /// other pools work too, a little slower.
    pub pool: BufPool,
}

impl RingConfig {
    /// Room for 16,368 requests in flight: 127 disks 128 deep.
    pub fn new(pool: BufPool) -> RingConfig {
        RingConfig { entries: 16_384, pool }
    }
}

/// A handle to one core's ring. Clones are handles to the same ring, which lives until the
/// last handle and the last disk are dropped.
#[derive(Clone)]
pub struct Ring {
    core: Rc<Core>,
}

/// The ring itself, shared by its handles and its disks.
pub(crate) struct Core {
    raw: RawRing,
    fixed: FixedSpan,
    file_table: bool,
    wake: Arc<Wake>,
    notes: Vec<String>,
    pool: BufPool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    qpairs: Vec<Option<Qpair>>,
    /// Slots that wait for room in the submission queue: continuations and retries.
    backlog: VecDeque<(u32, u32)>,
    /// Requests that no open disk has reserved.
    unreserved: u32,
    /// Requests that the ring has.
    away: u32,
    /// Requests that are completed and not yet polled.
    ready: u32,
    /// Reads that wait for `poll` to make them.
    plain: u32,
    /// Dropped disks whose requests the kernel still has.
    orphans: u32,
    /// Makes ioctls; started with the first disk that needs one.
    helper: Option<Helper>,
    alarm: Alarm,
    watches: Watches,
    /// The bell rang since the last park, or a socket has become ready.
    woken: bool,
    /// The bell must be armed (again).
    arm_bell: bool,
}

impl Ring {
    /// Sets a ring up for the calling thread, which alone may use it.
    ///
    /// Fails with [`OpenCause::UringRefused`] where the kernel refuses: it is older than Linux
    /// 5.13, io_uring is switched off, a container forbids it, or memory is short. What else
    /// can't be had goes to the notes.
    pub fn new(config: &RingConfig) -> Result<Ring, OpenError> {
        Ring::with_levels(config, &LEVELS)
    }

    fn with_levels(config: &RingConfig, levels: &[Level]) -> Result<Ring, OpenError> {
        let refused = |errno| OpenError::new("io_uring", OpenCause::UringRefused { errno });
        let mut notes = Vec::new();
        let cq_entries = config.entries.max(2 * OWN_ENTRIES);
        let raw = RawRing::new(SQ_ENTRIES.min(cq_entries), cq_entries, levels, &mut notes)
            .map_err(refused)?;
        let unreserved = raw.cq_entries().saturating_sub(OWN_ENTRIES);
        if unreserved + OWN_ENTRIES < config.entries {
            notes.push(format!("the kernel keeps the ring to {unreserved} requests in flight"));
        }
        let wake = Arc::new(Wake::new().map_err(refused)?);
        let fixed = FixedSpan::register(&raw, &config.pool, &mut notes);
        let file_table = register_file_table(&raw, &mut notes);
        raise_worker_limit(&raw, &mut notes);
        let state = State { unreserved, arm_bell: true, ..State::default() };
        let core = Core {
            raw,
            fixed,
            file_table,
            wake,
            notes,
            pool: config.pool.clone(),
            state: RefCell::new(state),
        };
        Ok(Ring { core: Rc::new(core) })
    }

    /// The buffers it was made with.
    pub fn pool(&self) -> &BufPool {
        &self.core.pool
    }

    /// What was wanted and could not be had, one sentence each, for people.
    pub fn notes(&self) -> &[String] {
        &self.core.notes
    }

    /// System calls made so far to hand requests over, to fetch completions and to sleep.
    pub fn enters(&self) -> u64 {
        self.core.raw.enters()
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }
}

impl Park for Ring {
    fn park(&mut self, now: Mono, until: Option<Mono>) {
        self.core.park(now, until, 1, None);
    }

    fn park_batch(&mut self, now: Mono, until: Option<Mono>, events: u32, patience: Nanos) {
        self.core.park(now, until, events, Some(patience));
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::clone(&self.core.wake) as Arc<dyn Unpark>
    }
}

impl Core {
    /// Whether a disk can be opened now, and how deep: what it wants, or what is left.
    pub(crate) fn depth_left(&self) -> u32 {
        self.state.borrow().unreserved
    }

    /// Takes a disk in. Its depth is reserved until it is dropped. Fails with an errno if it
    /// needs the helper thread and there can be none.
    pub(crate) fn attach(
        &self,
        depth: u32,
        needs_helper: bool,
        build: impl FnOnce(u32) -> Qpair,
    ) -> Result<u32, i32> {
        let state = &mut *self.state.borrow_mut();
        if needs_helper {
            let helper = match state.helper.take() {
                Some(helper) => helper,
                None => Helper::start(Arc::clone(&self.wake))
                    .map_err(|error| error.raw_os_error().unwrap_or(libc::EAGAIN))?,
            };
            state.helper.insert(helper).reserve(depth as usize);
        }
        let index = state.qpairs.iter().position(Option::is_none).unwrap_or(state.qpairs.len());
        let mut qpair = build(index as u32);
        assert!(depth == qpair.depth() && depth <= state.unreserved, "the depth is there");
        if self.file_table && index < FILE_SLOTS {
            let fd = qpair.medium().descriptor();
            if self.raw.register_file(index as u32, fd).is_ok() {
                qpair.medium_mut().registered_at(index as u32);
            }
        }
        state.unreserved -= depth;
        state.backlog.reserve(depth as usize);
        if index == state.qpairs.len() {
            state.qpairs.push(Some(qpair));
        } else {
            state.qpairs[index] = Some(qpair);
        }
        Ok(index as u32)
    }

    /// Lets a disk go: waits a while for its requests, and keeps those that do not come back,
    /// with their buffers, until they do.
    #[expect(clippy::disallowed_methods, reason = "the real half of a seam: bounds a drop")]
    pub(crate) fn detach(&self, disk: u32) {
        let state = &mut *self.state.borrow_mut();
        let start = Instant::now();
        let file = qpair_ref(&state.qpairs, disk).medium().target();
        let mut cancelled = false;
        loop {
            self.abandon(state, disk);
            if qpair_ref(&state.qpairs, disk).inflight() == 0 {
                return self.release(state, disk);
            }
            let waited = Nanos::from(start.elapsed());
            if waited > DROP_WAIT {
                state.orphans += 1;
                qpair_mut(&mut state.qpairs, disk).orphan();
                return;
            }
            if !cancelled && waited > CANCEL_AFTER {
                cancelled = self.raw.push_cancel(file, CANCEL);
            }
            self.fill(state);
            let sleep =
                Sleep { events: 1, limit: Some(CANCEL_AFTER), patience: None, iowait: true };
            self.raw.enter_and_sleep(sleep);
            self.reap(state);
        }
    }

    /// Forgets what a dropped disk's requests came to.
    fn abandon(&self, state: &mut State, disk: u32) {
        let (ready, plain) = qpair_mut(&mut state.qpairs, disk).abandon();
        state.ready -= ready;
        state.plain -= plain;
    }

    fn release(&self, state: &mut State, disk: u32) {
        let qpair = state.qpairs[disk as usize].take().expect("a disk is released once");
        assert!(qpair.inflight() == 0, "nothing of it is in flight");
        if let Target::Registered(index) = qpair.medium().target() {
            // Can't fail for a slot that holds a file; and the table dies with the ring.
            let _ = self.raw.register_file(index, -1);
        }
        state.unreserved += qpair.depth();
    }

    /// Releases the dropped disks whose last request has come back.
    #[cold]
    fn bury(&self, state: &mut State) {
        for disk in 0..state.qpairs.len() as u32 {
            if state.qpairs[disk as usize].as_ref().is_some_and(Qpair::is_orphan) {
                self.abandon(state, disk);
                if qpair_ref(&state.qpairs, disk).inflight() == 0 {
                    state.orphans -= 1;
                    self.release(state, disk);
                }
            }
        }
    }

    /// Takes a request for a disk, or hands it back.
    #[inline]
    pub(crate) fn submit(
        &self,
        disk: u32,
        request: Request,
        refusal: Option<IoError>,
    ) -> Result<(), Request> {
        let state = &mut *self.state.borrow_mut();
        let qpair = qpair_mut(&mut state.qpairs, disk);
        if qpair.is_full() {
            return Err(request);
        }
        if let Some(error) = refusal.or_else(|| qpair.refusal(&request.op)) {
            qpair.admit_failed(request, error);
            state.ready += 1;
            return Ok(());
        }
        let slot = qpair.admit(request);
        match qpair.route(slot) {
            Route::Ring => {
                if qpair.push(slot, &self.raw, &self.fixed) {
                    state.away += 1;
                } else {
                    // The submission queue is full: hand it over, then there is room.
                    state.backlog.push_back((disk, slot));
                    self.enter(state);
                }
            }
            Route::Plain => state.plain += 1,
            Route::Helper(job) => {
                state.away += 1;
                state.helper.as_ref().expect("started when the disk was opened").send(job);
            }
            Route::Held => {}
        }
        Ok(())
    }

    /// Appends what has completed on a disk to `done`, within its spare capacity.
    #[inline]
    pub(crate) fn poll(&self, disk: u32, done: &mut Vec<Completion>) -> usize {
        let state = &mut *self.state.borrow_mut();
        if !qpair_mut(&mut state.qpairs, disk).has_ready() {
            self.reap(state);
            if !qpair_mut(&mut state.qpairs, disk).has_ready() && self.worth_entering(state) {
                self.enter(state);
                self.reap(state);
            }
        }
        let qpair = qpair_mut(&mut state.qpairs, disk);
        let before = done.len();
        while done.len() < done.capacity() {
            let Some(completion) = qpair.pop_ready() else { break };
            state.ready -= 1;
            done.push(completion);
        }
        let spare = done.capacity() - done.len();
        for _ in 0..spare.min(PLAIN_READS_PER_POLL) {
            let Some(completion) = qpair.read_plain() else { break };
            state.plain -= 1;
            done.push(completion);
        }
        done.len() - before
    }

    /// When polling a disk can next be of use.
    #[inline]
    pub(crate) fn due(&self, disk: u32) -> Due {
        let state = self.state.borrow();
        let qpair = qpair_ref(&state.qpairs, disk);
        if qpair.has_ready() || qpair.has_plain() {
            Due::Now
        } else if qpair.inflight() == 0 {
            Due::Idle
        } else if self.raw.has_completions() || self.raw.kernel_has_work() {
            Due::Now
        } else {
            Due::Event
        }
    }

    /// Requests that the kernel or the helper has, or will have at the next entry.
    #[cfg(test)]
    pub(crate) fn sent(&self) -> usize {
        let state = self.state.borrow();
        state.away as usize + state.backlog.len()
    }

    #[inline]
    pub(crate) fn inflight(&self, disk: u32) -> usize {
        qpair_ref(&self.state.borrow().qpairs, disk).inflight()
    }

    fn park(&self, now: Mono, until: Option<Mono>, events: u32, patience: Option<Nanos>) {
        let state = &mut *self.state.borrow_mut();
        self.fill(state);
        let stay_awake = state.ready > 0
            || state.woken
            || state.plain > 0
            || until.is_some_and(|until| until <= now)
            || self.raw.has_completions();
        if stay_awake {
            if self.worth_entering(state) {
                self.raw.enter();
            }
        } else {
            let events = events.min(state.away.max(1));
            let limit = state.alarm.limit(now, until, |after| self.raw.push_alarm(after, ALARM));
            self.raw.enter_and_sleep(Sleep { events, limit, patience, iowait: state.away > 0 });
        }
        self.reap(state);
        state.woken = false;
    }

    /// Takes a socket in: from the next entry on the kernel tells when something has come. Its
    /// completions are reserved until [`Core::unwatch`]. `None` where there is no room for them.
    pub(crate) fn watch(&self, fd: RawFd) -> Option<u32> {
        let state = &mut *self.state.borrow_mut();
        state.unreserved = state.unreserved.checked_sub(WATCH_ENTRIES)?;
        Some(state.watches.add(fd))
    }

    /// Lets a socket go. When this returns, the kernel no longer holds it.
    pub(crate) fn unwatch(&self, watch: u32) {
        let state = &mut *self.state.borrow_mut();
        let target = Target::Descriptor(state.watches.close(watch));
        let mut asked = false;
        // A poll is withdrawn when the cancellation is taken: the second round finds it gone.
        for _ in 0..UNWATCH_ROUNDS {
            if state.watches.is_gone(watch) {
                break;
            }
            asked = asked || self.raw.push_cancel(target, CANCEL);
            self.fill(state);
            self.raw.enter();
            self.reap(state);
        }
        state.unreserved += WATCH_ENTRIES;
        state.watches.forget(watch);
    }

    /// Whether a socket is worth reading from, or has room again.
    #[inline]
    pub(crate) fn is_socket_ready(&self, watch: u32, side: Side) -> bool {
        let state = &mut *self.state.borrow_mut();
        if !state.watches.is_ready(watch, side) {
            self.reap(state);
            if !state.watches.is_ready(watch, side) && self.worth_entering(state) {
                self.enter(state);
                self.reap(state);
            }
        }
        state.watches.is_ready(watch, side)
    }

    /// There was nothing more to read just now.
    #[inline]
    pub(crate) fn socket_is_drained(&self, watch: u32) {
        self.state.borrow_mut().watches.drained(watch);
    }

    /// There was no room to write: the core is woken when there is.
    pub(crate) fn socket_is_full(&self, watch: u32) {
        self.state.borrow_mut().watches.full(watch);
    }

    /// Something was written.
    #[inline]
    pub(crate) fn socket_has_sent(&self, watch: u32) {
        self.state.borrow_mut().watches.written(watch);
    }

    /// When using a socket can next be of use.
    #[inline]
    pub(crate) fn socket_due(&self, watch: u32) -> Due {
        let state = self.state.borrow();
        let is_near = state.watches.is_ready(watch, Side::Read)
            || state.watches.has_room_again(watch)
            || self.raw.has_completions()
            || self.raw.kernel_has_work();
        if is_near { Due::Now } else { Due::Event }
    }

    #[inline]
    fn worth_entering(&self, state: &State) -> bool {
        self.raw.pending() > 0
            || !state.backlog.is_empty()
            || state.arm_bell
            || state.watches.to_arm()
            || self.raw.kernel_has_work()
    }

    /// Enters the kernel without sleeping, with everything that there is to hand over.
    #[inline]
    fn enter(&self, state: &mut State) {
        self.fill(state);
        self.raw.enter();
        // What found no room: there is some now.
        while !state.backlog.is_empty() && self.fill(state) {
            self.raw.enter();
        }
    }

    /// Moves what waits for room into the submission queue. True if anything was moved.
    fn fill(&self, state: &mut State) -> bool {
        let mut moved = false;
        if state.arm_bell {
            state.arm_bell = !self.raw.push_watch(self.wake.fd(), BELL);
            moved |= !state.arm_bell;
        }
        if state.watches.to_arm() {
            moved |= state.watches.arm(&self.raw);
        }
        while let Some(&(disk, slot)) = state.backlog.front() {
            if !qpair_mut(&mut state.qpairs, disk).push(slot, &self.raw, &self.fixed) {
                break;
            }
            state.backlog.pop_front();
            state.away += 1;
            moved = true;
        }
        moved
    }

    /// Hands each completion that is there to its disk.
    #[inline]
    fn reap(&self, state: &mut State) {
        self.raw.drain(|entry| {
            let data = entry.user_data();
            match data {
                BELL => {
                    state.woken = true;
                    state.arm_bell |= !io_uring::cqueue::more(entry.flags());
                    return self.wake.seen();
                }
                ALARM => return state.alarm.rang(),
                CANCEL => return,
                _ => {}
            }
            if Watches::is_theirs(data) {
                state.watches.event(data, io_uring::cqueue::more(entry.flags()));
                state.woken = true;
                return;
            }
            let (disk, slot) = ((data >> 32) as u32, data as u32);
            let landed = qpair_mut(&mut state.qpairs, disk).land(slot, entry.result());
            state.landed(disk, slot, landed);
        });
        while let Some(answer) = state.helper.as_ref().and_then(Helper::next_answer) {
            let (disk, slot) = ((answer.user_data >> 32) as u32, answer.user_data as u32);
            let landed = qpair_mut(&mut state.qpairs, disk).land_ioctl(slot, answer.result);
            state.landed(disk, slot, landed);
        }
        if state.orphans > 0 {
            self.bury(state);
        }
    }
}

impl State {
    #[inline]
    fn landed(&mut self, disk: u32, slot: u32, landed: Landed) {
        self.away -= 1;
        match landed {
            Landed::Ready => self.ready += 1,
            Landed::Again => self.backlog.push_back((disk, slot)),
            Landed::ReadyAndNext(next) => {
                self.ready += 1;
                self.backlog.push_back((disk, next));
            }
        }
    }
}

#[inline]
fn qpair_mut(qpairs: &mut [Option<Qpair>], disk: u32) -> &mut Qpair {
    qpairs[disk as usize].as_mut().expect("a disk's queue pair lives as long as the disk")
}

#[inline]
fn qpair_ref(qpairs: &[Option<Qpair>], disk: u32) -> &Qpair {
    qpairs[disk as usize].as_ref().expect("a disk's queue pair lives as long as the disk")
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{BlockDevice, Lba, Op, OpenOptions, Persist, PoolLayout, Tag};

    use super::*;

    /// Writes and reads a few blocks on a ring, some in flight at once, asleep in between.
    fn works(ring: &mut Ring) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = OpenOptions {
            write: true,
            direct: false,
            create_bytes: Some(1 << 20),
            ..OpenOptions::default()
        };
        let mut disk = ring.open(file.path(), &options).unwrap();
        let mut done = Vec::with_capacity(8);
        for write in [true, false] {
            for i in 0..8u8 {
                let mut buf = ring.pool().alloc(4096).unwrap();
                buf.fill(if write { i } else { 0xff });
                let lba = Lba(u64::from(i) * 8);
                let op = match write {
                    true => Op::Write { lba, buf, persist: Persist::Flush },
                    false => Op::Read { lba, buf },
                };
                disk.submit(Mono::ZERO, Request { tag: Tag(i.into()), op }).unwrap();
            }
            done.clear();
            while done.len() < 8 {
                ring.park_batch(Mono::ZERO, None, 4, Nanos::from_micros(50));
                disk.poll(Mono::ZERO, &mut done);
            }
            for completion in &done {
                assert_eq!(completion.result, Ok(()));
                let byte = completion.tag.0 as u8;
                assert!(completion.buf.as_ref().unwrap().iter().all(|&b| b == byte));
            }
        }
        ring.park(Mono(0), Some(Mono(1000)));
        ring.unparker().unpark();
        ring.park(Mono::ZERO, None);
    }

    #[test]
    fn a_ring_works_with_whatever_flags_the_kernel_has() {
        for first in 0..LEVELS.len() {
            let pool = BufPool::new(&PoolLayout::uniform(4096, 16)).unwrap();
            let config = RingConfig { entries: 256, pool };
            let mut ring = Ring::with_levels(&config, &LEVELS[first..]).unwrap();
            if first > 0 {
                assert!(ring.notes().iter().any(|note| note.contains("the kernel has no")));
            }
            works(&mut ring);
        }
    }

    #[test]
    fn a_ring_that_the_kernel_refuses_says_so() {
        let pool = BufPool::new(&PoolLayout::uniform(4096, 1)).unwrap();
        let error = Ring::with_levels(&RingConfig::new(pool), &[]).err().unwrap();
        assert_eq!(error.cause, OpenCause::UringRefused { errno: libc::EINVAL });
    }
}
