//! How unevenly a schedule asks, before anybody has answered.
//!
//! What must always hold: the numbers are counts of the schedule itself, window by window; beside
//! them stands what the law says of them.
//!
//! ```text
//! deviation of the count of a window over its mean:
//!   constant  0      Poisson  1 / sqrt(mean)
//!   bursty    sqrt( v (1 - c)^2 / N_eff + v c^2 + 1 / mean ),  v = (1 - duty) / duty: 9 for a tenth,
//!             so 3 / sqrt(N_eff) where nothing is common (c = 0) and windows hold many
//! ```
//!
//! Windows are short beside bursts, so neighbours are alike: a run of a minute is a handful of
//! independent moments, and what it counts may lie far from the law. That is what bursts are.

use isotherm_seam::Nanos;

use crate::plan::{ArrivalLaw, Plan};
use crate::schedule::Schedule;
use crate::tenants::Tenants;

/// Operations that come in windows of a schedule.
#[derive(Clone, PartialEq, Debug)]
pub struct Demand {
    /// How long a window is.
    pub window: Nanos,
    /// Operations in each whole window, from the start on.
    pub counts: Vec<u32>,
    /// How many tenants of one size would even out as these do.
    pub effective_tenants: f64,
    /// The deviation over the mean that the law says.
    pub law_deviation: f64,
}

impl Demand {
    /// Counts a plan that was checked.
    pub fn of(plan: &Plan, window: Nanos) -> Demand {
        let windows = (plan.whole().0 / window.0.max(1)) as usize;
        let mut counts = vec![0u32; windows];
        for operation in Schedule::new(plan) {
            if let Some(count) = counts.get_mut((operation.at.0 / window.0) as usize) {
                *count += 1;
            }
        }
        let effective_tenants =
            Tenants::new(plan.tenants, plan.tenant_zipf, plan.objects).effective();
        let noise = 1.0 / (plan.rate_per_s * window.as_secs_f64());
        let law_deviation = match plan.arrivals {
            ArrivalLaw::Constant => 0.0,
            ArrivalLaw::Poisson | ArrivalLaw::Shifting { .. } => noise.sqrt(),
            ArrivalLaw::Bursty { law, common } => {
                let shared = (1.0 - common).powi(2) / effective_tenants + common * common;
                (law.deviation().powi(2) * shared + noise).sqrt()
            }
        };
        Demand { window, counts, effective_tenants, law_deviation }
    }

    /// Operations of a window in the mean.
    pub fn mean(&self) -> f64 {
        self.counts.iter().map(|&count| f64::from(count)).sum::<f64>()
            / self.counts.len().max(1) as f64
    }

    /// The deviation over the mean; 0 where nothing came.
    pub fn deviation(&self) -> f64 {
        let mean = self.mean();
        if mean == 0.0 {
            return 0.0;
        }
        let squares = self.counts.iter().map(|&count| (f64::from(count) - mean).powi(2));
        (squares.sum::<f64>() / self.counts.len() as f64).sqrt() / mean
    }

    /// The count that so many hundredths of the windows do not exceed, over the mean; 0 where
    /// nothing came.
    pub fn percentile_over_mean(&self, percent: f64) -> f64 {
        let mut sorted = self.counts.clone();
        sorted.sort_unstable();
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        let count = sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0);
        let mean = self.mean();
        if mean == 0.0 { 0.0 } else { f64::from(count) / mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::BurstLaw;

    /// The first tenth of a second of many runs: moments that know nothing of each other.
    fn moments(tenants: u32, theta: f64, common: f64, runs: u64) -> Demand {
        let window = Nanos::from_millis(100);
        let plan = |seed| Plan {
            arrivals: ArrivalLaw::Bursty { law: BurstLaw::default(), common },
            tenants,
            tenant_zipf: theta,
            rate_per_s: 5_000.0,
            runtime: window,
            ..Plan::new(seed)
        };
        let counts = (0..runs).flat_map(|seed| Demand::of(&plan(seed), window).counts).collect();
        Demand { counts, ..Demand::of(&plan(0), window) }
    }

    #[test]
    fn bursts_have_the_deviation_of_their_law() {
        // (tenants, exponent, common share, N_eff)
        let cases = [(1, 0.0, 0.0, 1.0), (9, 0.0, 0.0, 9.0), (100, 0.0, 0.0, 100.0)];
        for (tenants, theta, common, effective) in cases {
            let got = moments(tenants, theta, common, 3_000);
            assert!((got.effective_tenants / effective - 1.0).abs() < 1e-9);
            let law = 3.0 / effective.sqrt();
            assert!((got.law_deviation / law - 1.0).abs() < 0.02, "{}", got.law_deviation);
            let deviation = got.deviation();
            assert!((deviation / law - 1.0).abs() < 0.07, "{tenants}: {deviation} for {law}");
        }
        for (tenants, theta, common) in [(40, 0.99, 0.0), (100, 0.0, 0.3), (25, 0.5, 1.0)] {
            let got = moments(tenants, theta, common, 3_000);
            let (deviation, law) = (got.deviation(), got.law_deviation);
            assert!((deviation / law - 1.0).abs() < 0.08, "{tenants}: {deviation} for {law}");
        }
    }

    #[test]
    fn the_worst_moment_of_a_thousand_is_that_of_the_law() {
        // 100 sources, each on with 0.1: 20 at once is what one of a thousand moments exceeds, which
        // is twice the mean; the bell of the same deviation says 1 + 3.09 * 0.3 = 1.93.
        let got = moments(100, 0.0, 0.0, 6_000).percentile_over_mean(99.9);
        assert!((1.85..2.25).contains(&got), "{got}");
        // Alone: on is ten times the mean.
        let got = moments(1, 0.0, 0.0, 3_000).percentile_over_mean(99.9);
        assert!((9.5..12.0).contains(&got), "{got}");
    }

    #[test]
    fn poisson_and_constant_rates_are_even() {
        let of = |arrivals| {
            let plan = Plan {
                arrivals,
                rate_per_s: 400.0,
                runtime: Nanos::from_secs(500),
                ..Plan::new(1)
            };
            Demand::of(&plan, Nanos::from_secs(1))
        };
        let poisson = of(ArrivalLaw::Poisson);
        assert_eq!(poisson.law_deviation, 0.05);
        assert!((poisson.deviation() / 0.05 - 1.0).abs() < 0.12, "{}", poisson.deviation());
        let constant = of(ArrivalLaw::Constant);
        assert_eq!((constant.deviation(), constant.percentile_over_mean(99.9)), (0.0, 1.0));
        assert_eq!(constant.counts.len(), 500);
    }
}
