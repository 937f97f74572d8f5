//! How a job goes along: when it starts and ends, what it waits for, what it may do at a time.

use isotherm_seam::Nanos;

/// When a job starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StartPlan {
    /// So long after the run began: between these two, each copy by chance.
    pub delay: (Nanos, Nanos),
    /// When all copies of the job of this name have ended.
    pub after: Option<String>,
}

/// What the end of a job does to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExitPlan {
    /// They end too.
    pub with_others: bool,
    /// They end too if it fails.
    pub on_error: bool,
    /// Which.
    pub scope: ExitScope,
}

/// Which jobs end with one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitScope {
    /// Those of its group.
    Group,
    /// Those that run now.
    Running,
    /// All, also those behind a stonewall.
    All,
}

/// A share of the requests of several jobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowPlan {
    /// The share, beside those of the others; 0 to take no part.
    pub weight: u32,
    /// Which jobs share.
    pub id: u32,
    /// Who is ahead rests so long.
    pub rest: Nanos,
}

/// How requests go to the device and come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueuePlan {
    /// Sent at a time, at most.
    pub batch: Option<u32>,
    /// Taken back at a time, at least.
    pub complete_min: u32,
    /// Taken back at a time, at most.
    pub complete_max: Option<u32>,
    /// Once full, nothing is sent before no more than this are in flight.
    pub low: Option<u32>,
}

/// When what was written is made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SyncPlan {
    /// Each write by itself, before it completes.
    pub each: bool,
    /// After so many writes, with metadata.
    pub every: Option<u64>,
    /// After so many writes, the data.
    pub data_every: Option<u64>,
    /// At the end of the job.
    pub at_end: bool,
    /// When a file is closed; here that is at the end of the job.
    pub on_close: bool,
}

impl SyncPlan {
    /// Writes between two flushes.
    pub fn flush_every(&self) -> Option<u64> {
        [self.every, self.data_every].into_iter().flatten().min()
    }
}

impl Default for ExitPlan {
    fn default() -> ExitPlan {
        ExitPlan { with_others: false, on_error: false, scope: ExitScope::Group }
    }
}

impl Default for FlowPlan {
    fn default() -> FlowPlan {
        FlowPlan { weight: 0, id: 0, rest: Nanos::ZERO }
    }
}

impl Default for QueuePlan {
    fn default() -> QueuePlan {
        QueuePlan { batch: None, complete_min: 1, complete_max: None, low: None }
    }
}
