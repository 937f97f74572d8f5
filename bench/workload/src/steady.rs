//! When a job has become steady: fio's `steadystate`.
//!
//! What must always hold: nothing is judged before the window is full; one value comes in a
//! second. Steady is a window in which no second is farther from the mean than the limit, or whose
//! fitted line is flatter than it.
//!
//! ```text
//! deviation: max |x - mean|          slope: (n Σix - Σi Σx) / (n Σi² - (Σi)²), i = 0..n
//! of the mean, if the limit is in percent
//! ```

use isotherm_seam::Nanos;

/// What is to become steady, and how steady.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SteadyPlan {
    /// Of what.
    pub measure: Measure,
    /// How flat, rather than how close to the mean.
    pub slope: bool,
    /// The limit.
    pub limit: f64,
    /// The limit is in percent of the mean.
    pub percent: bool,
    /// Length of the window.
    pub duration: Nanos,
    /// What comes before is not looked at.
    pub ramp: Nanos,
}

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Requests a second.
    Iops,
    /// Bytes a second.
    Bandwidth,
}

impl SteadyPlan {
    /// fio's word for the criterion.
    pub fn word(&self) -> String {
        let measure = match self.measure {
            Measure::Iops => "iops",
            Measure::Bandwidth => "bw",
        };
        format!("{measure}{}", if self.slope { "_slope" } else { "" })
    }

    /// Seconds of the window.
    pub fn seconds(&self) -> usize {
        (self.duration.0 / 1_000_000_000).max(1) as usize
    }
}

/// The last seconds of a job, or of a group.
#[derive(Clone, PartialEq, Debug)]
pub struct Steady {
    plan: SteadyPlan,
    /// The last seconds, the oldest first, as requests and as bytes.
    iops: Vec<f64>,
    bandwidth: Vec<f64>,
    criterion: f64,
    slope: f64,
    deviation: f64,
    attained: bool,
}

impl Steady {
    /// With an empty window.
    pub fn new(plan: SteadyPlan) -> Steady {
        let seconds = plan.seconds();
        Steady {
            plan,
            iops: Vec::with_capacity(seconds + 1),
            bandwidth: Vec::with_capacity(seconds + 1),
            criterion: 0.0,
            slope: 0.0,
            deviation: 0.0,
            attained: false,
        }
    }

    /// Takes the next second; tells whether it is steady now.
    pub fn push(&mut self, iops: f64, bytes: f64) -> bool {
        let seconds = self.plan.seconds();
        for (values, value) in [(&mut self.iops, iops), (&mut self.bandwidth, bytes)] {
            values.push(value);
            if values.len() > seconds {
                values.remove(0);
            }
        }
        if self.iops.len() == seconds {
            self.judge();
        }
        self.attained
    }

    fn judge(&mut self) {
        let values = match self.plan.measure {
            Measure::Iops => &self.iops,
            Measure::Bandwidth => &self.bandwidth,
        };
        let mean = mean(values);
        self.slope = slope(values);
        self.deviation = values.iter().map(|x| (x - mean).abs()).fold(0.0, f64::max);
        let value = if self.plan.slope { self.slope } else { self.deviation };
        self.criterion = match self.plan.percent {
            true if mean > 0.0 => value * 100.0 / mean,
            // Nothing at all is not steady.
            true => f64::INFINITY,
            false => value,
        };
        self.attained = self.criterion.abs() < self.plan.limit;
    }

    /// What it was made with.
    pub fn plan(&self) -> &SteadyPlan {
        &self.plan
    }

    /// Whether the window was steady when it was last judged.
    pub fn attained(&self) -> bool {
        self.attained
    }

    /// What was compared with the limit; in percent where the limit is.
    pub fn criterion(&self) -> f64 {
        self.criterion
    }

    /// Of the fitted line, a second.
    pub fn slope(&self) -> f64 {
        self.slope
    }

    /// The greatest distance from the mean.
    pub fn deviation(&self) -> f64 {
        self.deviation
    }

    /// Requests in each second of the window.
    pub fn iops(&self) -> &[f64] {
        &self.iops
    }

    /// Bytes in each second of the window.
    pub fn bandwidth(&self) -> &[f64] {
        &self.bandwidth
    }

    /// Mean of the requests a second.
    pub fn iops_mean(&self) -> f64 {
        mean(&self.iops)
    }

    /// Mean of the bytes a second.
    pub fn bandwidth_mean(&self) -> f64 {
        mean(&self.bandwidth)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn slope(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let sums = values.iter().enumerate().fold([0.0; 4], |[x, y, xx, xy], (i, value)| {
        let i = i as f64;
        [x + i, y + value, xx + i * i, xy + i * value]
    });
    let [x, y, xx, xy] = sums;
    let spread = n * xx - x * x;
    if spread == 0.0 { 0.0 } else { (n * xy - x * y) / spread }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(slope: bool, limit: f64, percent: bool) -> SteadyPlan {
        SteadyPlan {
            measure: Measure::Iops,
            slope,
            limit,
            percent,
            duration: Nanos::from_secs(4),
            ramp: Nanos::ZERO,
        }
    }

    fn pushes(plan: SteadyPlan, values: &[f64]) -> (Vec<bool>, Steady) {
        let mut steady = Steady::new(plan);
        (values.iter().map(|&value| steady.push(value, value * 4.0)).collect(), steady)
    }

    #[test]
    fn a_window_close_to_its_mean_is_steady_once_it_is_full() {
        let (steady, state) = pushes(plan(false, 10.0, true), &[50.0, 99.0, 101.0, 105.0, 95.0]);
        assert_eq!(steady, [false, false, false, false, true]);
        assert_eq!((state.criterion(), state.iops_mean()), (5.0, 100.0));
        assert_eq!(state.iops(), [99.0, 101.0, 105.0, 95.0]);
        assert_eq!(state.bandwidth_mean(), 400.0);
        let (steady, _) = pushes(plan(false, 10.0, false), &[100.0, 100.0, 100.0, 120.0]);
        assert_eq!(steady, [false; 4], "15 from the mean of 105");
    }

    #[test]
    fn a_flat_line_is_steady_however_it_zigzags() {
        let (steady, state) = pushes(plan(true, 1.0, false), &[100.0, 110.0, 120.0, 130.0]);
        assert_eq!((steady[3], state.slope(), state.deviation()), (false, 10.0, 15.0));
        let (steady, state) = pushes(plan(true, 3.0, true), &[100.0, 140.0, 140.0, 100.0]);
        assert_eq!((steady[3], state.slope()), (true, 0.0));
        assert_eq!(plan(true, 1.0, true).word(), "iops_slope");
    }

    #[test]
    fn falling_and_silent_are_not_steady() {
        let (steady, state) = pushes(plan(true, 1.0, true), &[400.0, 300.0, 200.0, 100.0]);
        assert_eq!((steady[3], state.slope()), (false, -100.0));
        assert_eq!(pushes(plan(true, 50.0, true), &[0.0; 4]).0, [false; 4]);
    }
}
