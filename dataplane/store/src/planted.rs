//! Deliberate bugs, for the suite that must find each of them.
//!
//! What must always hold: without the feature `planted` none can be switched on, and the
//! questions below are the constant `false`.

/// A mistake that others made, or that this design makes tempting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bug {
    /// Acknowledges when the write completes, without a flush.
    MissingFlush,
    /// Acknowledges before the batch's commit mark is written.
    AckBeforeMark,
    /// Points the index at a record before the record is durable.
    IndexBeforeData,
    /// Resets an extent before what was moved out of it is durable.
    ResetBeforeRelocation,
    /// Takes records of a torn tail for committed ones, without their checksums.
    TornTail,
    /// Stops reading an extent at a sector that can't be read.
    StopAtMediaError,
    /// Lets puts into the cleaner's reserve.
    ReserveIgnored,
    /// Does not compare the incarnation of a block.
    StaleIncarnation,
    /// Does not check the payload of a range.
    RangeUnchecked,
    /// Drops what the cleaner can't read at the first try.
    CleanerDrops,
    /// Drops a tombstone while what it kills is still on the disk.
    TombstoneEarly,
    /// Opens an extent again under its old incarnation.
    NoNewIncarnation,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 12] = [
        Bug::MissingFlush,
        Bug::AckBeforeMark,
        Bug::IndexBeforeData,
        Bug::ResetBeforeRelocation,
        Bug::TornTail,
        Bug::StopAtMediaError,
        Bug::ReserveIgnored,
        Bug::StaleIncarnation,
        Bug::RangeUnchecked,
        Bug::CleanerDrops,
        Bug::TombstoneEarly,
        Bug::NoNewIncarnation,
    ];
}

/// The bug of this store, if the feature is on and one was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Planted {
    /// A store with this bug.
    #[cfg(feature = "planted")]
    pub fn new(bug: Bug) -> Planted {
        Planted { bug: Some(bug) }
    }

    /// Whether it has this bug.
    #[inline]
    pub(crate) fn has(self, bug: Bug) -> bool {
        #[cfg(feature = "planted")]
        return self.bug == Some(bug);
        #[cfg(not(feature = "planted"))]
        {
            let _ = bug;
            false
        }
    }
}
