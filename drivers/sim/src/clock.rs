//! Time that stands still until somebody turns it.

use std::cell::Cell;
use std::rc::Rc;

use isotherm_seam::{Clock, Mono, Nanos, Wall};

/// Calendar time at the start of a simulation: 2001-09-09T01:46:40Z, a round 10^9 seconds.
const WALL_AT_START_NS: i64 = 1_000_000_000 * 1_000_000_000;

/// A clock turned by hand. Clones are handles to the same clock.
#[derive(Clone, Debug)]
pub struct SimClock {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    now: Cell<Mono>,
    wall_offset_ns: Cell<i64>,
}

impl SimClock {
    /// A clock at [`Mono::ZERO`].
    #[must_use]
    pub fn new() -> SimClock {
        let wall_offset_ns = Cell::new(WALL_AT_START_NS);
        SimClock { shared: Rc::new(Shared { now: Cell::new(Mono::ZERO), wall_offset_ns }) }
    }

    /// Turns it forward by a length of time.
    pub fn advance(&self, by: Nanos) {
        self.advance_to(self.mono() + by);
    }

    /// Turns it forward to `at`. It never goes back: a time that has passed changes nothing.
    pub fn advance_to(&self, at: Mono) {
        self.shared.now.set(self.mono().max(at));
    }

    /// Makes the calendar jump, either way. Monotonic time does not notice.
    pub fn step_wall(&self, by_ns: i64) {
        self.shared.wall_offset_ns.set(self.shared.wall_offset_ns.get().saturating_add(by_ns));
    }
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock::new()
    }
}

impl Clock for SimClock {
    #[inline]
    fn mono(&self) -> Mono {
        self.shared.now.get()
    }

    fn wall(&self) -> Wall {
        let since_start = i64::try_from(self.mono().0).unwrap_or(i64::MAX);
        Wall(self.shared.wall_offset_ns.get().saturating_add(since_start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_share_the_time_and_it_never_goes_back() {
        let clock = SimClock::new();
        let other = clock.clone();
        clock.advance(Nanos(70));
        other.advance_to(Mono(50));
        assert_eq!((clock.mono(), other.mono()), (Mono(70), Mono(70)));
    }

    #[test]
    fn the_calendar_jumps_alone() {
        let clock = SimClock::new();
        let before = clock.wall();
        clock.advance(Nanos(5));
        clock.step_wall(-1_000);
        assert_eq!(clock.wall().0 - before.0, 5 - 1_000);
        assert_eq!(clock.mono(), Mono(5));
    }
}
