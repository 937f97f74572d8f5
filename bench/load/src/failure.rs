//! What ended a lane before its time.

use core::fmt;

use isotherm_seam::{IoError, Nanos};
use isotherm_workload::{Direction, TooSlow};

/// The first trouble of a lane: it sent nothing after it, unless it was told to go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The disk's short name.
    pub disk: String,
    /// Which way it went.
    pub direction: Direction,
    /// In units of 512 bytes, as the kernel's own messages count: the sector that failed where
    /// the device says which, else the first of the request; 0 where it was no request.
    pub sector: u64,
    /// Why.
    pub cause: Trouble,
}

/// Why a lane ended before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// A read or a write failed.
    Request(IoError),
    /// A flush failed.
    Flush(IoError),
    /// A request took longer than `max_latency`.
    TooLong {
        /// How long it took.
        took: Nanos,
        /// How long it may have taken.
        limit: Nanos,
    },
    /// A block is not what was written; what is wrong with it is among the notes of its disk.
    Flawed,
    /// The log that is replayed has changed since the run began.
    Trace,
    /// A rate was below `rate_min` or `rate_iops_min`.
    TooSlow(TooSlow),
    /// One request in flight does not keep `latency_target`.
    Unreachable {
        /// What was to be kept.
        target: Nanos,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { disk, direction, sector, cause } = self;
        let word = direction.word();
        let ms = |time: &Nanos| time.0 as f64 / 1e6;
        match cause {
            Trouble::Request(error) => {
                write!(f, "disk {disk}: {word} failed at sector {sector}: {error}")
            }
            Trouble::Flush(error) => write!(f, "disk {disk}: a flush failed: {error}"),
            Trouble::TooLong { took, limit } => write!(
                f,
                "disk {disk}: a {word} at sector {sector} took {:.3} ms; max_latency is {:.3}",
                ms(took),
                ms(limit)
            ),
            Trouble::Trace => write!(f, "disk {disk}: the log that is replayed can't be read on"),
            Trouble::Flawed => {
                write!(f, "disk {disk}: what is at sector {sector} is not what was written")
            }
            Trouble::TooSlow(slow) => {
                let unit = if slow.in_bytes { "bytes" } else { "requests" };
                let (got, wanted) = (slow.got, slow.wanted);
                write!(f, "disk {disk}: {word}s came to {got} {unit} a second; {wanted} were asked")
            }
            Trouble::Unreachable { target } => write!(
                f,
                "disk {disk}: one request in flight does not keep latency_target, {:.3} ms",
                ms(target)
            ),
        }
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// The errno that stands for it in fio's results.
    pub fn errno(&self) -> i32 {
        match self.cause {
            // EILSEQ, as fio has it.
            Trouble::Flawed => 84,
            Trouble::Trace => 5, // EIO
            Trouble::Request(error) | Trouble::Flush(error) => errno(error),
            Trouble::TooLong { .. } | Trouble::Unreachable { .. } => 110, // ETIMEDOUT
            Trouble::TooSlow(_) => 5,                                     // EIO
        }
    }
}

fn errno(error: IoError) -> i32 {
    match error {
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
