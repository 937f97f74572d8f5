//! The end of a sleep, kept in the kernel from one sleep to the next.
//!
//! A limit given with each sleep costs the kernel a timer set and cleared each time: some 7 % of
//! an I/O at depth 1 on a loop device. Most sleeps end at the same far time (the next timer of
//! the core, the end of a run), so that is armed once, as a request of the ring's own.
//!
//! What must always hold: a sleep ends at its limit. It may end earlier, when an alarm rings that
//! was armed for a limit that has since moved.

use isotherm_seam::{Mono, Nanos};

/// A limit nearer than this goes with the sleep: it will hardly be there for a second one.
const WORTH_ARMING: Nanos = Nanos::from_millis(5);

/// The one alarm of a ring.
#[derive(Default)]
pub(crate) struct Alarm {
    /// When it rings, on the caller's clock.
    at: Option<Mono>,
}

impl Alarm {
    /// The limit that a sleep from `now` until `until` must bring along itself. `arm` sets an
    /// alarm in the kernel, and may fail to.
    #[inline]
    pub(crate) fn limit(
        &mut self,
        now: Mono,
        until: Option<Mono>,
        arm: impl FnOnce(Nanos) -> bool,
    ) -> Option<Nanos> {
        let until = until?;
        let left = until.since(now);
        match self.at {
            Some(at) if at <= until => None,
            Some(_) => Some(left),
            None if left >= WORTH_ARMING && arm(left) => {
                self.at = Some(until);
                None
            }
            None => Some(left),
        }
    }

    /// It rang.
    pub(crate) fn rang(&mut self) {
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_far_end_is_armed_once_and_a_near_one_goes_with_the_sleep() {
        let mut alarm = Alarm::default();
        let mut armed = Vec::new();
        let mut limit = |alarm: &mut Alarm, now: u64, until: Option<u64>| {
            alarm.limit(Mono(now * MS), until.map(|ms| Mono(ms * MS)), |after| {
                armed.push(after.0 / MS);
                true
            })
        };
        assert_eq!(limit(&mut alarm, 0, None), None);
        assert_eq!(limit(&mut alarm, 0, Some(1)), Some(Nanos::from_millis(1)));
        assert_eq!(limit(&mut alarm, 0, Some(1000)), None);
        assert_eq!(limit(&mut alarm, 1, Some(1000)), None);
        assert_eq!(limit(&mut alarm, 2, Some(2000)), None, "it will ring early, then again");
        assert_eq!(limit(&mut alarm, 2, Some(999)), Some(Nanos::from_millis(997)));
        alarm.rang();
        assert_eq!(limit(&mut alarm, 1000, Some(2000)), None);
        assert_eq!(armed, [1000, 1000]);
    }

    #[test]
    fn an_alarm_that_can_not_be_armed_leaves_the_limit_to_the_sleep() {
        let mut alarm = Alarm::default();
        let limit = alarm.limit(Mono(0), Some(Mono(100 * MS)), |_| false);
        assert_eq!(limit, Some(Nanos::from_millis(100)));
    }
}
