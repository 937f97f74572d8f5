//! The drive as a state machine: commands go in with the time, and come out with the time at
//! which they are done. It knows nothing of data.
//!
//! What must always hold: nothing is decided before its time. The next command is chosen when
//! the controller's overhead is over, so a command that arrives during it still counts; once
//! the arm has begun, nothing stops it.
//!
//! ```text
//!            submit                                 T
//!   command ───┬─> buffer hit, cached write: bus ───┤
//!              ├─> queue ──────┐                    │
//!              └─> write cache ┴─> plan ──> arm ────┘
//!                                  └ overhead ┘
//! ```

use isotherm_seam::{BlockSize, Mono, Nanos};

use super::HddOptions;
use super::arm::{Arm, ArmStats, Job};
use super::cache::WriteCache;
use super::geometry::Tracks;
use super::queue::{DEPTH_MAX, Order, Queue, View, Weight, bits};
use super::trouble::Trouble;

/// Share of the backing that the write cache may hold at most: a cache as large as the drive
/// would make a scaled drive forget that it has an arm.
const DIRTY_SHARE: u64 = 16;

/// What a drive is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// Read so many blocks from `first` on.
    Read {
        /// First block.
        first: u64,
        /// How many; not zero.
        count: u64,
    },
    /// Write so many blocks from `first` on.
    Write {
        /// First block.
        first: u64,
        /// How many; not zero.
        count: u64,
        /// Not answered before it is on the medium, write cache or not.
        through: bool,
    },
    /// Put on the medium what was in the cache.
    Flush,
    /// Anything that moves neither data nor the arm.
    Other,
}

/// One drive. Commands are told apart by their slot, 0 to [`DEPTH_MAX`] - 1.
#[derive(Debug)]
pub struct Drive {
    tracks: Tracks,
    block: BlockSize,
    arm: Arm,
    order: Order,
    queue: Queue,
    /// Absent where the write cache is off.
    cache: Option<WriteCache>,
    answer: Nanos,
    overhead: Nanos,
    bus_ns_per_byte: f64,
    /// When the bus is free for the next transfer from or to the buffer.
    bus_free: Mono,

    /// What the arm is doing until `arm.free_at()`.
    busy: Option<Work>,
    /// What it will do next, unless something better comes before it begins.
    plan: Option<Plan>,
    seq: u64,
    /// Slots, as bits: writes that wait for room in the cache, ...
    stalled: u32,
    /// ... flushes that wait for it to be clean, ...
    flushing: u32,
    /// ... and commands of which it is known when they are done: at `done[slot]`.
    timed: u32,
    done: [Mono; SLOTS],
    arrived: [Mono; SLOTS],
    /// For a flush: the newest write that it covers.
    covers: [u64; SLOTS],
}

const SLOTS: usize = DEPTH_MAX as usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    Command(usize),
    Destage(usize),
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    work: Work,
    weight: Weight,
    /// When the arm fell free, or the first command came: the overhead begins.
    from: Mono,
}

impl Drive {
    /// A drive of so many blocks. `seed` decides where the spindle stands at time zero, and what
    /// is retried.
    pub fn new(options: &HddOptions, block: BlockSize, blocks: u64, seed: u64) -> Drive {
        let profile = &options.profile;
        let tracks = Tracks::new(profile, block, blocks);
        let weak = options.weak.map_or(0..0, |(start, length)| {
            let at = |fraction: f64| (fraction * blocks as f64) as u64;
            at(start)..at(start + length)
        });
        let trouble = Trouble::new(seed, options.retries, options.slow, weak, profile.turn());
        let dirty_bytes = profile.dirty_bytes_max.min((blocks << block.shift()) / DIRTY_SHARE);
        Drive {
            arm: Arm::new(profile, block, &tracks, trouble, seed),
            tracks,
            block,
            order: options.order,
            queue: Queue::new(),
            cache: options.write_cache.then(|| WriteCache::new(dirty_bytes)),
            answer: Nanos::from_millis_f64(profile.answer_ms),
            overhead: Nanos::from_millis_f64(profile.overhead_ms),
            bus_ns_per_byte: 1e3 / profile.bus_mb_s,
            bus_free: Mono::ZERO,
            busy: None,
            plan: None,
            seq: 0,
            stalled: 0,
            flushing: 0,
            timed: 0,
            done: [Mono::ZERO; SLOTS],
            arrived: [Mono::ZERO; SLOTS],
            covers: [0; SLOTS],
        }
    }

    /// What the arm has done so far.
    pub fn stats(&self) -> ArmStats {
        self.arm.stats()
    }

    /// The layout of its tracks.
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Takes a command; its slot is free. `now` never goes back.
    pub fn submit(&mut self, now: Mono, slot: usize, command: Command) {
        self.advance(now);
        self.seq += 1;
        self.arrived[slot] = now;
        let (first, count, write) = match command {
            Command::Read { first, count } => (first, count, false),
            Command::Write { first, count, .. } => (first, count, true),
            Command::Flush => {
                self.flush(now, slot);
                return;
            }
            Command::Other => {
                self.finish(slot, now + self.answer);
                return;
            }
        };
        let mut job =
            Job { span: self.tracks.span(first, count), write, arrived: now, seq: self.seq };
        let through = matches!(command, Command::Write { through: true, .. });
        match &mut self.cache {
            Some(cache) if write && !through => {
                // None overtakes a write that waits for room.
                if self.stalled == 0 && cache.admit(&job, count << self.block.shift()) {
                    self.over_the_bus(now, slot, count);
                } else {
                    self.queue.park(slot, job);
                    self.stalled |= 1 << slot;
                }
                self.replan(now);
            }
            Some(cache) if !write && cache.covers(&job.span) => self.over_the_bus(now, slot, count),
            _ if !write && self.arm.buffered(&mut job.span) => self.over_the_bus(now, slot, count),
            _ => {
                self.queue.push(slot, job);
                self.challenge(now, slot);
            }
        }
    }

    /// Lets everything happen that happens until `now`.
    pub fn advance(&mut self, now: Mono) {
        loop {
            if let Some(plan) = self.plan {
                if plan.from + self.overhead > now {
                    return;
                }
                self.begin(plan.from, plan.work, false);
            }
            let Some(work) = self.busy else { return };
            let at = self.arm.free_at();
            if at > now {
                return;
            }
            self.busy = None;
            match work {
                Work::Command(slot) => self.finish(slot, at),
                Work::Destage(_) => self.destaged(at),
            }
            self.choose(at, at);
        }
    }

    /// Commands of which it is known when they are done, as bits.
    pub fn timed(&self) -> u32 {
        self.timed
    }

    /// When a [`timed`](Self::timed) command is done.
    pub fn done_at(&self, slot: usize) -> Mono {
        debug_assert!(self.timed & 1 << slot != 0);
        self.done[slot]
    }

    /// Forgets a command that is done; its slot is free again.
    pub fn release(&mut self, slot: usize) {
        debug_assert!(self.timed & 1 << slot != 0);
        self.timed &= !(1 << slot);
    }

    /// When the arm will next have finished something, or soon before. Commands that are not yet
    /// timed wait for that.
    pub fn next(&self) -> Option<Mono> {
        match (self.busy, self.plan) {
            (Some(_), _) => Some(self.arm.free_at()),
            (None, Some(plan)) => Some(plan.weight.done),
            (None, None) => None,
        }
    }

    fn flush(&mut self, now: Mono, slot: usize) {
        match &self.cache {
            Some(cache) if !cache.clean_up_to(cache.newest()) => {
                self.covers[slot] = cache.newest();
                self.flushing |= 1 << slot;
                self.replan(now);
            }
            _ => self.finish(slot, now + self.answer),
        }
    }

    fn finish(&mut self, slot: usize, at: Mono) {
        self.done[slot] = at;
        self.timed |= 1 << slot;
    }

    /// Answers from or to the buffer, at the speed of the bus.
    fn over_the_bus(&mut self, now: Mono, slot: usize, count: u64) {
        let bytes = (count << self.block.shift()) as f64;
        let start = self.bus_free.max(now + self.answer);
        self.bus_free = start + Nanos((bytes * self.bus_ns_per_byte) as u64);
        self.finish(slot, self.bus_free);
    }

    /// A command has joined the queue: does it go before what was planned?
    fn challenge(&mut self, now: Mono, slot: usize) {
        match self.plan {
            Some(Plan { work: Work::Command(_), weight, from }) => {
                let view = View::new(self.order, &self.arm, now, from);
                let job = self.queue.job(slot);
                let other = view.weigh(job, job.arrived);
                if other.score < weight.score {
                    self.adopt(now, Plan { work: Work::Command(slot), weight: other, from });
                }
            }
            _ => self.replan(now),
        }
    }

    /// Something has changed: chooses again, unless the arm is at work.
    fn replan(&mut self, now: Mono) {
        if self.busy.is_none() {
            let from = self.plan.map_or(now, |plan| plan.from);
            self.choose(now, from);
        }
    }

    fn choose(&mut self, now: Mono, from: Mono) {
        self.plan = None;
        let view = View::new(self.order, &self.arm, now, from);
        let command = self.queue.best(&view);
        let run = self.best_run(&view, command.is_none());
        let (work, weight) = match (command, run) {
            (None, None) => return,
            (Some((slot, weight)), None) => (Work::Command(slot), weight),
            (Some((slot, weight)), Some((_, other))) if weight.score <= other.score => {
                (Work::Command(slot), weight)
            }
            (_, Some((run, weight))) => (Work::Destage(run), weight),
        };
        self.adopt(now, Plan { work, weight, from });
    }

    /// The best of the cache, where it is its turn: when the queue is empty or somebody waits.
    fn best_run(&self, view: &View<'_>, queue_empty: bool) -> Option<(usize, Weight)> {
        let cache = self.cache.as_ref().filter(|cache| !cache.is_empty())?;
        let waiting = self.stalled | self.flushing;
        if waiting == 0 {
            return if queue_empty { cache.best(view, view.from(), u64::MAX) } else { None };
        }
        let since = bits(waiting).map(|slot| self.arrived[slot]).min()?;
        // For a flush alone, what came after it can wait.
        let covered = bits(self.flushing).map(|slot| self.covers[slot]).max();
        let upto = covered.filter(|_| self.stalled == 0).unwrap_or(u64::MAX);
        cache.best(view, since, upto)
    }

    /// Plans what was chosen, or begins it at once where the head is there already.
    fn adopt(&mut self, now: Mono, plan: Plan) {
        let job = match (plan.work, &self.cache) {
            (Work::Command(slot), _) => self.queue.job(slot),
            (Work::Destage(run), Some(cache)) => cache.job(run),
            (Work::Destage(_), None) => unreachable!("a run of no cache"),
        };
        if self.arm.goes_on(now, job) {
            self.begin(now, plan.work, true);
        } else {
            self.plan = Some(plan);
        }
    }

    /// `goes_on`: the head is where the work begins.
    fn begin(&mut self, from: Mono, work: Work, goes_on: bool) {
        debug_assert!(self.busy.is_none());
        self.plan = None;
        let job = match (work, &mut self.cache) {
            (Work::Command(slot), _) => self.queue.take(slot),
            (Work::Destage(run), Some(cache)) => cache.take(run),
            (Work::Destage(_), None) => unreachable!("a run of no cache"),
        };
        self.arm.start(from, &job, goes_on);
        self.busy = Some(work);
    }

    /// A run is on the medium: room for writes that wait, and perhaps the end of a flush.
    fn destaged(&mut self, at: Mono) {
        let cache = self.cache.as_mut().expect("it had a dirty run");
        cache.written();
        let mut admitted = 0;
        while self.stalled != 0 {
            // The oldest first: none overtakes it.
            let oldest = bits(self.stalled).min_by_key(|&slot| self.queue.job(slot).seq);
            let slot = oldest.expect("one is stalled");
            let job = self.queue.job(slot);
            let count = job.span.end - job.span.first;
            if !cache.admit(job, count << self.block.shift()) {
                break;
            }
            self.stalled &= !(1 << slot);
            admitted |= 1 << slot;
        }
        let clean = bits(self.flushing).filter(|&slot| cache.clean_up_to(self.covers[slot]));
        let flushed = clean.fold(0, |set, slot| set | 1 << slot);
        self.flushing &= !flushed;
        for slot in bits(flushed) {
            self.finish(slot, at + self.answer);
        }
        for slot in bits(admitted) {
            let span = self.queue.job(slot).span;
            self.over_the_bus(at, slot, span.end - span.first);
        }
    }
}
