//! Cuts a failing plan down to what it needs to fail.

use isotherm_store::Planted;

use super::plan::{Op, Plan, What};
use super::run::{Failure, run};

/// Runs that cutting down may cost.
const RUNS_MAX: u32 = 600;

/// The smallest plan found that fails, and how.
pub fn shrink(plan: &Plan, failure: Failure, planted: Planted) -> (Plan, Failure) {
    let mut shrinker = Shrinker { best: plan.clone(), failure, planted, runs: 0 };
    loop {
        let before = shrinker.runs;
        let size = shrinker.size();
        shrinker.steps();
        shrinker.parts();
        if shrinker.size() == size || shrinker.runs >= RUNS_MAX || shrinker.runs == before {
            return (shrinker.best, shrinker.failure);
        }
    }
}

struct Shrinker {
    best: Plan,
    failure: Failure,
    planted: Planted,
    runs: u32,
}

impl Shrinker {
    fn size(&self) -> (usize, usize) {
        (self.best.ops(), format!("{:?}", self.best.steps).len())
    }

    fn takes(&mut self, candidate: Plan) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        match run(&candidate, self.planted) {
            // Another failure is another story.
            Err(failure) if failure.kind() == self.failure.kind() => {
                self.best = candidate;
                self.failure = failure;
                true
            }
            _ => false,
        }
    }

    /// Takes out runs of steps, long ones first (delta debugging).
    fn steps(&mut self) {
        let mut length = self.best.steps.len().div_ceil(2);
        while length > 0 {
            let mut at = 0;
            while at < self.best.steps.len() {
                let mut candidate = self.best.clone();
                let end = (at + length).min(candidate.steps.len());
                candidate.steps.drain(at..end);
                if !self.takes(candidate) {
                    at += length;
                }
            }
            length /= 2;
        }
    }

    /// Takes out what steps can do without.
    fn parts(&mut self) {
        let mut at = 0;
        while at < self.best.steps.len() {
            for candidate in simpler(&self.best.steps[at].what) {
                let mut plan = self.best.clone();
                plan.steps[at].what = candidate;
                self.takes(plan);
            }
            at += 1;
        }
    }
}

/// Simpler forms of a step.
fn simpler(what: &What) -> Vec<What> {
    let mut out = Vec::new();
    match what {
        What::Run { ops, cut } => {
            for at in 0..ops.len() {
                if ops.len() > 1 {
                    let mut fewer = ops.clone();
                    fewer.remove(at);
                    out.push(What::Run { ops: fewer, cut: cut.clone() });
                }
                if let Op::Put { len, .. } = ops[at] {
                    for smaller in [0, 1, 100, len / 2] {
                        let mut ops = ops.clone();
                        if let Op::Put { len: own, .. } = &mut ops[at]
                            && smaller < len
                        {
                            *own = smaller;
                            out.push(What::Run { ops, cut: cut.clone() });
                        }
                    }
                }
            }
            if let Some(cut) = cut {
                out.push(What::Run { ops: ops.clone(), cut: None });
                let mut plain = cut.clone();
                plain.start.again.clear();
                out.push(What::Run { ops: ops.clone(), cut: Some(plain) });
                let mut plain = cut.clone();
                plain.start.full_scan = false;
                out.push(What::Run { ops: ops.clone(), cut: Some(plain) });
            }
        }
        What::Restart { start } => {
            let mut plain = start.clone();
            plain.again.clear();
            out.push(What::Restart { start: plain });
        }
        What::Harm(_) => {}
    }
    out
}
