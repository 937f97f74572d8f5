//! Deliberate bugs, for the simulator that must find each of them.
//!
//! What must always hold: without the feature `planted` none can be switched on, and the
//! questions below are the constant `false`.

/// A mistake that others made, or that this design makes tempting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Bug {
    /// Answers a put that its store has taken and not made durable.
    AckBeforeDurable,
    /// Never gives the buffer of an answer back that nobody waits for any more.
    BufferLeaked,
    /// Counts a request that fails as under way for ever.
    FailureUncounted,
    /// Counts a reservation that its caller drops as held for ever.
    ReservationKept,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 4] =
        [Bug::AckBeforeDurable, Bug::BufferLeaked, Bug::FailureUncounted, Bug::ReservationKept];
}

/// The bug of this node, if the feature is on and one was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Planted {
    #[cfg(feature = "planted")]
    bug: Option<Bug>,
}

impl Planted {
    /// A node with this bug.
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
