//! Why an operation on an object failed, by what its caller can do.

use isotherm_seam::Nanos;

use crate::LocatorError;

/// Why an operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// No such object: never put to its end, or deleted long ago.
    #[error("no such object")]
    NotFound,
    /// The object was deleted.
    #[error("the object was deleted")]
    Deleted,
    /// More is lost than the codec can rebuild. It is gone for good unless a disk comes back.
    #[error(
        "the object is lost: {lost} of {cells} cells of stripe {stripe} are gone and {needed} are needed"
    )]
    Lost {
        /// Which stripe.
        stripe: u32,
        /// Cells that are gone.
        lost: usize,
        /// Cells of the stripe.
        cells: usize,
        /// Cells that are needed.
        needed: usize,
    },
    /// Too many holders don't answer. Nothing is known to be lost: try again later.
    #[error(
        "not available now: {reached} of the {needed} cells that are needed could be reached; try again"
    )]
    Unavailable {
        /// Cells that were read.
        reached: usize,
        /// Cells that are needed.
        needed: usize,
    },
    /// Cells that are whole, each for itself, don't make what was put.
    #[error("stripe {stripe} does not have its check sum, whichever of its cells it is made from")]
    Corrupt {
        /// Which stripe.
        stripe: u32,
    },
    /// The time was up. A put or delete may or may not have happened: say it again.
    #[error("the time was up")]
    Late,
    /// No group of the cluster takes a put now: too many disks are full or away.
    #[error("no group of the cluster takes it: {why}; add room or bring disks back")]
    NoGroup {
        /// What the last disk that refused said.
        why: Refusal,
    },
    /// Every disk says that it is busy for longer than the deadline.
    #[error("busy: about {} ms", expected.as_millis_f64())]
    Busy {
        /// The least of the waits.
        expected: Nanos,
    },
    /// The range is not within the object.
    #[error("the range is beyond the object's {len_bytes} bytes")]
    OutOfRange {
        /// Its length.
        len_bytes: u64,
    },
    /// Longer than an object may be.
    #[error("longer than an object may be: {max_bytes} bytes with this codec")]
    TooLong {
        /// How long it may be.
        max_bytes: u64,
    },
    /// The delete is noted wherever a holder could be reached, and not on enough of them. Until it
    /// is said again, or repair has finished it, the object may still be read.
    #[error("the delete is not finished: {done} of {needed} holders have it; say it again later")]
    Unfinished {
        /// Tombstones that are durable.
        done: usize,
        /// Tombstones that make a delete.
        needed: usize,
    },
    /// Not a locator.
    #[error(transparent)]
    Locator(#[from] LocatorError),
    /// The locator names a group that the cluster map does not have.
    #[error("the object is of another cluster, or the cluster map is too old")]
    OtherCluster,
}

/// Why a disk did not take a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It could not be reached.
    #[error("a node does not answer")]
    Unreachable,
    /// What it said.
    #[error("{0}")]
    Failed(isotherm_wire::Failure),
    /// The map has no group whose disks are all in use.
    #[error("too few disks are in use")]
    NoDisks,
}
