//! How a run stands, for whoever watches it.

use isotherm_seam::{DiskId, Nanos};

/// A look at a run under way.
#[derive(Clone, PartialEq, Debug)]
pub struct Progress {
    /// Since the load began.
    pub elapsed: Nanos,
    /// How long it is to go on in all.
    pub duration: Nanos,
    /// Each disk.
    pub lanes: Vec<LaneProgress>,
}

/// A look at one disk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LaneProgress {
    /// Which.
    pub disk: DiskId,
    /// Reads that succeeded.
    pub reads: u64,
    /// Reads that failed.
    pub errors: u64,
    /// Arrivals that were turned away.
    pub refused: u64,
    /// Reads that wait or are in the device.
    pub waiting: usize,
    /// Half of the reads took no longer, from their intended start.
    pub response_p50: Nanos,
    /// 99 in 100 took no longer, from their intended start.
    pub response_p99: Nanos,
    /// Half of the reads took the device no longer.
    pub service_p50: Nanos,
    /// Share of the time during which the device held a read.
    pub busy_share: f64,
    /// The device is gone.
    pub gone: bool,
}

impl Progress {
    /// Reads and failed reads over all disks.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |pick: fn(&LaneProgress) -> u64| self.lanes.iter().map(pick).sum();
        (sum(|lane| lane.reads), sum(|lane| lane.errors))
    }
}
