//! Whose disk time a request is.
//!
//! What must always hold: the order of the classes is that of their numbers, which stand in
//! results; a number once used is never reused.

use isotherm_seam::Nanos;

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Class {
    /// Somebody waits for this read.
    ForegroundRead = 0,
    /// Somebody waits for it, and for the same from other disks: it was reserved at all of them.
    LateRead = 1,
    /// A client's write, and what makes it durable.
    Append = 2,
    /// Repair of what survives no further loss.
    CriticalRepair = 3,
    /// Other repair.
    Repair = 4,
    /// Reclaim, relocation, drain.
    Rebalance = 5,
    /// Reading what nobody asked for, to see that it is still there.
    Scrub = 6,
    /// Bulk work without an own class.
    Throughput = 7,
}

/// How many classes there are.
pub const CLASSES: usize = 8;

/// Which rules a class is under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tier {
    /// Reads that somebody waits for.
    Foreground,
    /// Appends.
    Append,
    /// What may wait for its budget.
    Background,
}

impl Class {
    /// Every class, by number.
    pub const ALL: [Class; CLASSES] = [
        Class::ForegroundRead,
        Class::LateRead,
        Class::Append,
        Class::CriticalRepair,
        Class::Repair,
        Class::Rebalance,
        Class::Scrub,
        Class::Throughput,
    ];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Class::ForegroundRead => "foreground-read",
            Class::LateRead => "late-read",
            Class::Append => "append",
            Class::CriticalRepair => "critical-repair",
            Class::Repair => "repair",
            Class::Rebalance => "rebalance",
            Class::Scrub => "scrub",
            Class::Throughput => "throughput",
        }
    }

    /// Whether it has a budget, and may be paused.
    pub const fn is_background(self) -> bool {
        matches!(self.tier(), Tier::Background)
    }

    pub(super) const fn tier(self) -> Tier {
        match self {
            Class::ForegroundRead | Class::LateRead => Tier::Foreground,
            Class::Append => Tier::Append,
            _ => Tier::Background,
        }
    }

    #[inline]
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// What a background class gets of the disk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Budget {
    /// Of disk time, while the foreground is busy.
    pub fraction: f64,
    /// Of a quiet disk, relative to the other classes that have something to do.
    pub weight: f64,
}

/// How a disk is scheduled. docs/IO-SCHEDULER.md derives the defaults.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SchedConfig {
    /// While so many wait for the disk, requests with a deadline are refused. The others are
    /// bounded by the buffers that they bring.
    pub waiting_max: u32,
    /// An append waits so long for company while reads wait.
    pub append_age: Nanos,
    /// Appends that follow each other go to the device together, up to so many bytes.
    pub append_batch_bytes: u64,
    /// Background pauses when a foreground read has waited for longer.
    pub pause_after: Nanos,
    /// A class whose share is so late goes ahead of foreground reads,
    pub overdue_after: Nanos,
    /// and when it is so late, even while background is paused.
    pub pause_max: Nanos,
    /// Without a request of the foreground for so long, background has the disk.
    pub quiet_after: Nanos,
    /// The next read is handed to a rotating drive before the one in it has ended.
    pub stage_ahead: bool,
    /// A reserved read is claimed so long before the next read can be handed over: a round trip
    /// to whoever reserved it, and some for a second claim.
    pub claim_ahead: Nanos,
    /// An arm that is free waits so long for the answer to a claim.
    pub claim_patience: Nanos,
    /// A claim that was not answered is made again after so long, twice as long the second time.
    pub claim_again: Nanos,
    /// By class; those of the foreground are not looked at.
    pub budgets: [Budget; CLASSES],
}

impl Default for SchedConfig {
    fn default() -> SchedConfig {
        let budget = |fraction, weight| Budget { fraction, weight };
        SchedConfig {
            waiting_max: 1024,
            append_age: Nanos::from_millis(50),
            append_batch_bytes: 4 << 20,
            pause_after: Nanos::from_millis(100),
            overdue_after: Nanos::from_secs(1),
            pause_max: Nanos::from_secs(5),
            quiet_after: Nanos::from_millis(250),
            stage_ahead: true,
            claim_ahead: Nanos::from_millis(1),
            claim_patience: Nanos::from_millis(2),
            claim_again: Nanos::from_millis(20),
            budgets: [
                budget(0.0, 0.0),
                budget(0.0, 0.0),
                budget(0.0, 0.0),
                budget(0.40, 16.0),
                budget(0.20, 8.0),
                budget(0.10, 4.0),
                budget(0.03, 1.0),
                budget(0.05, 4.0),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_numbered_in_order() {
        for (index, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), index);
        }
    }

    #[test]
    fn the_default_budgets_leave_the_foreground_its_disk() {
        let config = SchedConfig::default();
        let sum: f64 = Class::ALL
            .into_iter()
            .filter(|class| class.is_background())
            .map(|class| config.budgets[class.index()].fraction)
            .sum();
        assert!(sum < 1.0, "{sum}");
        assert!(config.budgets[Class::Scrub.index()].fraction >= 0.02);
    }
}
