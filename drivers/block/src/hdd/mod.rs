//! `hdd`: a mechanical disk over any other device.
//!
//! What must always hold: data moves to and from the inner device at once; its completion is
//! released at the later of the inner completion and the time at which the modelled drive is
//! done. So errors, crash behaviour and zone rules are the inner device's, and time is ours.
//! Time enters through `now` alone: the model behaves the same by a real and by a virtual clock,
//! and the same commands at the same times with the same seed complete at the same times.
//!
//! ```text
//! submit ─┬─> inner device (data) ──────────────────────────┐
//!         └─> buffer hit / cached write: a fixed time ──────┼─> later of both ─> poll
//!             queue (NCQ) ─> arm ─> done at T ──────────────┘
//!             write cache ─> arm, when nobody waits for it
//! ```
//!
//! The formulas, the constants and what is known to be wrong stand in docs/HDD-MODEL.md.

mod arm;
mod cache;
mod geometry;
mod options;
mod profile;
mod queue;
mod read_ahead;
mod seek;
mod trouble;

use isotherm_seam::{
    BlockDevice, BlockSize, Completion, DeviceInfo, Due, Geometry, IoBuf, IoError, Mono, Nanos, Op,
    OpKind, OpenCause, Persist, Request, Tag,
};

pub use arm::ArmStats;
pub use geometry::{Span, Tracks};
pub use options::{HddOptions, KIND};
pub use profile::{EXOS_X24, FUTURE_200T, HC670, PROFILES, Profile};
pub use queue::{DEPTH_MAX, Order};
pub use seek::SeekCurve;
pub use trouble::Slow;

use arm::{Arm, Job};
use cache::WriteCache;
use queue::Queue;
use trouble::Trouble;

/// The smallest backing on which a scaled drive still behaves as the whole one, in tracks: below
/// it too many requests meet on one track.
pub const TRACKS_MIN: u64 = 32;

/// Share of the backing that the write cache may hold at most: a cache as large as the drive
/// would make a scaled drive forget that it has an arm.
const DIRTY_SHARE: u64 = 16;

/// A mechanical disk over another device.
pub struct Hdd {
    inner: Box<dyn BlockDevice>,
    geometry: Geometry,
    name: &'static str,
    tracks: Tracks,
    arm: Arm,
    order: Order,
    queue: Queue,
    /// Absent where the write cache is off.
    cache: Option<WriteCache>,
    /// A write that must be durable on completion is a FUA write below.
    inner_volatile: bool,
    answer: Nanos,
    bus_ns_per_byte: f64,

    /// What the arm is doing until `arm.free_at()`.
    busy: Option<Work>,
    slots: Vec<Slot>,
    /// Slots, as bits: unused.
    free: u32,
    /// Cached writes that wait for room.
    stalled: u32,
    /// Flushes that wait for the cache.
    flushing: u32,
    /// Those whose time is known...
    timed: u32,
    /// ... those whose data has arrived...
    answered: u32,
    /// ... flushes that the inner device has yet to be told of...
    unsent: u32,
    /// ... and those that it handed back when told.
    refused: u32,
    seq: u64,
    inner_done: Vec<Completion>,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Command(usize),
    Destage,
}

#[derive(Debug)]
struct Slot {
    tag: Tag,
    /// When the drive is done with it, once that is known.
    at: Mono,
    arrived: Mono,
    bytes: u64,
    /// For a flush: the newest write that it covers. For a stalled write: its job.
    upto: u64,
    job: Job,
    buf: Option<IoBuf>,
    result: Result<(), IoError>,
}

impl Hdd {
    /// A drive over `inner`, which gives it its size. `seed` decides where the spindle stands at
    /// time zero, and what is retried.
    pub fn new(
        inner: Box<dyn BlockDevice>,
        options: &HddOptions,
        seed: u64,
    ) -> Result<Hdd, OpenCause> {
        let profile = &options.profile;
        let below = inner.geometry();
        let bytes = below.capacity_bytes();
        let needed_bytes = smallest_backing_bytes(profile);
        if bytes < needed_bytes {
            return Err(OpenCause::TooSmall { bytes, needed_bytes });
        }
        if profile.host_managed && below.zones.is_none() {
            let why = format!(
                "{0} is host-managed and needs zones below it: hdd:{0},zoned,...",
                profile.name
            );
            return Err(OpenCause::BadSpec { why });
        }
        let depth = options.depth.clamp(1, DEPTH_MAX).min(below.depth_max);
        let inner_volatile = below.volatile_cache;
        let geometry =
            Geometry { depth_max: depth, volatile_cache: options.write_cache, ..below.clone() };
        let tracks = Tracks::new(profile, below.logical, below.blocks);
        let weak = options.weak.map_or(0..0, |(start, length)| {
            let at = |fraction: f64| (fraction * below.blocks as f64) as u64;
            at(start)..at(start + length)
        });
        let trouble = Trouble::new(seed, options.retries, options.slow, weak, profile.turn());
        let dirty_bytes = profile.dirty_bytes_max.min(bytes / DIRTY_SHARE);
        Ok(Hdd {
            name: profile.name,
            arm: Arm::new(profile, &tracks, trouble, seed),
            tracks,
            order: options.order,
            queue: Queue::new(),
            cache: options.write_cache.then(|| WriteCache::new(dirty_bytes)),
            inner_volatile,
            answer: Nanos::from_millis_f64(profile.answer_ms),
            bus_ns_per_byte: 1e3 / profile.bus_mb_s,
            busy: None,
            slots: (0..depth).map(|_| Slot::empty()).collect(),
            free: u32::MAX >> (32 - depth),
            stalled: 0,
            flushing: 0,
            timed: 0,
            answered: 0,
            unsent: 0,
            refused: 0,
            seq: 0,
            inner_done: Vec::with_capacity(depth as usize),
            geometry,
            inner,
        })
    }

    /// What the arm has done so far.
    pub fn stats(&self) -> ArmStats {
        self.arm.stats()
    }

    /// The layout of its tracks.
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Lets the arm do what it had to do until `now`.
    fn advance(&mut self, now: Mono) {
        while let Some(work) = self.busy {
            let at = self.arm.free_at();
            if at > now {
                return;
            }
            self.busy = None;
            match work {
                Work::Command(slot) => self.done_at(slot, at),
                Work::Destage => self.destaged(at),
            }
            self.start_next(at);
        }
    }

    /// The arm is free: gives it what is best, if there is anything.
    fn start_next(&mut self, now: Mono) {
        debug_assert!(self.busy.is_none());
        let waiting = self.stalled | self.flushing;
        let command = self.queue.best(self.order, &self.arm, now);
        let destage = match &self.cache {
            Some(cache) if !cache.is_empty() && (command.is_none() || waiting != 0) => {
                let oldest = bits(waiting).map(|slot| self.slots[slot].arrived).min();
                let age = oldest.map_or(Nanos::ZERO, |since| now.since(since));
                // For a flush alone, what came after it can wait.
                let upto = match (self.stalled, command) {
                    (0, Some(_)) => {
                        bits(self.flushing).map(|slot| self.slots[slot].upto).max().unwrap_or(0)
                    }
                    _ => u64::MAX,
                };
                cache.best(self.order, &self.arm, now, age, upto)
            }
            _ => None,
        };
        let (work, job) = match (command, destage) {
            (None, None) => return,
            (Some((slot, score)), Some((_, other))) if score <= other => {
                (Work::Command(slot), self.queue.take(slot))
            }
            (Some((slot, _)), None) => (Work::Command(slot), self.queue.take(slot)),
            (_, Some((run, _))) => {
                let cache = self.cache.as_mut().expect("it has a dirty run");
                (Work::Destage, cache.take(run))
            }
        };
        self.arm.start(now, &job);
        self.busy = Some(work);
    }

    /// A run is on the medium: room for writes that wait, and perhaps the end of a flush.
    fn destaged(&mut self, at: Mono) {
        let cache = self.cache.as_mut().expect("it had a dirty run");
        cache.written();
        let mut done = 0;
        while self.stalled != 0 {
            // The oldest first: none overtakes it.
            let oldest = bits(self.stalled).min_by_key(|&slot| self.slots[slot].job.seq);
            let slot = oldest.expect("one is stalled");
            if !cache.admit(&self.slots[slot].job, self.slots[slot].bytes) {
                break;
            }
            self.stalled &= !(1 << slot);
            done |= 1 << slot;
        }
        for slot in bits(self.flushing) {
            if cache.clean_up_to(self.slots[slot].upto) {
                self.flushing &= !(1 << slot);
                done |= 1 << slot;
            }
        }
        for slot in bits(done) {
            self.done_at(slot, at + self.answer);
        }
    }

    fn done_at(&mut self, slot: usize, at: Mono) {
        self.slots[slot].at = at;
        self.timed |= 1 << slot;
    }

    /// Puts a checked request on its way through the drive.
    fn enter(&mut self, now: Mono, slot: usize, kind: OpKind, fua: bool, place: Option<Place>) {
        let soon = now + self.answer;
        let Some(Place { first, count, bytes }) = place else {
            let covered = self.cache.as_ref().map_or(0, WriteCache::newest);
            let clean = self.cache.as_ref().is_none_or(|cache| cache.clean_up_to(covered));
            if kind == OpKind::Flush && !clean {
                self.slots[slot].upto = covered;
                self.flushing |= 1 << slot;
                self.kick(now);
            } else {
                self.done_at(slot, soon);
            }
            return;
        };
        let over_the_bus = soon + Nanos((bytes as f64 * self.bus_ns_per_byte) as u64);
        let mut job = Job {
            span: self.tracks.span(first, count),
            write: kind == OpKind::Write,
            arrived: now,
            seq: self.seq,
        };
        match &mut self.cache {
            Some(cache) if job.write && !fua => {
                // None overtakes a write that waits for room.
                if self.stalled == 0 && cache.admit(&job, bytes) {
                    self.done_at(slot, over_the_bus);
                } else {
                    self.slots[slot].job = job;
                    self.slots[slot].bytes = bytes;
                    self.stalled |= 1 << slot;
                }
            }
            Some(cache) if !job.write && cache.covers(&job.span) => {
                self.done_at(slot, over_the_bus);
            }
            _ if !job.write && self.arm.buffered(&mut job.span) => {
                self.done_at(slot, over_the_bus);
            }
            _ => self.queue.push(slot, job),
        }
        self.kick(now);
    }

    fn kick(&mut self, now: Mono) {
        if self.busy.is_none() {
            self.start_next(now);
        }
    }

    /// Collects what the inner device has done.
    fn collect(&mut self, now: Mono) {
        self.inner.poll(now, &mut self.inner_done);
        for done in self.inner_done.drain(..) {
            let slot = done.tag.0 as usize;
            self.slots[slot].buf = done.buf;
            self.slots[slot].result = done.result;
            self.answered |= 1 << slot;
        }
    }

    /// Tells the inner device of flushes for which the cache is clean.
    fn send_flushes(&mut self, now: Mono) {
        self.refused = 0;
        for slot in bits(self.unsent & self.timed) {
            if self.slots[slot].at > now {
                continue;
            }
            let request = Request { tag: Tag(slot as u64), op: Op::Flush };
            if self.inner.submit(now, request).is_err() {
                self.refused |= 1 << slot; // Full below: a completion there brings us back.
            } else {
                self.unsent &= !(1 << slot);
            }
        }
        if self.inner.due() == Due::Now {
            self.collect(now);
        }
    }
}

/// The blocks of a request.
struct Place {
    first: u64,
    count: u64,
    bytes: u64,
}

impl BlockDevice for Hdd {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        self.inner.info().under(&format!("hdd:{}", self.name))
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        if self.free == 0 {
            return Err(request);
        }
        self.advance(now);
        let slot = self.free.trailing_zeros() as usize;
        let Request { tag, mut op } = request;
        if let Err(misfit) = self.geometry.check(&op) {
            self.occupy(slot, tag, now);
            self.slots[slot].buf = op.into_buf();
            self.slots[slot].result = Err(misfit.into());
            self.answered |= 1 << slot;
            self.done_at(slot, now);
            return Ok(());
        }
        let kind = op.kind();
        let place = match &op {
            Op::Read { lba, buf } | Op::Write { lba, buf, .. } => {
                let bytes = buf.len() as u64;
                Some(Place { first: lba.0, count: self.geometry.logical.blocks_in(bytes), bytes })
            }
            _ => None,
        };
        let mut asked = Persist::Flush;
        if let Op::Write { persist, .. } = &mut op {
            asked = *persist;
            if self.cache.is_none() && self.inner_volatile {
                *persist = Persist::Fua;
            }
        }
        if kind == OpKind::Flush {
            self.unsent |= 1 << slot;
        } else {
            let below = Request { tag: Tag(slot as u64), op };
            if let Err(Request { mut op, .. }) = self.inner.submit(now, below) {
                if let Op::Write { persist, .. } = &mut op {
                    *persist = asked;
                }
                return Err(Request { tag, op });
            }
        }
        self.occupy(slot, tag, now);
        self.enter(now, slot, kind, asked == Persist::Fua, place);
        if self.inner.due() == Due::Now {
            self.collect(now);
        }
        Ok(())
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        if self.inner.inflight() > 0 {
            self.collect(now);
        }
        self.advance(now);
        if self.unsent != 0 {
            self.send_flushes(now);
        }
        let mut count = 0;
        for slot in bits(self.timed & self.answered) {
            if done.len() == done.capacity() {
                break;
            }
            let entry = &mut self.slots[slot];
            if entry.at > now {
                continue;
            }
            done.push(Completion { tag: entry.tag, buf: entry.buf.take(), result: entry.result });
            count += 1;
            self.timed &= !(1 << slot);
            self.answered &= !(1 << slot);
            self.free |= 1 << slot;
        }
        count
    }

    fn due(&self) -> Due {
        if self.inflight() == 0 {
            return Due::Idle; // The arm may be destaging; that needs no caller.
        }
        // A slot whose data is still below wakes the caller through the inner device.
        let known = self.timed & (self.answered | self.unsent & !self.refused);
        let mut due =
            bits(known).map(|slot| Due::At(self.slots[slot].at)).min().unwrap_or(Due::Event);
        let all = u32::MAX >> (32 - self.geometry.depth_max);
        if self.busy.is_some() && (all & !self.free & !self.timed) != 0 {
            due = due.min(Due::At(self.arm.free_at()));
        }
        if self.inner.inflight() > 0 { due.min(self.inner.due()) } else { due }
    }

    fn inflight(&self) -> usize {
        self.slots.len() - self.free.count_ones() as usize
    }
}

impl Hdd {
    fn occupy(&mut self, slot: usize, tag: Tag, now: Mono) {
        self.free &= !(1 << slot);
        self.seq += 1;
        let entry = &mut self.slots[slot];
        entry.tag = tag;
        entry.arrived = now;
        entry.result = Ok(());
    }
}

impl Slot {
    fn empty() -> Slot {
        Slot {
            tag: Tag(0),
            at: Mono::ZERO,
            arrived: Mono::ZERO,
            bytes: 0,
            upto: 0,
            job: Job::default(),
            buf: None,
            result: Ok(()),
        }
    }
}

/// The smallest backing that a drive of this profile can be scaled to, in bytes.
pub fn smallest_backing_bytes(profile: &Profile) -> u64 {
    let bytes = profile.track_bytes_mean() as u64 * TRACKS_MIN;
    bytes.next_multiple_of(u64::from(BlockSize::B4096.bytes()))
}

/// The set bits of a mask, lowest first.
fn bits(mut mask: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let bit = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(bit)
    })
}
