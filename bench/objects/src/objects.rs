//! What a load runs against.

use core::fmt;
use core::future::Future;
use core::ops::Range;

use bytes::Bytes;

/// An object of a load: its place among them, and which version of it. Versions count from zero
/// and are never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ObjectId {
    /// Its place.
    pub slot: u64,
    /// Which version.
    pub version: u32,
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object {} version {}", self.slot, self.version)
    }
}

/// Why an operation failed, by what it says of the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Trouble {
    /// Its time was up.
    #[error("late")]
    Late,
    /// Every disk is busy for longer than the deadline.
    #[error("busy")]
    Busy,
    /// Too many holders do not answer.
    #[error("unavailable")]
    Unavailable,
    /// No group takes a put: too many disks are full, or take no writes.
    #[error("no room")]
    NoRoom,
    /// More is gone than the codec survives.
    #[error("lost")]
    Lost,
    /// What was read is not what was put, as the client itself has seen.
    #[error("corrupt")]
    Corrupt,
    /// It is not there, although it was put and not deleted.
    #[error("not found")]
    Gone,
    /// A delete that too few holders have noted.
    #[error("delete unfinished")]
    Unfinished,
    /// It was asked in a way that can't be: a bug of the load, or another cluster's object.
    #[error("refused")]
    Refused,
}

impl Trouble {
    /// Whether a promise was broken: what was acknowledged is not there as it was put.
    pub fn is_broken_promise(self) -> bool {
        matches!(self, Trouble::Lost | Trouble::Corrupt | Trouble::Gone)
    }
}

/// A place for objects: a client of a cluster, or a model of one.
pub trait Objects {
    /// How reads choose among the disks that could serve them.
    type Policy: Clone + fmt::Display + 'static;

    /// Keeps an object. It is durable once this returns.
    fn put(&self, object: ObjectId, bytes: Bytes) -> impl Future<Output = Result<(), Trouble>>;

    /// The bytes of a range of an object that was put.
    fn get(
        &self,
        object: ObjectId,
        range: Range<u64>,
        policy: &Self::Policy,
    ) -> impl Future<Output = Result<Vec<u8>, Trouble>>;

    /// Deletes an object. If that fails, it may be asked again.
    fn delete(&self, object: ObjectId) -> impl Future<Output = Result<(), Trouble>>;

    /// The bytes of an object of this length that lie in one cell with this one.
    fn cell(&self, len_bytes: u64, at: u64) -> Range<u64>;
}
