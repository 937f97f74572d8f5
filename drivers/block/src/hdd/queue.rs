//! The drive's own queue: which of the waiting commands the arm takes next.
//!
//! What must always hold: the choice depends on the waiting commands, the arm and the time, and
//! on nothing else; of equals the oldest goes first.

use isotherm_seam::{Mono, Nanos};

use super::arm::{Arm, Job};

/// Most commands that a drive queues (SATA's native command queuing has 32 tags).
pub const DEPTH_MAX: u32 = 32;

/// How the drive orders its queue.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Order {
    /// As they came.
    Fifo,
    /// Shortest access time first: what is soonest under the head. It starves.
    Sptf,
    /// Shortest access time first, less so much of the age: a command that has waited for 1 ms
    /// counts as this many milliseconds nearer.
    Aged(f64),
}

impl Order {
    /// The age weight that brings out published figures; docs/HDD-MODEL.md, "Queue".
    pub const AGE_WEIGHT: f64 = 0.06;
}

/// What the drive sees when it chooses.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    order: Order,
    arm: &'a Arm,
    now: Mono,
    /// When the controller's overhead began, and the spindle's angle then.
    from: Mono,
    angle: u32,
}

/// How good it is to do a job next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    /// The less, the sooner.
    pub(super) score: f64,
    /// When it is done, if it is next and all goes well.
    pub(super) done: Mono,
}

impl<'a> View<'a> {
    pub(super) fn new(order: Order, arm: &'a Arm, now: Mono, from: Mono) -> View<'a> {
        View { order, arm, now, from, angle: arm.angle(from) }
    }

    /// Weighs a job that somebody has been waiting for since `since`.
    #[inline]
    pub(super) fn weigh(&self, job: &Job, since: Mono) -> Weight {
        let approach = self.arm.approach(self.now, self.angle, job);
        let transfer = job.span.stream_end_ns - job.span.stream_ns;
        let score = match self.order {
            Order::Fifo => job.seq as f64,
            Order::Sptf => f64::from(approach),
            Order::Aged(weight) => f64::from(approach) - weight * self.from.since(since).0 as f64,
        };
        Weight { score, done: self.from + Nanos(u64::from(approach) + transfer) }
    }

    /// The least score that a job could have, by travel alone. It grows with distance.
    #[inline]
    pub(super) fn least(&self, job: &Job, since: Mono) -> f64 {
        let travel = || f64::from(self.arm.least(job));
        match self.order {
            Order::Fifo => f64::MIN, // Distance says nothing.
            Order::Sptf => travel(),
            Order::Aged(weight) => travel() - weight * self.from.since(since).0 as f64,
        }
    }

    /// The block after the last command: where the arm is.
    pub(super) fn arm_at(&self) -> u64 {
        self.arm.at()
    }

    pub(super) fn from(&self) -> Mono {
        self.from
    }
}

/// Commands by slot, and which of them wait for the arm.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: [Job; DEPTH_MAX as usize],
    waiting: u32,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { jobs: [Job::default(); DEPTH_MAX as usize], waiting: 0 }
    }

    /// Keeps a job at its slot without queuing it.
    pub(super) fn park(&mut self, slot: usize, job: Job) {
        debug_assert!(self.waiting & 1 << slot == 0, "the slot is free");
        self.jobs[slot] = job;
    }

    pub(super) fn push(&mut self, slot: usize, job: Job) {
        self.park(slot, job);
        self.waiting |= 1 << slot;
    }

    pub(super) fn job(&self, slot: usize) -> &Job {
        &self.jobs[slot]
    }

    pub(super) fn take(&mut self, slot: usize) -> Job {
        debug_assert!(self.waiting & 1 << slot != 0, "it is queued");
        self.waiting &= !(1 << slot);
        self.jobs[slot]
    }

    /// The slot to serve next.
    pub(super) fn best(&self, view: &View<'_>) -> Option<(usize, Weight)> {
        let mut best: Option<(usize, Weight)> = None;
        for slot in bits(self.waiting) {
            let job = &self.jobs[slot];
            let weight = view.weigh(job, job.arrived);
            let better = best.is_none_or(|(at, least)| {
                weight.score < least.score
                    || (weight.score == least.score && job.seq < self.jobs[at].seq)
            });
            if better {
                best = Some((slot, weight));
            }
        }
        best
    }
}

/// The members of a set of slots, lowest first.
#[inline]
pub(super) fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        if set == 0 {
            return None;
        }
        let slot = set.trailing_zeros() as usize;
        set &= set - 1;
        Some(slot)
    })
}
