//! Whether to sleep: a decision from plain data.
//!
//! What must always hold: a core that shares its processor never spins, and a core that spins
//! stops soon after what it waited for should have come. So an idle core burns nothing.

use isotherm_seam::{Due, Mono, Nanos};

/// What a core does that has nothing to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rest {
    /// Take another turn: there is something.
    Turn,
    /// Take another turn: there will be something within moments.
    Spin,
    /// Sleep, until this time at most.
    Park(Option<Mono>),
}

/// Learns from recent waits how long the next one will be.
#[derive(Debug)]
pub(crate) struct Idle {
    exclusive: bool,
    spin_max: Nanos,
    /// Average of recent waits for an event; the latest counts one eighth.
    typical: Nanos,
    /// Since when the core has waited for an event.
    since: Option<Mono>,
}

impl Idle {
    pub(crate) fn new(exclusive: bool, spin_max: Nanos) -> Idle {
        // At first it hopes for the best: a few spins tell.
        Idle { exclusive, spin_max, typical: Nanos(spin_max.0 / 2), since: None }
    }

    /// What to do, given when the disks and the timers next have something.
    pub(crate) fn rest(&mut self, now: Mono, disks: Due, timer: Option<Mono>) -> Rest {
        let until = match (disks, timer) {
            (Due::Now, _) => return Rest::Turn,
            (Due::At(at), Some(timer)) => Some(at.min(timer)),
            (Due::At(at), None) => Some(at),
            (Due::Event | Due::Idle, timer) => timer,
        };
        if until.is_some_and(|until| until <= now) {
            return Rest::Turn;
        }
        // A time that lies ahead covers events: a network has timers for days and answers within
        // microseconds.
        if disks != Due::Idle {
            self.since.get_or_insert(now);
        }
        if self.exclusive && self.is_near(now, disks, until) {
            Rest::Spin
        } else {
            Rest::Park(until)
        }
    }

    fn is_near(&self, now: Mono, disks: Due, until: Option<Mono>) -> bool {
        if until.is_some_and(|until| until.since(now) <= self.spin_max) {
            return true;
        }
        let Some(since) = self.since else { return false };
        // Twice the typical wait: most waits are over by then, and if this one is not, nothing
        // is known about when it will be.
        disks != Due::Idle
            && self.typical <= self.spin_max
            && now.since(since).0 <= 2 * self.typical.0.max(500)
    }

    /// Something completed: the wait is over.
    pub(crate) fn completed(&mut self, now: Mono) {
        if let Some(since) = self.since.take() {
            // One long wait says that this one was long, not that the next eight will be.
            let wait = now.since(since).0.min(4 * self.spin_max.0);
            self.typical = Nanos(self.typical.0 - self.typical.0 / 8 + wait / 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPIN_MAX: Nanos = Nanos::from_micros(20);

    fn after_waits(exclusive: bool, wait_ns: u64) -> Idle {
        let mut idle = Idle::new(exclusive, SPIN_MAX);
        for round in 0..50 {
            let start = Mono(1_000_000 * round);
            idle.rest(start, Due::Event, None);
            idle.completed(start + Nanos(wait_ns));
        }
        idle
    }

    const LATER: Mono = Mono(1_000_000_000);

    #[test]
    fn what_is_due_is_done() {
        let mut idle = Idle::new(false, SPIN_MAX);
        assert_eq!(idle.rest(Mono(5), Due::Now, None), Rest::Turn);
        assert_eq!(idle.rest(Mono(5), Due::At(Mono(5)), None), Rest::Turn);
        assert_eq!(idle.rest(Mono(5), Due::Idle, Some(Mono(4))), Rest::Turn);
    }

    #[test]
    fn it_sleeps_until_the_earliest() {
        let mut idle = Idle::new(false, SPIN_MAX);
        let far = Mono(90_000_000);
        assert_eq!(idle.rest(Mono(5), Due::Idle, None), Rest::Park(None));
        assert_eq!(idle.rest(Mono(5), Due::At(far), None), Rest::Park(Some(far)));
        let timer = Some(Mono(80_000_000));
        assert_eq!(idle.rest(Mono(5), Due::At(far), timer), Rest::Park(timer));
    }

    #[test]
    fn a_core_of_its_own_spins_while_the_end_is_near() {
        let mut quick = after_waits(true, 5_000);
        assert_eq!(quick.rest(LATER, Due::Event, None), Rest::Spin);
        assert_eq!(quick.rest(LATER + Nanos(9_000), Due::Event, None), Rest::Spin);
        assert_eq!(quick.rest(LATER + Nanos(30_000), Due::Event, None), Rest::Park(None));
        let near = LATER + Nanos(40_000);
        assert_eq!(quick.rest(near, Due::At(near + Nanos(9_000)), None), Rest::Spin);
    }

    #[test]
    fn a_far_timer_of_a_network_does_not_keep_it_from_spinning_for_an_answer() {
        let far = Due::At(LATER + Nanos::from_secs(3));
        let mut quick = after_waits(true, 5_000);
        assert_eq!(quick.rest(LATER, far, None), Rest::Spin);
        let until = Some(LATER + Nanos::from_secs(3));
        assert_eq!(quick.rest(LATER + Nanos(30_000), far, None), Rest::Park(until));
        let mut slow = after_waits(true, 8_000_000);
        assert_eq!(slow.rest(LATER, far, None), Rest::Park(until));
    }

    #[test]
    fn it_does_not_spin_for_a_mechanical_disk() {
        let mut slow = after_waits(true, 8_000_000);
        assert_eq!(slow.rest(LATER, Due::Event, None), Rest::Park(None));
    }

    #[test]
    fn it_learns_that_waits_have_become_short_and_long_again() {
        let mut idle = after_waits(true, 8_000_000);
        let mut wait_for = |wait_ns: u64, times: u64| {
            for round in 0..times {
                let start = LATER + Nanos(round * 1_000_000);
                idle.rest(start, Due::Event, None);
                idle.completed(start + Nanos(wait_ns));
            }
            idle.rest(LATER + Nanos(times * 1_000_000), Due::Event, None)
        };
        assert_eq!(wait_for(3_000, 30), Rest::Spin);
        assert_eq!(wait_for(8_000_000, 10), Rest::Park(None));
    }

    #[test]
    fn a_shared_core_never_spins() {
        let mut idle = after_waits(false, 100);
        assert_eq!(idle.rest(LATER, Due::Event, None), Rest::Park(None));
        let soon = LATER + Nanos(1);
        assert_eq!(idle.rest(LATER, Due::At(soon), None), Rest::Park(Some(soon)));
    }
}
