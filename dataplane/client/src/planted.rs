//! Deliberate bugs, for the simulator that must find each of them.
//!
//! What must always hold: without the feature `planted` none can be switched on, and the
//! questions below are the constant `false`.

/// A mistake that others made, or that this design makes tempting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bug {
    /// Acknowledges a put as soon as enough cells are there to read it.
    AckTooFew,
    /// Puts on a group once more that was given up and is being swept.
    GroupAgain,
    /// Acknowledges a delete that one holder too many has not heard of.
    DeleteLeavesOne,
    /// Takes other columns of the helpers than are wanted when it rebuilds a cell.
    WrongColumns,
    /// Believes the first holder of a copy that has none.
    AbsenceBelieved,
    /// Sweeps what a put has left in a group that it was acknowledged in, one cell missing.
    AcknowledgedSwept,
    /// Takes a disk that gives no listing for one that holds nothing.
    SilenceIsNothing,
    /// Goes on behind the object at which a page of a listing ends.
    ListSkips,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 8] = [
        Bug::AckTooFew,
        Bug::GroupAgain,
        Bug::DeleteLeavesOne,
        Bug::WrongColumns,
        Bug::AbsenceBelieved,
        Bug::AcknowledgedSwept,
        Bug::SilenceIsNothing,
        Bug::ListSkips,
    ];
}

/// The bug of this client, if the feature is on and one was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Planted {
    /// A client with this bug.
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
