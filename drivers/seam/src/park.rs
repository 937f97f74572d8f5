//! Sleep as a seam: what a core waits on when it has nothing to do.

use std::sync::Arc;

use crate::{Mono, Nanos};

/// When a device (or a timer) next has something for its core.
///
/// Ordered by urgency, so the due time of a core is the minimum over its parts. A sleeping
/// core wakes on any device event whatever it waits for, so `At` covers `Event`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// Polling again right away will find work.
    Now,
    /// At this time, or earlier if an event comes.
    At(Mono),
    /// When the kernel or another thread says so: [`Park::park`] returns then.
    Event,
    /// Nothing is in flight.
    Idle,
}

/// What a core sleeps on. One per core; never shared.
///
/// Whoever drives devices parks when every one of them says [`Due::Event`], [`Due::Idle`] or a
/// time that lies ahead; it need not have polled since it submitted. A device whose completions
/// come from elsewhere (a ring, a helper thread) makes its core's `park` return.
pub trait Park {
    /// Hands pending submissions to the kernel, then sleeps until a device event, an
    /// [`Unpark::unpark`], or `until`, whichever is first. Returns at once if one of them has
    /// already happened. It may return early without a reason. `now` is the caller's clock.
    fn park(&mut self, now: Mono, until: Option<Mono>);

    /// Like [`Park::park`], for a core that would rather wait a little for several events than
    /// be woken by each: it returns when `events` have come, or when `patience` has passed and
    /// at least one has come. The default does not batch.
    fn park_batch(&mut self, now: Mono, until: Option<Mono>, events: u32, patience: Nanos) {
        let _ = (events, patience);
        self.park(now, until);
    }

    /// A handle by which another thread ends this core's sleep.
    fn unparker(&self) -> Arc<dyn Unpark>;
}

/// Ends the sleep of one core, from any thread.
pub trait Unpark: Send + Sync {
    /// Makes the current or the next [`Park::park`] return. Cheap, but a system call: callers
    /// skip it where they know that the core is awake.
    fn unpark(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_urgent_due_is_the_least() {
        let all = [Due::Now, Due::At(Mono(3)), Due::At(Mono(9)), Due::Event, Due::Idle];
        assert!(all.is_sorted());
        assert_eq!(all.into_iter().rev().min(), Some(Due::Now));
    }
}
