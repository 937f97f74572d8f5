//! What was counted of the requests of one disk in one direction.
//!
//! What must always hold: adding to a tally costs a few nanoseconds and allocates nothing;
//! tallies of parts merge into the tally of the whole, exactly.

use isotherm_seam::Nanos;

use crate::Histogram;

/// Latencies: their histogram, and their extremes, mean and spread exactly.
#[derive(Clone, PartialEq, Debug)]
pub struct Latencies {
    /// In fio's buckets.
    pub histogram: Histogram,
    count: u64,
    sum_ns: u128,
    /// Of the squares; the mean square of n values below 2^34 stays far below 2^128 / n.
    squares: u128,
    /// `u64::MAX` of none.
    min_ns: u64,
    max_ns: u64,
}

impl Latencies {
    /// None counted.
    pub fn new() -> Latencies {
        Latencies {
            histogram: Histogram::new(),
            count: 0,
            sum_ns: 0,
            squares: 0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }

    /// Counts one.
    #[inline]
    pub fn record(&mut self, latency: Nanos) {
        let ns = latency.0;
        self.histogram.record(ns);
        self.count += 1;
        self.sum_ns += u128::from(ns);
        self.squares += u128::from(ns) * u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The least, in nanoseconds; 0 of none.
    pub fn min_ns(&self) -> u64 {
        if self.min_ns == u64::MAX { 0 } else { self.min_ns }
    }

    /// The greatest, in nanoseconds; 0 of none.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The mean, in nanoseconds; 0 of none.
    pub fn mean_ns(&self) -> f64 {
        self.sum_ns as f64 / self.count().max(1) as f64
    }

    /// The standard deviation of the sample, in nanoseconds; 0 of fewer than two.
    pub fn stddev_ns(&self) -> f64 {
        let n = u128::from(self.count());
        if n < 2 {
            return 0.0;
        }
        // The sum of squared distances from the mean is squares - sum^2 / n, in whole numbers
        // up to the last step, since it is a small difference of large ones. Cut in two so that
        // nothing overflows: sum^2 / n = sum * (sum / n) + sum * (sum % n) / n.
        let of_the_mean = self.sum_ns * (self.sum_ns / n) + self.sum_ns * (self.sum_ns % n) / n;
        (self.squares.saturating_sub(of_the_mean) as f64 / (n - 1) as f64).sqrt()
    }

    /// Adds the latencies of another.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.merge(&other.histogram);
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.squares += other.squares;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies::new()
    }
}

/// An arrival sent more than this after its time is late.
pub const LATE_NS: u64 = 1_000_000;

/// What an open loop adds: times from the intended start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OpenLoop {
    /// From the intended start to the completion.
    pub response: Latencies,
    /// From the intended start to the actual one.
    pub lag: Latencies,
    /// Sent more than [`LATE_NS`] after their time.
    pub late_ios: u64,
    /// Due before the end and never sent.
    pub unsent_ios: u64,
}

/// One direction of one disk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tally {
    /// From the start of each request to its completion.
    pub latencies: Latencies,
    /// Of requests that completed without error.
    pub bytes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Where requests came by a clock of their own.
    pub open_loop: Option<Box<OpenLoop>>,
}

impl Tally {
    /// Nothing counted; `open` where requests come by a clock of their own.
    pub fn new(open: bool) -> Tally {
        Tally { open_loop: open.then(Box::default), ..Tally::default() }
    }

    /// Requests that completed without error.
    pub fn ios(&self) -> u64 {
        self.latencies.count()
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Tally) {
        self.latencies.merge(&other.latencies);
        self.bytes += other.bytes;
        self.errors += other.errors;
        if let Some(theirs) = &other.open_loop {
            let mine = self.open_loop.get_or_insert_default();
            mine.response.merge(&theirs.response);
            mine.lag.merge(&theirs.lag);
            mine.late_ios += theirs.late_ios;
            mine.unsent_ios += theirs.unsent_ios;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(values: &[u64]) -> Latencies {
        let mut latencies = Latencies::new();
        values.iter().for_each(|&ns| latencies.record(Nanos(ns)));
        latencies
    }

    #[test]
    fn mean_and_spread_are_exact() {
        let some = latencies(&[2, 4, 4, 4, 5, 5, 7, 9]);
        assert_eq!((some.min_ns(), some.max_ns(), some.mean_ns()), (2, 9, 5.0));
        assert!((some.stddev_ns() - (32.0f64 / 7.0).sqrt()).abs() < 1e-12);
        // A small spread on a large mean: doubles alone would lose it.
        let far = latencies(&[10_000_000_000, 10_000_000_001, 10_000_000_002]);
        assert_eq!(far.stddev_ns(), 1.0);
        let none = Latencies::new();
        assert_eq!((none.min_ns(), none.mean_ns(), none.stddev_ns()), (0, 0.0, 0.0));
    }

    #[test]
    fn parts_merge_into_the_whole() {
        let values: Vec<u64> = (0..500).map(|i| i * i).collect();
        let mut merged = latencies(&values[..200]);
        merged.merge(&latencies(&values[200..]));
        assert_eq!(merged, latencies(&values));
    }

    #[test]
    fn an_open_loop_merges_into_a_closed_one() {
        let mut whole = Tally::new(false);
        let mut part = Tally::new(true);
        part.open_loop.as_mut().unwrap().late_ios = 3;
        whole.merge(&part);
        whole.merge(&part);
        assert_eq!(whole.open_loop.unwrap().late_ios, 6);
    }
}
