//! What went wrong on a disk while it was measured.

use core::fmt;

use isotherm_seam::IoError;
use isotherm_workload::Direction;

/// The first failed request of a lane: the lane sent nothing after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The disk's short name.
    pub disk: String,
    /// Which way it went.
    pub direction: Direction,
    /// In units of 512 bytes, as the kernel's own messages count: the sector that failed where
    /// the device says which, else the first of the request.
    pub sector: u64,
    /// Why.
    pub error: IoError,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { disk, direction, sector, error } = self;
        write!(f, "disk {disk}: {} failed at sector {sector}: {error}", direction.word())
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The errno that stands for it in fio's results.
    pub fn errno(&self) -> i32 {
        match self.error {
            IoError::Media { .. } => 5, // EIO
            IoError::Misfit(_) => 22,   // EINVAL
            IoError::Zone(_) => 5,      // EIO, as the kernel answers it
            IoError::Gone => 19,        // ENODEV
            IoError::ReadOnly => 30,    // EROFS
            IoError::NoSpace => 28,     // ENOSPC
            IoError::TimedOut => 110,   // ETIMEDOUT
            IoError::Os { errno } => errno,
        }
    }
}
