//! How steady a rate was: samples as fio takes them, kept as extremes, mean and spread.

use isotherm_seam::{Mono, Nanos};

/// Samples of a rate.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Series {
    every: Nanos,
    samples: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of squared distances from the mean (Welford 1962).
    distances: f64,
    total_before: u64,
    sampled_at: Mono,
}

impl Series {
    /// No samples yet; the first covers the time from `start` on.
    pub(crate) fn new(start: Mono, every: Nanos) -> Series {
        Series {
            every,
            samples: 0,
            min: f64::INFINITY,
            max: 0.0,
            mean: 0.0,
            distances: 0.0,
            total_before: 0,
            sampled_at: start,
        }
    }

    /// Takes a sample if it is time, and at the end if it is nearly: `total` came since the
    /// start. Time in which nothing came is none, as in fio: what it says of a stall stands in
    /// the timeline, not here.
    pub(crate) fn sample(&mut self, now: Mono, total: u64, end: bool) {
        let span = now.since(self.sampled_at);
        let due = match end {
            // Of a run that is shorter than a sample, what there is.
            true => self.samples == 0 || span.0 >= self.every.0 / 2,
            false => span >= self.every,
        };
        if !due || span == Nanos::ZERO {
            return;
        }
        let came = total - self.total_before;
        self.total_before = total;
        self.sampled_at = now;
        if came > 0 {
            self.record(came as f64 / span.as_secs_f64());
        }
    }

    fn record(&mut self, rate: f64) {
        self.samples += 1;
        self.min = self.min.min(rate);
        self.max = self.max.max(rate);
        let from_old = rate - self.mean;
        self.mean += from_old / self.samples as f64;
        self.distances += from_old * (rate - self.mean);
    }

    /// How many samples.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The lowest, per second; 0 of none.
    pub fn min(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.min }
    }

    /// The highest, per second; 0 of none.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The mean, per second; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation of the samples, per second; 0 of fewer than two.
    pub fn stddev(&self) -> f64 {
        if self.samples < 2 { 0.0 } else { (self.distances / (self.samples - 1) as f64).sqrt() }
    }

    /// Puts two series of the same time side by side: their rates add up. As samples are not
    /// kept, extremes and spread are those of independent parts, as in fio's group reports.
    pub(crate) fn beside(&mut self, other: &Series) {
        if other.samples == 0 {
            return;
        }
        if self.samples == 0 {
            *self = *other;
            return;
        }
        let variance = |s: &Series| s.stddev() * s.stddev();
        let sum = variance(self) + variance(other);
        self.min += other.min;
        self.max += other.max;
        self.mean += other.mean;
        self.samples = self.samples.max(other.samples);
        self.distances = sum * (self.samples.saturating_sub(1)) as f64;
    }
}

/// The rates of one direction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    /// I/Os per second.
    pub iops: Series,
    /// Bytes per second.
    pub bytes: Series,
}

impl Rates {
    /// Puts the rates of two lanes side by side.
    pub(crate) fn beside(&mut self, other: &Rates) {
        self.iops.beside(&other.iops);
        self.bytes.beside(&other.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Nanos = Nanos::from_millis(500);

    #[test]
    fn samples_of_a_changing_rate() {
        let mut series = Series::new(Mono(0), HALF);
        let mut ios = 0;
        for (i, per_half_second) in [50, 100, 150].into_iter().enumerate() {
            ios += per_half_second;
            series.sample(Mono(500_000_000 * (i as u64 + 1)), ios, false);
        }
        assert_eq!((series.samples(), series.min(), series.max()), (3, 100.0, 300.0));
        assert!((series.mean() - 200.0).abs() < 1e-9 && (series.stddev() - 100.0).abs() < 1e-9);
        series.sample(Mono(1_500_000_000), ios, true);
        series.sample(Mono(1_700_000_000), ios + 9, false);
        series.sample(Mono(1_700_000_000), ios + 9, true);
        assert_eq!(series.samples(), 3, "too little time, no sample");
        series.sample(Mono(2_100_000_000), ios, false);
        assert_eq!(series.samples(), 3, "nothing came, no sample");
    }

    #[test]
    fn a_short_run_is_one_sample() {
        let mut series = Series::new(Mono(0), HALF);
        series.sample(Mono(10_000_000), 5, true);
        assert_eq!((series.samples(), series.mean()), (1, 500.0));
    }

    #[test]
    fn rates_side_by_side_add_up() {
        let mut one = Series::new(Mono(0), HALF);
        one.sample(Mono(1_000_000_000), 70, false);
        let mut both = Series::new(Mono(0), HALF);
        both.beside(&one);
        both.beside(&one);
        assert_eq!((both.min(), both.max(), both.mean()), (140.0, 140.0, 140.0));
    }
}
