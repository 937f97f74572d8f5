//! Pauses between requests: fio's `thinktime`.
//!
//! What must always hold: before a pause everything in flight is waited for, as in fio; a pause is
//! counted from there. What is decided here is when nothing may be sent, and until when.

use isotherm_seam::{Due, Mono, Nanos};

/// When a job pauses, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ThinkPlan {
    /// Length of a pause; there are none if it is 0.
    pub pause: Nanos,
    /// So much of it is spent computing, not sleeping.
    pub spin: Nanos,
    /// Pause after so many requests; 1 if neither this nor `io_time` is given.
    pub every: Option<u64>,
    /// Count requests when they are sent, not when they complete.
    pub at_issue: bool,
    /// Pause after so much time of work.
    pub io_time: Option<Nanos>,
}

/// Whether a request may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// It may.
    Open,
    /// Not before then; [`Due::Idle`] if not before something completes.
    Shut(Due),
}

/// The pauses of one lane.
#[derive(Clone, Debug)]
pub struct Think {
    plan: ThinkPlan,
    /// As counted when the last pause was decided.
    counted: u64,
    working_since: Mono,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Working,
    Draining,
    Resting { spin_until: Mono, until: Mono },
}

impl Think {
    /// The pauses of a plan that has some, from `now` on.
    pub fn new(plan: ThinkPlan, now: Mono) -> Option<Think> {
        let some = plan.pause > Nanos::ZERO || plan.spin > Nanos::ZERO;
        some.then_some(Think { plan, counted: 0, working_since: now, state: State::Working })
    }

    /// Whether a request may be sent now, after so many sent and completed, with so many in
    /// flight.
    pub fn gate(&mut self, now: Mono, sent: u64, completed: u64, inflight: u32) -> Gate {
        let count = if self.plan.at_issue { sent } else { completed };
        loop {
            match self.state {
                State::Working => {
                    if !self.is_time(now, count) {
                        return Gate::Open;
                    }
                    self.state = State::Draining;
                }
                State::Draining => {
                    if inflight > 0 {
                        return Gate::Shut(Due::Idle);
                    }
                    let spin_until = now + self.plan.spin;
                    let until = now + self.plan.pause.max(self.plan.spin);
                    self.state = State::Resting { spin_until, until };
                }
                State::Resting { spin_until, until } => {
                    if now < spin_until {
                        return Gate::Shut(Due::Now);
                    }
                    if now < until {
                        return Gate::Shut(Due::At(until));
                    }
                    self.state = State::Working;
                    self.counted = count;
                    self.working_since = now;
                    return Gate::Open;
                }
            }
        }
    }

    fn is_time(&self, now: Mono, count: u64) -> bool {
        let worked = now.since(self.working_since);
        let by_time = self.plan.io_time.is_some_and(|time| worked >= time);
        // As in fio: with a time of work and no number, only the time counts.
        let every = match self.plan.every {
            None if self.plan.io_time.is_some() => return by_time,
            every => every.unwrap_or(1),
        };
        by_time || count >= self.counted + every.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> ThinkPlan {
        ThinkPlan { pause: Nanos(100), ..ThinkPlan::default() }
    }

    #[test]
    fn it_pauses_after_each_request_once_all_have_come_back() {
        let mut think = Think::new(plan(), Mono(0)).unwrap();
        assert_eq!(think.gate(Mono(0), 0, 0, 0), Gate::Open);
        assert_eq!(think.gate(Mono(1), 3, 0, 3), Gate::Open, "none has completed");
        assert_eq!(think.gate(Mono(5), 3, 1, 2), Gate::Shut(Due::Idle));
        assert_eq!(think.gate(Mono(10), 3, 3, 0), Gate::Shut(Due::At(Mono(110))));
        assert_eq!(think.gate(Mono(109), 3, 3, 0), Gate::Shut(Due::At(Mono(110))));
        assert_eq!(think.gate(Mono(110), 3, 3, 0), Gate::Open);
        assert_eq!(think.gate(Mono(111), 4, 3, 1), Gate::Open);
        assert_eq!(think.gate(Mono(120), 4, 4, 0), Gate::Shut(Due::At(Mono(220))));
    }

    #[test]
    fn counting_at_issue_and_spinning() {
        let plan = ThinkPlan { every: Some(2), at_issue: true, spin: Nanos(40), ..plan() };
        let mut think = Think::new(plan, Mono(0)).unwrap();
        assert_eq!(think.gate(Mono(0), 1, 0, 1), Gate::Open);
        assert_eq!(think.gate(Mono(0), 2, 0, 2), Gate::Shut(Due::Idle));
        assert_eq!(think.gate(Mono(10), 2, 2, 0), Gate::Shut(Due::Now));
        assert_eq!(think.gate(Mono(50), 2, 2, 0), Gate::Shut(Due::At(Mono(110))));
        assert!(Think::new(ThinkPlan::default(), Mono(0)).is_none());
    }

    #[test]
    fn a_time_of_work_alone_or_with_a_number() {
        let timed = ThinkPlan { io_time: Some(Nanos(50)), ..plan() };
        let mut think = Think::new(timed, Mono(0)).unwrap();
        assert_eq!(think.gate(Mono(49), 9, 9, 0), Gate::Open);
        assert_eq!(think.gate(Mono(50), 9, 9, 0), Gate::Shut(Due::At(Mono(150))));
        assert_eq!(think.gate(Mono(150), 9, 9, 0), Gate::Open);
        assert_eq!(think.gate(Mono(199), 99, 99, 0), Gate::Open);
        let both = ThinkPlan { every: Some(5), ..timed };
        let mut think = Think::new(both, Mono(0)).unwrap();
        assert_eq!(think.gate(Mono(1), 4, 4, 0), Gate::Open);
        assert_eq!(think.gate(Mono(2), 5, 5, 0), Gate::Shut(Due::At(Mono(102))));
    }
}
