//! What the lanes of a run know of each other: who still runs, whose end ends others, who is
//! ahead, and whether a group has become steady.
//!
//! What must always hold: nothing here is touched per request but the counters of a flow, and
//! those only by jobs that take part in one. All of it is looked at ten times a second, so what
//! one lane does to others takes up to a tenth of a second.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use isotherm_workload::{ExitPlan, ExitScope, Steady, SteadyPlan};

/// The lanes of a run, as each of them sees the others.
#[derive(Debug, Default)]
pub(crate) struct Company {
    /// Lanes that have not ended, by job.
    live: Vec<AtomicU32>,
    /// By group of results: its lanes are to end.
    groups: Vec<AtomicBool>,
    /// All that run now are to end.
    running: AtomicBool,
    /// No phase follows.
    all: AtomicBool,
    flows: BTreeMap<u32, Flow>,
    steady: BTreeMap<SteadyKey, Mutex<SteadyGroup>>,
}

/// Who is judged together: a group of results, or one lane by its rank.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum SteadyKey {
    Group(u32),
    Lane(u64),
}

/// The requests of all who share a flow.
#[derive(Debug, Default)]
struct Flow {
    sent: AtomicU64,
    weight: AtomicU64,
}

#[derive(Debug)]
struct SteadyGroup {
    steady: Steady,
    /// Lanes that still tell.
    members: u32,
    /// How many told of each second that is not judged yet, and the sums of what they told.
    seconds: BTreeMap<u64, (u32, f64, f64)>,
}

impl Company {
    /// Of so many jobs, in so many groups.
    pub(crate) fn new(jobs: usize, groups: usize) -> Company {
        Company {
            live: (0..jobs).map(|_| AtomicU32::new(0)).collect(),
            groups: (0..groups).map(|_| AtomicBool::new(false)).collect(),
            ..Company::default()
        }
    }

    /// A lane of this job is to run.
    pub(crate) fn expect(&mut self, job: usize, flow: Option<u32>) {
        *self.live[job].get_mut() += 1;
        if let Some(id) = flow {
            self.flows.entry(id).or_default();
        }
    }

    /// A lane is to tell how it goes under this key.
    pub(crate) fn expect_steady(&mut self, key: SteadyKey, plan: SteadyPlan) {
        let group =
            || SteadyGroup { steady: Steady::new(plan), members: 0, seconds: BTreeMap::new() };
        let group = self.steady.entry(key).or_insert_with(|| Mutex::new(group()));
        group.get_mut().unwrap_or_else(PoisonError::into_inner).members += 1;
    }

    /// Lanes of this job that have not ended.
    pub(crate) fn live(&self, job: usize) -> u32 {
        self.live[job].load(Ordering::Acquire)
    }

    /// A lane has ended.
    pub(crate) fn ended(&self, job: usize, group: u32, exit: &ExitPlan, failed: bool) {
        self.live[job].fetch_sub(1, Ordering::AcqRel);
        if !(exit.with_others || exit.on_error && failed) {
            return;
        }
        match exit.scope {
            ExitScope::Group => self.groups[group as usize].store(true, Ordering::Release),
            ExitScope::Running => self.running.store(true, Ordering::Release),
            ExitScope::All => {
                self.running.store(true, Ordering::Release);
                self.all.store(true, Ordering::Release);
            }
        }
    }

    /// Whether the lanes of this group are to end.
    pub(crate) fn is_over(&self, group: u32) -> bool {
        self.running.load(Ordering::Acquire) || self.groups[group as usize].load(Ordering::Acquire)
    }

    /// Whether a phase follows; what has ended the lanes of the last does not end those of the
    /// next.
    pub(crate) fn next_phase(&self) -> bool {
        self.running.store(false, Ordering::Release);
        !self.all.load(Ordering::Acquire)
    }

    /// A lane takes part in a flow, with this weight.
    pub(crate) fn join_flow(&self, id: u32, weight: u32) {
        self.flows[&id].weight.fetch_add(u64::from(weight), Ordering::AcqRel);
    }

    /// It has ended, after so many requests.
    pub(crate) fn leave_flow(&self, id: u32, weight: u32, sent: u64) {
        let flow = &self.flows[&id];
        flow.weight.fetch_sub(u64::from(weight), Ordering::AcqRel);
        flow.sent.fetch_sub(sent, Ordering::AcqRel);
    }

    /// Whether a lane of this weight, that has sent so many, may send one more: it may as long as
    /// its part of the requests is no more than its part of the weights.
    #[inline]
    pub(crate) fn may_flow(&self, id: u32, weight: u32, sent: u64) -> bool {
        let flow = &self.flows[&id];
        let all = u128::from(flow.sent.load(Ordering::Relaxed));
        let weights = u128::from(flow.weight.load(Ordering::Relaxed));
        u128::from(sent) * weights <= all * u128::from(weight)
    }

    /// A request of a flow was sent.
    #[inline]
    pub(crate) fn flowed(&self, id: u32) {
        self.flows[&id].sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A lane did so much in its `second`-th second. Tells whether its group is steady.
    pub(crate) fn tell_steady(&self, key: SteadyKey, second: u64, iops: f64, bytes: f64) -> bool {
        self.with_steady(key, |group| {
            let (told, sum_iops, sum_bytes) = group.seconds.entry(second).or_default();
            *told += 1;
            *sum_iops += iops;
            *sum_bytes += bytes;
            group.judge()
        })
    }

    /// Whether the lanes under this key are steady.
    pub(crate) fn is_steady(&self, key: SteadyKey) -> bool {
        self.with_steady(key, |group| group.steady.attained())
    }

    /// A lane tells no more.
    pub(crate) fn leave_steady(&self, key: SteadyKey) {
        self.with_steady(key, |group| {
            group.members -= 1;
            group.judge();
        });
    }

    /// What there is to say of the lanes under this key.
    pub(crate) fn steady(&self, key: SteadyKey) -> Steady {
        self.with_steady(key, |group| group.steady.clone())
    }

    fn with_steady<T>(&self, key: SteadyKey, act: impl FnOnce(&mut SteadyGroup) -> T) -> T {
        act(&mut self.steady[&key].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SteadyGroup {
    /// Judges the seconds that all have told of, in order. Once steady it stays so.
    fn judge(&mut self) -> bool {
        while let Some(entry) = self.seconds.first_entry() {
            let (told, iops, bytes) = *entry.get();
            if told < self.members || self.steady.attained() {
                break;
            }
            entry.remove();
            self.steady.push(iops, bytes);
        }
        self.steady.attained()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_seam::Nanos;
    use isotherm_workload::Measure;

    #[test]
    fn the_end_of_one_ends_those_that_it_should() {
        let mut company = Company::new(2, 2);
        (0..2).for_each(|_| company.expect(0, None));
        let exit = |scope| ExitPlan { with_others: true, on_error: false, scope };
        company.ended(0, 0, &ExitPlan::default(), true);
        assert!(!company.is_over(0) && company.live(0) == 1);
        company.ended(0, 0, &exit(ExitScope::Group), false);
        assert!(company.is_over(0) && !company.is_over(1) && company.live(0) == 0);
        company.expect(1, None);
        company.ended(1, 1, &exit(ExitScope::Running), false);
        assert!(company.is_over(1));
        assert!(company.next_phase() && !company.is_over(1));
        company.expect(1, None);
        let on_error = ExitPlan { on_error: true, ..exit(ExitScope::All) };
        company.ended(1, 1, &ExitPlan { with_others: false, ..on_error }, true);
        assert!(company.is_over(1) && !company.next_phase());
    }

    #[test]
    fn a_flow_keeps_the_shares() {
        let mut company = Company::new(1, 1);
        company.expect(0, Some(7));
        company.join_flow(7, 1);
        company.join_flow(7, 3);
        let mut sent = [0u64; 2];
        for step in 0..4_000 {
            let lane = step % 2;
            let weight = [1, 3][lane];
            if company.may_flow(7, weight, sent[lane]) {
                sent[lane] += 1;
                company.flowed(7);
            }
        }
        assert!(sent[1].abs_diff(3 * sent[0]) <= 6, "{sent:?}");
        company.leave_flow(7, 3, sent[1]);
        assert!(company.may_flow(7, 1, sent[0]), "who is left alone may go on");
    }

    #[test]
    fn a_group_is_judged_when_all_have_told() {
        let mut company = Company::new(1, 1);
        let plan = SteadyPlan {
            measure: Measure::Iops,
            slope: false,
            limit: 10.0,
            percent: true,
            duration: Nanos::from_secs(2),
            ramp: Nanos::ZERO,
        };
        let key = SteadyKey::Group(0);
        (0..2).for_each(|_| company.expect_steady(key, plan));
        assert!(!company.tell_steady(key, 0, 10.0, 40.0));
        assert!(!company.tell_steady(key, 1, 190.0, 760.0), "the other is behind");
        assert!(!company.tell_steady(key, 0, 190.0, 760.0), "one second is not two");
        assert!(company.tell_steady(key, 1, 10.0, 40.0));
        assert_eq!(company.steady(key).iops(), [200.0, 200.0]);
        assert!(company.is_steady(key));
        company.leave_steady(key);
    }
}
