//! What is counted of a pass while it runs.

use isotherm_seam::{Mono, Nanos};

use crate::objects::{ObjectId, Trouble};
use crate::plan::Plan;
use crate::tally::{Kind, Moments, Tally, Times};

/// Broken promises that are told one by one.
const TOLD_MAX: usize = 20;

/// Counts of one pass.
pub(crate) struct Meter {
    pub(crate) start: Mono,
    /// When counting begins and ends.
    pub(crate) from: Mono,
    pub(crate) until: Mono,
    pub(crate) kinds: [Tally; 3],
    /// Deletes that had nothing to delete.
    pub(crate) idle_deletes: u64,
    pub(crate) wrong: u64,
    pub(crate) told: Vec<String>,
    /// Since the last look.
    recent: Times,
    recent_done: [u64; 3],
    recent_bytes: u64,
    looked: Mono,
}

/// How a pass goes.
#[derive(Clone, Debug)]
pub struct Sight {
    /// Since the start.
    pub elapsed: Nanos,
    /// By kind: operations a second since the last look.
    pub per_second: [f64; 3],
    /// Bytes a second since the last look.
    pub bytes_per_second: f64,
    /// 99 of 100 of those had their answer so long after their intended start.
    pub p99: Nanos,
    /// Under way now.
    pub under_way: usize,
    /// Failed so far.
    pub failed: u64,
    /// Sent late so far.
    pub late: u64,
    /// Broken promises so far.
    pub wrong: u64,
}

impl Meter {
    pub(crate) fn new(plan: &Plan, start: Mono) -> Meter {
        let from = start + plan.warmup;
        Meter {
            start,
            from,
            until: from + plan.runtime,
            kinds: std::array::from_fn(|_| Tally::new(plan.runtime)),
            idle_deletes: 0,
            wrong: 0,
            told: Vec::new(),
            recent: Times::new(),
            recent_done: [0; 3],
            recent_bytes: 0,
            looked: start,
        }
    }

    /// Counts an operation that came to an end. What was to begin during the warm-up is only looked
    /// at.
    pub(crate) fn record(&mut self, kind: Kind, at: &Moments, outcome: Result<u64, Trouble>) {
        if let Ok(bytes) = outcome {
            self.recent.record(at.done.since(at.intended));
            self.recent_done[kind as usize] += 1;
            self.recent_bytes += bytes;
        }
        if at.intended >= self.from {
            self.kinds[kind as usize].record(at, self.from, outcome);
        }
    }

    /// An operation that was due and is not sent.
    pub(crate) fn unsent(&mut self, kind: Kind, intended: Mono) {
        if intended >= self.from {
            self.kinds[kind as usize].unsent += 1;
        }
    }

    /// A promise that was broken.
    pub(crate) fn wrong(&mut self, object: ObjectId, what: &str) {
        self.wrong += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(format!("{object}: {what}"));
        }
    }

    pub(crate) fn look(&mut self, now: Mono, under_way: usize) -> Sight {
        let seconds = now.since(self.looked).as_secs_f64().max(1e-9);
        let sight = Sight {
            elapsed: now.since(self.start),
            per_second: self.recent_done.map(|done| done as f64 / seconds),
            bytes_per_second: self.recent_bytes as f64 / seconds,
            p99: Nanos(self.recent.percentile_ns(99.0)),
            under_way,
            failed: self.kinds.iter().map(Tally::failures).sum(),
            late: self.kinds.iter().map(|tally| tally.late).sum(),
            wrong: self.wrong,
        };
        self.recent.clear();
        (self.recent_done, self.recent_bytes, self.looked) = ([0; 3], 0, now);
        sight
    }
}
