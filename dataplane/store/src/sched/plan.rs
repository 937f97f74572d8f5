//! The queue of one disk as a state machine of `now`: requests go in with the time, and come
//! out in the order in which the device is to have them.
//!
//! What must always hold: writes of a class leave in the order in which they came; a request is
//! in one place only: waiting, in the device, or gone; nothing is allocated once as many have
//! waited as may. No clock and no I/O: docs/IO-SCHEDULER.md derives what is decided here.
//!
//! ```text
//! offer ──> reads of each class ──────┐ next: order.rs, budget.rs
//!       └─> writes of each class ─────┴──────> in the device ── done ──> gone
//!                    └ withdraw, expired ──────────────────────────────> gone
//! ```
//!
//! Reads that are reserved have a claim in between: `late.rs`.

mod choice;
mod drive;
mod late;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use isotherm_seam::{BlockSize, Lba, Mono, Nanos};

use super::budget::Budgets;
use super::class::{Budget, CLASSES, Class, SchedConfig, Tier};
use super::order::{Place, Waiting};
use super::profile::DiskProfile;
use super::stats::SchedStats;
use drive::Drive;
use late::{Late, Lates};

pub(in crate::sched) use late::Unanswered;

/// A request's name until it is forgotten; small numbers, used again.
pub(super) type Ticket = u32;

/// What a request does to the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Read,
    Write,
    Flush,
    /// Moves neither data nor the arm, and keeps its place among the writes.
    Other,
}

/// A request as the plan sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) class: Class,
    pub(super) kind: Kind,
    pub(super) lba: Lba,
    pub(super) blocks: u64,
    /// Of no use later.
    pub(super) deadline: Option<Mono>,
}

/// It would wait for too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refused {
    pub(super) expected: Nanos,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Gone,
    Waiting,
    InDevice,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    kind: Kind,
    class: Class,
    /// Reads that somebody waits for, when this came.
    crowd: u32,
    lba: u64,
    blocks: u64,
    radius: f32,
    arrived: Mono,
    /// [`NEVER`] where it has none.
    deadline: Mono,
    started: Mono,
    late: Late,
    /// Which unit of the drive it belongs to.
    unit: u32,
    /// Least time in the drive, and likely time.
    floor: Nanos,
    likely: Nanos,
}

const NEVER: Mono = Mono(u64::MAX);

/// Share of the newest service in the running mean.
const MEAN_SHARE: f64 = 1.0 / 32.0;
/// A service counts as so many means at most: one retry of 2 s is no sign of what comes next,
/// and a limping disk is known all the same after a few dozen.
const MEAN_OUTLIER: f64 = 4.0;

/// Writes that go on where the one before them ends.
#[derive(Clone, Copy, Debug)]
struct Batch {
    class: Class,
    next: u64,
    bytes_left: u64,
}

/// The queue of one disk.
pub(super) struct Plan {
    profile: DiskProfile,
    config: SchedConfig,
    block: BlockSize,
    /// One over the number of blocks.
    block_share: f64,
    depth_max: u32,
    /// A random request of one block with nothing queued.
    random: Nanos,

    entries: Vec<Entry>,
    free: Vec<Ticket>,
    /// By class, in order of arrival.
    reads: [VecDeque<Ticket>; CLASSES],
    writes: [VecDeque<Ticket>; CLASSES],
    waiting: u32,
    /// Bytes of appends that wait, and how many flushes and the like wait among them.
    append_bytes: u64,
    append_commands: u32,
    /// No deadline is before this.
    deadline_next: Mono,

    lates: Lates,
    drive: Drive,
    place: Place,
    batch: Option<Batch>,
    budgets: Budgets,
    /// The foreground reads' service, running mean in nanoseconds.
    mean_ns: f64,
    flush_ns: f64,
    /// When the foreground was last seen.
    foreground_at: Mono,
    append_went: bool,
    stats: SchedStats,
}

impl Plan {
    pub(super) fn new(
        profile: DiskProfile,
        config: SchedConfig,
        block: BlockSize,
        blocks: u64,
        depth_max: u32,
    ) -> Plan {
        assert!(profile.is_possible(), "a profile that was measured, or read back: {profile:?}");
        assert!(blocks > 0 && depth_max > 0, "a disk holds something and takes something");
        let capacity = config.waiting_max as usize + depth_max as usize;
        let random = profile.mean_service(u64::from(block.bytes()));
        Plan {
            profile,
            config,
            block,
            block_share: 1.0 / blocks as f64,
            depth_max,
            random,
            entries: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            reads: std::array::from_fn(|_| VecDeque::new()),
            writes: std::array::from_fn(|_| VecDeque::new()),
            waiting: 0,
            append_bytes: 0,
            append_commands: 0,
            deadline_next: NEVER,
            lates: Lates::default(),
            drive: Drive::default(),
            place: Place::default(),
            batch: None,
            budgets: Budgets::new(&config),
            mean_ns: random.0 as f64,
            flush_ns: profile.flush.0 as f64,
            // Long ago: a disk that nobody has asked for anything is quiet.
            foreground_at: Mono::ZERO,
            append_went: false,
            stats: SchedStats::default(),
        }
    }

    pub(super) fn profile(&self) -> &DiskProfile {
        &self.profile
    }

    pub(super) fn stats(&self) -> SchedStats {
        let mut stats = self.stats;
        for class in Class::ALL {
            let waiting = self.reads[class.index()].len() + self.writes[class.index()].len();
            stats.of_mut(class).waiting = waiting as u32;
        }
        stats
    }

    pub(super) fn waiting(&self) -> u32 {
        self.waiting
    }

    pub(super) fn budget(&self, class: Class) -> Budget {
        self.budgets.get(class)
    }

    pub(super) fn set_budget(&mut self, class: Class, budget: Budget) {
        self.budgets.set(class, budget);
    }

    /// The way past the queue: a request of the foreground to a device without an arm that has
    /// room, when nothing waits, is in the device at once.
    #[inline]
    pub(super) fn pass(&mut self, now: Mono, item: &Item) -> Option<Ticket> {
        let is_free = self.waiting == 0
            && !self.profile.rotating
            && self.drive.requests() < u32::from(self.profile.depth_latency).min(self.depth_max)
            && item.class.tier() != Tier::Background
            && item.deadline.is_none_or(|deadline| deadline >= now);
        if !is_free {
            return None;
        }
        let ticket = self.take_entry(now, item, State::InDevice);
        self.foreground_at = now;
        self.drive.pass(item.class.tier());
        self.stats.of_mut(item.class).starts(Nanos::ZERO);
        Some(ticket)
    }

    /// Takes a request into the queue, unless it would wait for too long.
    pub(super) fn offer(&mut self, now: Mono, item: &Item) -> Result<Ticket, Refused> {
        let class = item.class;
        // Only whoever names a deadline can be refused: it may read elsewhere. All others are
        // bounded by the buffers that they bring.
        if let Some(deadline) = item.deadline {
            let expected = self.expected_wait(class, now);
            if now + expected > deadline || self.waiting >= self.config.waiting_max {
                self.stats.of_mut(class).refused += 1;
                return Err(Refused { expected });
            }
            self.deadline_next = self.deadline_next.min(deadline);
        }
        let ticket = self.take_entry(now, item, State::Waiting);
        if class.tier() == Tier::Background {
            if self.is_idle(class) {
                self.accrue(now);
                self.budgets.wake(class);
            }
        } else {
            self.foreground_at = now;
        }
        let queues = if item.kind == Kind::Read { &mut self.reads } else { &mut self.writes };
        queues[class.index()].push_back(ticket);
        self.waiting += 1;
        let crowd = self.foreground_waiting();
        let entry = &mut self.entries[ticket as usize];
        entry.crowd = crowd;
        entry.radius = self.profile.radius_of(entry.lba as f64 * self.block_share) as f32;
        if class == Class::Append {
            self.append_bytes += item.blocks << self.block.shift();
            self.append_commands += u32::from(is_command(item.kind));
        }
        Ok(ticket)
    }

    /// The request that the device is to have now. It counts as handed over.
    pub(super) fn next(&mut self, now: Mono) -> Option<Ticket> {
        if self.waiting == 0 || self.drive.requests() >= self.depth_max {
            return None;
        }
        let (ticket, goes_on) = self.choose(now)?;
        self.remove(ticket);
        self.start(now, ticket, goes_on);
        Some(ticket)
    }

    /// A request that still waits at its deadline; it is gone.
    pub(super) fn expired(&mut self, now: Mono) -> Option<Ticket> {
        if now < self.deadline_next {
            return None;
        }
        let mut next = NEVER;
        let mut found = None;
        for &ticket in self.reads.iter().flatten().chain(&self.lates.parked) {
            let deadline = self.entries[ticket as usize].deadline;
            if deadline <= now && found.is_none() {
                found = Some(ticket);
            } else {
                next = next.min(deadline);
            }
        }
        self.deadline_next = next;
        let ticket = found?;
        self.take_out(ticket);
        let class = self.end(ticket);
        self.stats.of_mut(class).late += 1;
        Some(ticket)
    }

    /// A request that waits is not wanted any more; it is gone.
    pub(super) fn withdraw(&mut self, ticket: Ticket) {
        self.take_out(ticket);
        let class = self.end(ticket);
        self.stats.of_mut(class).withdrawn += 1;
    }

    /// The device has completed a request; it is gone.
    #[inline]
    pub(super) fn done(&mut self, now: Mono, ticket: Ticket) {
        let entry = self.entries[ticket as usize];
        assert!(entry.state == State::InDevice, "the device completes what it was given");
        let service = self.drive.leave(now, &entry);
        let class = self.end(ticket);
        let bytes = entry.blocks << self.block.shift();
        self.stats.of_mut(class).ends(service, bytes);
        match class.tier() {
            Tier::Background => self.budgets.correct(class, entry.likely, service),
            Tier::Foreground => {
                self.foreground_at = now;
                let counted = (service.0 as f64).min(self.mean_ns * MEAN_OUTLIER);
                self.mean_ns += (counted - self.mean_ns) * MEAN_SHARE;
            }
            Tier::Append => {
                self.foreground_at = now;
                if entry.kind == Kind::Flush {
                    self.flush_ns += (service.0 as f64 - self.flush_ns) * MEAN_SHARE;
                }
            }
        }
    }

    /// The name of a request that is gone may be used again.
    #[inline]
    pub(super) fn forget(&mut self, ticket: Ticket) {
        debug_assert!(self.entries[ticket as usize].state == State::Gone);
        self.free.push(ticket);
    }

    /// How long a request of this class would wait for the device.
    pub(super) fn expected_wait(&self, class: Class, now: Mono) -> Nanos {
        let depth = if self.profile.rotating { 1 } else { self.profile.depth_latency };
        if self.waiting == 0 && self.drive.requests() < u32::from(depth) {
            return Nanos::ZERO;
        }
        let rest = self.drive.rest(now);
        let reads = Nanos((self.reads_ahead() * self.mean_ns) as u64);
        let appends = match self.append_bytes {
            0 => Nanos::ZERO,
            bytes => self.rough(bytes),
        };
        let foreground = rest + reads + appends;
        if class.tier() != Tier::Background {
            return foreground;
        }
        // Its own queue, at its share of the disk.
        let own = self.reads[class.index()].len() + self.writes[class.index()].len();
        let fraction = self.budgets.get(class).fraction.max(1e-3);
        let share = if self.is_quiet(now) { 1.0 } else { fraction };
        foreground + Nanos((own as f64 * self.random.0 as f64 / share) as u64)
    }

    /// When `next` or `expired` may have something although nothing is offered or done until
    /// then.
    pub(super) fn due(&self, now: Mono) -> Option<Mono> {
        if self.waiting == 0 && self.lates.parked.is_empty() {
            return None;
        }
        let due = self.deadline_next.min(self.opens_at(now)).min(self.claims_at(now));
        // Never now: what is due now has been asked for already.
        (due != NEVER).then(|| due.max(now + Nanos(1_000)))
    }

    fn take_entry(&mut self, now: Mono, item: &Item, state: State) -> Ticket {
        let entry = Entry {
            state,
            kind: item.kind,
            class: item.class,
            crowd: 0,
            lba: item.lba.0,
            blocks: item.blocks,
            radius: 0.0,
            arrived: now,
            deadline: item.deadline.unwrap_or(NEVER),
            started: now,
            late: Late::No,
            unit: 0,
            floor: Nanos::ZERO,
            likely: Nanos::ZERO,
        };
        match self.free.pop() {
            Some(ticket) => {
                debug_assert!(self.entries[ticket as usize].state == State::Gone);
                self.entries[ticket as usize] = entry;
                ticket
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Ticket
            }
        }
    }

    fn end(&mut self, ticket: Ticket) -> Class {
        let entry = &mut self.entries[ticket as usize];
        entry.state = State::Gone;
        entry.class
    }

    /// Takes a request out of those that wait.
    fn remove(&mut self, ticket: Ticket) {
        let entry = self.entries[ticket as usize];
        assert!(entry.state == State::Waiting, "only what waits leaves the queue");
        let queues = if entry.kind == Kind::Read { &mut self.reads } else { &mut self.writes };
        let queue = &mut queues[entry.class.index()];
        let at = queue.iter().position(|&other| other == ticket);
        queue.remove(at.expect("what waits is in the queue of its class"));
        self.waiting -= 1;
        self.lates.leaves(&entry.late);
        if entry.class == Class::Append {
            self.append_bytes -= entry.blocks << self.block.shift();
            self.append_commands -= u32::from(is_command(entry.kind));
        }
    }

    /// Hands a request to the drive. `goes_on`: it belongs to the unit before it.
    fn start(&mut self, now: Mono, ticket: Ticket, goes_on: bool) {
        let (floor, likely) = self.times(&self.entries[ticket as usize]);
        let entry = &mut self.entries[ticket as usize];
        entry.state = State::InDevice;
        entry.started = now;
        (entry.floor, entry.likely) = (floor, likely);
        entry.unit = self.drive.enter(now, entry, goes_on);
        let entry = *entry;
        if matches!(entry.kind, Kind::Read | Kind::Write) {
            let end = entry.lba + entry.blocks;
            let radius = self.profile.radius_of(end as f64 * self.block_share);
            self.place = Place { radius: radius as f32, block: end };
        }
        if entry.class.tier() == Tier::Background {
            self.budgets.charge(entry.class, likely);
        } else {
            self.append_went = entry.class.tier() == Tier::Append;
        }
        self.stats.of_mut(entry.class).starts(now.since(entry.arrived));
    }

    /// Least and likely time of a request from where the arm will be.
    fn times(&self, entry: &Entry) -> (Nanos, Nanos) {
        match entry.kind {
            Kind::Read | Kind::Write => {
                let bytes = entry.blocks << self.block.shift();
                let transfer = self.profile.transfer(bytes, entry.radius);
                // The sustained rate has the switches from track to track in it, about an
                // eighth of the time. A piece may meet none.
                let least = Nanos(transfer.0 / 8 * 7);
                if entry.lba == self.place.block {
                    return (least, transfer);
                }
                let access = self.profile.access((entry.radius - self.place.radius).abs());
                (access + least, access + Nanos(self.profile.turn.0 / 2) + transfer)
            }
            Kind::Flush => (self.profile.flush, Nanos(self.flush_ns as u64)),
            Kind::Other => (self.profile.overhead, self.profile.overhead),
        }
    }

    /// About what so many bytes cost anywhere.
    fn rough(&self, bytes: u64) -> Nanos {
        self.random + self.profile.transfer(bytes, 0.5)
    }

    fn waiting_read(&self, ticket: Ticket) -> Waiting {
        let entry = &self.entries[ticket as usize];
        Waiting {
            radius: entry.radius,
            first: entry.lba,
            arrived: entry.arrived,
            crowd: entry.crowd,
        }
    }

    fn foreground_waiting(&self) -> u32 {
        let of = |class: Class| self.reads[class.index()].len();
        (of(Class::ForegroundRead) + of(Class::LateRead)) as u32
    }

    fn is_idle(&self, class: Class) -> bool {
        self.reads[class.index()].is_empty() && self.writes[class.index()].is_empty()
    }
}

/// Whether somebody waits for it whatever it has for company.
fn is_command(kind: Kind) -> bool {
    matches!(kind, Kind::Flush | Kind::Other)
}
