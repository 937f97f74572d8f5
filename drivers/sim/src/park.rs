//! Sleep in virtual time: it turns the clock and returns.
//!
//! One sleeper a clock. Several reactors on one clock are driven by whoever holds them: turn
//! each until none has anything to do, then turn the clock to the earliest time that any of
//! them waits for. A park of one of them would skip over what the others wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use isotherm_seam::{Mono, Park, Unpark};

use crate::SimClock;

/// Never sleeps: turns its clock to the time it was to sleep until.
pub struct SimPark {
    clock: SimClock,
    token: Arc<Token>,
}

struct Token(AtomicBool);

impl SimPark {
    /// Sleep on this clock.
    #[must_use]
    pub fn new(clock: SimClock) -> SimPark {
        SimPark { clock, token: Arc::new(Token(AtomicBool::new(false))) }
    }
}

impl Park for SimPark {
    /// Turns the clock to `until`, or returns at once if it was unparked before.
    ///
    /// Panics where there is nothing to wait for: in virtual time nothing happens meanwhile, so
    /// that sleep would never end. It is a deadlock of the program above.
    fn park(&mut self, _now: Mono, until: Option<Mono>) {
        if self.token.0.swap(false, Ordering::Acquire) {
            return;
        }
        let until = until.expect("asleep for ever: no timer, no I/O and no message is due");
        self.clock.advance_to(until);
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.token.clone()
    }
}

impl Unpark for Token {
    fn unpark(&self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::Clock;

    use super::*;

    #[test]
    fn park_turns_the_clock() {
        let clock = SimClock::new();
        SimPark::new(clock.clone()).park(Mono::ZERO, Some(Mono(9)));
        assert_eq!(clock.mono(), Mono(9));
    }

    #[test]
    fn an_unpark_before_the_sleep_counts_once() {
        let clock = SimClock::new();
        let mut park = SimPark::new(clock.clone());
        park.unparker().unpark();
        park.park(Mono::ZERO, Some(Mono(9)));
        assert_eq!(clock.mono(), Mono::ZERO);
        park.park(Mono::ZERO, Some(Mono(9)));
        assert_eq!(clock.mono(), Mono(9));
    }

    #[test]
    #[should_panic(expected = "asleep for ever")]
    fn a_sleep_without_end_is_a_deadlock() {
        SimPark::new(SimClock::new()).park(Mono::ZERO, None);
    }
}
