//! How steady a rate was: one sample per half second, kept as extremes, mean and spread.

use isotherm_seam::{Mono, Nanos};

/// Time between two samples, as fio's `bwavgtime` and `iopsavgtime`.
pub(crate) const SAMPLE_EVERY: Nanos = Nanos::from_millis(500);

/// Samples of I/Os per second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Series {
    samples: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of squared distances from the mean (Welford 1962).
    distances: f64,
    ios_before: u64,
    sampled_at: Mono,
}

impl Series {
    /// No samples yet; the first covers the time from `start` on.
    pub(crate) fn new(start: Mono) -> Series {
        Series {
            samples: 0,
            min: f64::INFINITY,
            max: 0.0,
            mean: 0.0,
            distances: 0.0,
            ios_before: 0,
            sampled_at: start,
        }
    }

    /// Takes a sample: `ios` were done since the start. The rest of a run that is much shorter
    /// than a sample is none, unless it is all there is.
    pub(crate) fn sample(&mut self, now: Mono, ios: u64) {
        let span = now.since(self.sampled_at);
        if span == Nanos::ZERO || (self.samples > 0 && span.0 < SAMPLE_EVERY.0 / 2) {
            return;
        }
        let rate = (ios - self.ios_before) as f64 / span.as_secs_f64();
        self.ios_before = ios;
        self.sampled_at = now;
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

    /// The lowest, in I/Os per second; 0 of none.
    pub fn min(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.min }
    }

    /// The highest, in I/Os per second; 0 of none.
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The mean, in I/Os per second; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// The standard deviation of the samples, in I/Os per second; 0 of fewer than two.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_changing_rate() {
        let mut series = Series::new(Mono(0));
        let mut ios = 0;
        for (i, per_half_second) in [50, 100, 150].into_iter().enumerate() {
            ios += per_half_second;
            series.sample(Mono(500_000_000 * (i as u64 + 1)), ios);
        }
        assert_eq!((series.samples(), series.min(), series.max()), (3, 100.0, 300.0));
        assert!((series.mean() - 200.0).abs() < 1e-9 && (series.stddev() - 100.0).abs() < 1e-9);
        series.sample(Mono(1_500_000_000), ios);
        assert_eq!(series.samples(), 3, "no time, no sample");
    }

    #[test]
    fn rates_side_by_side_add_up() {
        let mut one = Series::new(Mono(0));
        one.sample(Mono(1_000_000_000), 70);
        let mut both = Series::new(Mono(0));
        both.beside(&one);
        both.beside(&one);
        assert_eq!((both.min(), both.max(), both.mean()), (140.0, 140.0, 140.0));
    }
}
