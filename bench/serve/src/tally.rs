//! What was asked of a disk, counted.

use isotherm_seam::Nanos;

/// What one disk did since it was mounted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DiskTally {
    /// Reads answered.
    pub reads: u64,
    /// Writes answered.
    pub writes: u64,
    /// Flushes answered.
    pub flushes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// From each request's arrival here to the device's answer, summed up.
    pub busy: Nanos,
}

impl DiskTally {
    /// Mean time of a request in the device; none if there was none.
    pub fn mean(&self) -> Option<Nanos> {
        let count = self.reads + self.writes + self.flushes;
        (count > 0).then(|| Nanos(self.busy.0 / count))
    }
}
