//! One source that is now on and now off, as the jobs of a tenant are.
//!
//! ```text
//! on   Pareto(1.5), mean 10 s      in it arrivals are Poisson, at 1 / duty of the mean rate
//! off  Pareto(1.5), mean 90 s      (10 s on, 10 % of the time)
//! ```
//!
//! Lengths of such a law have no variance: the longest burst of a day is far longer than the
//! usual one, and bursts of many tenants do not even out as Poisson arrivals do. At any moment a
//! source is on with probability d (the duty), so its demand has the deviation sqrt((1 - d) / d)
//! times its mean: 3 for a duty of a tenth. Of sources with the shares s the deviation of the sum is
//! 3 / sqrt(N_eff), where N_eff = 1 / sum(s^2).
//!
//! What must always hold: a source begins in the middle of its life and not at the start of a
//! burst: it is on with the probability d, and what is left of its first period has the law of a
//! period that a random moment falls into. Else all sources would begin alike.

use isotherm_seam::Draws;

/// The exponent of the lengths of periods.
pub const ALPHA: f64 = 1.5;

/// When a source is on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BurstLaw {
    /// The mean length of a burst, in seconds.
    pub on_mean_s: f64,
    /// The part of the time in which it is on, above 0 and below 1.
    pub duty: f64,
}

impl Default for BurstLaw {
    /// 10 s on, 10 % of the time.
    fn default() -> BurstLaw {
        BurstLaw { on_mean_s: 10.0, duty: 0.1 }
    }
}

impl BurstLaw {
    /// The deviation of the demand of one source over its mean.
    pub fn deviation(&self) -> f64 {
        ((1.0 - self.duty) / self.duty).sqrt()
    }

    fn off_mean_s(&self) -> f64 {
        self.on_mean_s * (1.0 - self.duty) / self.duty
    }
}

/// The length of a whole period, in seconds.
fn pareto(mean_s: f64, draws: &mut Draws) -> f64 {
    let least = mean_s * (ALPHA - 1.0) / ALPHA;
    least * (1.0 - draws.next_f64()).powf(-1.0 / ALPHA)
}

/// What is left of a period into which a random moment falls, in seconds: the integral of the
/// tail over the mean, inverted.
fn rest_of_pareto(mean_s: f64, draws: &mut Draws) -> f64 {
    let least = mean_s * (ALPHA - 1.0) / ALPHA;
    let u = draws.next_f64();
    if u < least / mean_s {
        return u * mean_s;
    }
    least * (ALPHA * (1.0 - u)).powf(-1.0 / (ALPHA - 1.0))
}

/// Periods of one source.
#[derive(Clone, Debug)]
pub(crate) struct Periods {
    law: BurstLaw,
    draws: Draws,
    is_on: bool,
    until_s: f64,
}

impl Periods {
    /// A source in the middle of its life.
    pub(crate) fn new(law: BurstLaw, mut draws: Draws) -> Periods {
        let is_on = draws.happens(law.duty);
        let mean_s = if is_on { law.on_mean_s } else { law.off_mean_s() };
        let until_s = rest_of_pareto(mean_s, &mut draws);
        Periods { law, draws, is_on, until_s }
    }

    /// Whether it is on at this time, which never goes back.
    pub(crate) fn is_on(&mut self, at_s: f64) -> bool {
        while self.until_s <= at_s {
            self.is_on = !self.is_on;
            let mean_s = if self.is_on { self.law.on_mean_s } else { self.law.off_mean_s() };
            self.until_s += pareto(mean_s, &mut self.draws);
        }
        self.is_on
    }
}

/// Arrivals of one source, in seconds from the start, without end.
#[derive(Clone, Debug)]
pub(crate) struct Burst {
    law: BurstLaw,
    draws: Draws,
    gap_mean_s: f64,
    at_s: f64,
    on_until_s: f64,
}

impl Burst {
    /// A source of so many arrivals a second in the mean.
    pub(crate) fn new(law: BurstLaw, per_second: f64, mut draws: Draws) -> Burst {
        let gap_mean_s = law.duty / per_second;
        let (at_s, on_until_s) = if draws.happens(law.duty) {
            (0.0, rest_of_pareto(law.on_mean_s, &mut draws))
        } else {
            let at_s = rest_of_pareto(law.off_mean_s(), &mut draws);
            (at_s, at_s + pareto(law.on_mean_s, &mut draws))
        };
        Burst { law, draws, gap_mean_s, at_s, on_until_s }
    }

    /// The next arrival; none before `end_s`.
    pub(crate) fn next(&mut self, end_s: f64) -> Option<f64> {
        while self.at_s < end_s {
            let gap = -(1.0 - self.draws.next_f64()).ln() * self.gap_mean_s;
            self.at_s += gap;
            if self.at_s < self.on_until_s {
                return (self.at_s < end_s).then_some(self.at_s);
            }
            // Poisson arrivals have no memory: the next burst begins anew.
            self.at_s = self.on_until_s + pareto(self.law.off_mean_s(), &mut self.draws);
            self.on_until_s = self.at_s + pareto(self.law.on_mean_s, &mut self.draws);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_seam::Domain;

    const TEST: Domain = Domain::new("objects.test.burst");

    #[test]
    fn periods_have_their_law() {
        let mut draws = Draws::new(1, TEST, 0);
        let mut got: Vec<f64> = (0..100_000).map(|_| pareto(10.0, &mut draws)).collect();
        got.sort_by(f64::total_cmp);
        let least = 10.0 / 3.0;
        assert!(got[0] >= least);
        // The median is least * 2^(2/3), and one of a thousand is longer than least * 100.
        assert!((got[50_000] / (least * 2f64.powf(2.0 / 3.0)) - 1.0).abs() < 0.02);
        let long = got.iter().filter(|&&s| s > least * 100.0).count();
        assert!((60..145).contains(&long), "{long} of 100,000");
    }

    #[test]
    fn the_rest_of_a_period_has_the_law_of_a_random_moment() {
        // Moments dropped evenly onto a row of periods, against the formula.
        let mut draws = Draws::new(2, TEST, 0);
        let mut row = vec![0.0];
        while row.len() < 200_000 {
            row.push(row.last().unwrap() + pareto(10.0, &mut draws));
        }
        // The last moments lie where the end of the row would cut periods short.
        let span = row[row.len() - 1] * 0.99;
        let mut dropped: Vec<f64> = (0..40_000)
            .map(|_| {
                let at = draws.next_f64() * span;
                row[row.partition_point(|&end| end <= at)] - at
            })
            .collect();
        let mut drawn: Vec<f64> = (0..40_000).map(|_| rest_of_pareto(10.0, &mut draws)).collect();
        dropped.sort_by(f64::total_cmp);
        drawn.sort_by(f64::total_cmp);
        for share in [0.1, 0.25, 0.5, 0.75] {
            let at = (share * 40_000.0) as usize;
            // Heavy tails: the row itself is one draw, so a few percent.
            assert!(
                (dropped[at] / drawn[at] - 1.0).abs() < 0.12,
                "{share}: {} {}",
                dropped[at],
                drawn[at]
            );
        }
    }

    #[test]
    fn sources_are_on_for_their_duty_from_the_very_start() {
        // Of 20,000 sources at 100 a second, those with an arrival in the first tenth of a
        // second: it is on with 0.1, and then has one almost surely.
        let law = BurstLaw::default();
        for (from, to) in [(0.0, 0.1), (30.0, 30.1)] {
            let on = (0..20_000)
                .filter(|&source| {
                    let mut burst = Burst::new(law, 100.0, Draws::new(3, TEST, source));
                    std::iter::from_fn(|| burst.next(to)).any(|at| at >= from)
                })
                .count();
            // Binomial of mean 2,000: deviation 42; those that begin within it are 22 more.
            assert!((1_830..2_240).contains(&on), "{from}: {on}");
        }
    }
}
