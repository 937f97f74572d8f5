//! What was measured of one disk: the input of a judgement.
//!
//! What must always hold: all reports of one judgement cover the same span of time, cut into
//! the same windows. *Service* is the time from handing a read to the device until its
//! completion; waiting in a queue above the device is not part of it, so that a disk is not
//! blamed for its load.

use isotherm_seam::{DiskId, Lba, Nanos};

/// Disks that may be compared: same model, firmware and capacity (and, where it matters, same
/// enclosure and bus adapter). The number means nothing but sameness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PeerGroup(pub u32);

/// Quantiles of the service time of the reads that succeeded. Zero where there were none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quantiles {
    /// Half of the reads took no longer.
    pub p50: Nanos,
    /// Nine in ten took no longer.
    pub p90: Nanos,
    /// 99 in 100 took no longer.
    pub p99: Nanos,
}

/// One slice of the span.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Window {
    /// Reads that succeeded in it.
    pub reads: u64,
    /// Median of their service times.
    pub p50: Nanos,
}

/// A read that succeeded and is among the disk's slowest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SlowRead {
    /// Its first block.
    pub lba: Lba,
    /// Which window it completed in.
    pub window: u32,
    /// How long it took at least: a delay of the measuring host itself is taken off.
    pub service: Nanos,
}

/// What was measured of one disk.
#[derive(Clone, PartialEq, Debug)]
pub struct DiskReport {
    /// Which disk.
    pub disk: DiskId,
    /// Whom it is compared with.
    pub peers: PeerGroup,
    /// Size of the address range that was read, in logical blocks.
    pub blocks: u64,
    /// Load: reads that were due per second, whether or not the disk kept up.
    pub offered_per_s: f64,
    /// Reads that the disk may hold at once. At 1 the service time does not depend on the load.
    pub depth_max: u32,
    /// Reads that succeeded.
    pub reads: u64,
    /// Reads that failed.
    pub errors: u64,
    /// The device said that it is gone.
    pub gone: bool,
    /// How long the oldest read without an answer had been waiting at the end.
    pub unanswered: Nanos,
    /// Service time over the whole span.
    pub service: Quantiles,
    /// The span in equal windows.
    pub windows: Vec<Window>,
    /// The slowest reads, in any order; a bounded number of them.
    pub slowest: Vec<SlowRead>,
    /// Where reads failed, in any order; a bounded number of them.
    pub failed: Vec<Lba>,
    /// Reads (failed ones too) in each of as many equal slices of the address range. Empty if
    /// not known: then they are taken to be uniform.
    pub coverage: Vec<u32>,
}
