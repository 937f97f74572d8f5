//! The drive's own queue: which of the waiting commands the arm takes next.
//!
//! What must always hold: the choice depends on the waiting commands, the arm and the time, and
//! on nothing else; of equals the oldest goes first.

use isotherm_seam::Mono;

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

    /// The less, the sooner.
    #[inline]
    pub(super) fn score(self, approach_ns: u32, age_ns: u64, seq: u64) -> f64 {
        match self {
            Order::Fifo => seq as f64,
            Order::Sptf => f64::from(approach_ns),
            Order::Aged(weight) => f64::from(approach_ns) - weight * age_ns as f64,
        }
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

    pub(super) fn push(&mut self, slot: usize, job: Job) {
        debug_assert!(self.waiting & 1 << slot == 0);
        self.jobs[slot] = job;
        self.waiting |= 1 << slot;
    }

    pub(super) fn take(&mut self, slot: usize) -> Job {
        debug_assert!(self.waiting & 1 << slot != 0);
        self.waiting &= !(1 << slot);
        self.jobs[slot]
    }

    /// The slot to serve next, with its score.
    pub(super) fn best(&self, order: Order, arm: &Arm, now: Mono) -> Option<(usize, f64)> {
        let angle = arm.angle(now);
        let mut best: Option<(usize, f64)> = None;
        let mut waiting = self.waiting;
        while waiting != 0 {
            let slot = waiting.trailing_zeros() as usize;
            waiting &= waiting - 1;
            let job = &self.jobs[slot];
            let approach = arm.approach(now, angle, job);
            let score = order.score(approach, now.since(job.arrived).0, job.seq);
            let better = match best {
                None => true,
                Some((at, least)) => {
                    score < least || (score == least && job.seq < self.jobs[at].seq)
                }
            };
            if better {
                best = Some((slot, score));
            }
        }
        best
    }
}
