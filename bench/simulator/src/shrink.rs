//! A plan that fails is cut down to what it needs to fail.
//!
//! What must always hold: what is left fails by the same rule, and is fair if the plan was: a plan
//! that harms too much always fails, and says nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::Failure;
use crate::plan::{Plan, What};
use crate::run::{Report, RunOptions, run};

/// Carries a plan out; a panic counts as a failure of the rule "panic".
#[must_use]
pub fn run_safely(plan: &Plan, options: &RunOptions) -> Report {
    match catch_unwind(AssertUnwindSafe(|| run(plan, options))) {
        Ok(report) => report,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = text.unwrap_or_else(|| "without a word".into());
            Report { failures: vec![Failure { rule: "panic", what }], ..Report::default() }
        }
    }
}

/// The smallest plan found that fails by the same rule, after at most so many runs.
#[must_use]
pub fn shrink(plan: &Plan, options: &RunOptions, rule: &str, runs_max: u32) -> Plan {
    let mut shrinker = Shrinker { best: plan.clone(), options, rule, runs: 0, runs_max };
    loop {
        let size = shrinker.best.actions.len();
        shrinker.actions(|what| what.is_fault());
        shrinker.actions(|_| true);
        shrinker.parts();
        if shrinker.best.actions.len() == size || shrinker.runs >= runs_max {
            return shrinker.best;
        }
    }
}

struct Shrinker<'a> {
    best: Plan,
    options: &'a RunOptions,
    rule: &'a str,
    runs: u32,
    runs_max: u32,
}

impl Shrinker<'_> {
    fn takes(&mut self, candidate: Plan) -> bool {
        if self.runs >= self.runs_max || !candidate.is_fair() && self.best.is_fair() {
            return false;
        }
        self.runs += 1;
        let report = run_safely(&candidate, self.options);
        let is_same = report.failures.first().is_some_and(|failure| failure.rule == self.rule);
        if is_same {
            self.best = candidate;
        }
        is_same
    }

    /// Takes out runs of actions of a kind, long ones first (delta debugging).
    fn actions(&mut self, is_of_kind: fn(&What) -> bool) {
        let kind = |plan: &Plan| -> Vec<usize> {
            let all = plan.actions.iter().enumerate();
            all.filter(|(_, action)| is_of_kind(&action.what)).map(|(at, _)| at).collect()
        };
        let mut length = kind(&self.best).len();
        while length > 0 {
            let mut end = kind(&self.best).len();
            // From the end: what comes after the failure goes first.
            while end > 0 {
                let start = end.saturating_sub(length);
                let gone = kind(&self.best)[start..end].to_vec();
                let mut candidate = self.best.clone();
                let mut at = 0;
                candidate.actions.retain(|_| {
                    at += 1;
                    gone.binary_search(&(at - 1)).is_err()
                });
                self.takes(candidate);
                end = start;
            }
            length /= 2;
        }
    }

    /// Makes the cluster and the objects smaller.
    fn parts(&mut self) {
        for edit in [
            (|plan: &mut Plan| plan.setup.jitter_us = 5) as fn(&mut Plan),
            |plan| plan.setup.delay_us = 25,
            |plan| plan.setup.groups = 1,
        ] {
            let mut candidate = self.best.clone();
            edit(&mut candidate);
            if candidate != self.best {
                self.takes(candidate);
            }
        }
        for at in 0..self.best.actions.len() {
            if let What::Put { len, .. } = self.best.actions[at].what
                && len > 1
            {
                let mut candidate = self.best.clone();
                if let What::Put { len, .. } = &mut candidate.actions[at].what {
                    *len = 1;
                }
                self.takes(candidate);
            }
        }
    }
}
