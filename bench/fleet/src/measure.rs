//! What one disk did, as it goes along: a fixed amount of memory, nothing allocated per read.
//!
//! What must always hold: each read that the disk answered is counted in just one of `reads`
//! and `errors`. *Response* counts from the intended start of a read, *service* from handing it
//! to the device; both include any delay of the measuring host, and only the list of slowest
//! reads takes a delay that is known off, lest a stall of the host look like a bad sector.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hdrhistogram::Histogram;
use isotherm_heat::{Quantiles, SlowRead, Window};
use isotherm_seam::{IoError, Lba, Mono, Nanos};

/// Shortest and longest time that a histogram tells apart, and its digits: 1 µs to 10 minutes
/// to 1 part in 1,000, about 85 KiB each. What is longer counts as 10 minutes.
const SHORTEST_NS: u64 = 1_000;
const LONGEST_NS: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

/// How many of the slowest reads are kept by place. More than enough for a cluster to show; a
/// limping disk fills it with its ordinary reads, which the verdict then passes over.
const SLOWEST_KEPT: usize = 256;
/// How many failed reads are kept by place; beyond that they are only counted.
const FAILED_KEPT: usize = 1_024;
/// Equal slices of the disk in which reads are counted.
const SLICES: usize = 512;

/// A histogram of times in nanoseconds.
pub(crate) struct Times {
    histogram: Histogram<u32>,
}

impl Times {
    pub(crate) fn new() -> Times {
        let histogram = Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, DIGITS);
        Times { histogram: histogram.expect("bounds that a histogram takes") }
    }

    pub(crate) fn record(&mut self, time: Nanos) {
        self.histogram.saturating_record(time.0);
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The time that a share `q` of all took at most; zero of none.
    pub(crate) fn quantile(&self, q: f64) -> Nanos {
        if self.histogram.is_empty() {
            return Nanos::ZERO;
        }
        Nanos(self.histogram.value_at_quantile(q).min(self.histogram.max()))
    }

    pub(crate) fn min(&self) -> Nanos {
        Nanos(if self.histogram.is_empty() { 0 } else { self.histogram.min() })
    }

    pub(crate) fn max(&self) -> Nanos {
        Nanos(self.histogram.max())
    }

    /// Mean and standard deviation, in nanoseconds.
    pub(crate) fn moments(&self) -> (f64, f64) {
        if self.histogram.is_empty() {
            return (0.0, 0.0);
        }
        (self.histogram.mean(), self.histogram.stdev())
    }

    fn reset(&mut self) {
        self.histogram.reset();
    }
}

/// A read that came back.
pub(crate) struct Answer {
    pub(crate) lba: Lba,
    pub(crate) intended: Mono,
    pub(crate) submitted: Mono,
    pub(crate) now: Mono,
    /// How much later than planned the host looked: so much of the service may be its own.
    pub(crate) lag: Nanos,
    pub(crate) result: Result<(), IoError>,
}

/// What was measured of one disk so far.
pub(crate) struct Measure {
    pub(crate) response: Times,
    pub(crate) service: Times,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<IoError>,
    pub(crate) gone: bool,
    pub(crate) failed: Vec<Lba>,
    pub(crate) coverage: Vec<u32>,
    pub(crate) windows: Vec<Window>,
    window: Times,
    slowest: BinaryHeap<Reverse<(Nanos, Lba, u32)>>,
    blocks: u64,
}

impl Measure {
    /// Of a disk of so many blocks, over at most `windows` windows.
    pub(crate) fn new(blocks: u64, windows: u32) -> Measure {
        Measure {
            response: Times::new(),
            service: Times::new(),
            errors: 0,
            first_error: None,
            gone: false,
            failed: Vec::with_capacity(FAILED_KEPT),
            coverage: vec![0; SLICES],
            windows: Vec::with_capacity(windows as usize),
            window: Times::new(),
            slowest: BinaryHeap::with_capacity(SLOWEST_KEPT + 1),
            blocks,
        }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.service.count()
    }

    /// Takes an answer in.
    pub(crate) fn record(&mut self, answer: &Answer) {
        let slice = u128::from(answer.lba.0) * SLICES as u128 / u128::from(self.blocks);
        self.coverage[slice as usize] += 1;
        match answer.result {
            Ok(()) => {
                let service = answer.now.since(answer.submitted);
                self.response.record(answer.now.since(answer.intended));
                self.service.record(service);
                self.window.record(service);
                let at_least = service.saturating_sub(answer.lag);
                self.keep_if_slow(at_least, answer.lba);
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
                self.gone |= error == IoError::Gone;
                let place = if let IoError::Media { lba } = error { lba } else { answer.lba };
                if self.failed.len() < FAILED_KEPT {
                    self.failed.push(place);
                }
            }
        }
    }

    fn keep_if_slow(&mut self, service: Nanos, lba: Lba) {
        let full = self.slowest.len() == SLOWEST_KEPT;
        if full && self.slowest.peek().is_some_and(|least| service <= least.0.0) {
            return;
        }
        if full {
            self.slowest.pop();
        }
        self.slowest.push(Reverse((service, lba, self.windows.len() as u32)));
    }

    /// Ends the window under way and begins the next.
    pub(crate) fn close_window(&mut self) {
        let p50 = self.window.quantile(0.5);
        self.windows.push(Window { reads: self.window.count(), p50 });
        self.window.reset();
    }

    pub(crate) fn quantiles(&self) -> Quantiles {
        let at = |q| self.service.quantile(q);
        Quantiles { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
    }

    /// The slowest reads, the slowest first.
    pub(crate) fn slowest(&self) -> Vec<SlowRead> {
        let mut all: Vec<SlowRead> = self
            .slowest
            .iter()
            .map(|&Reverse((service, lba, window))| SlowRead { lba, window, service })
            .collect();
        all.sort_by_key(|slow| Reverse((slow.service, slow.lba)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lba: u64, service_ms: u64, lag_ms: u64) -> Answer {
        Answer {
            lba: Lba(lba),
            intended: Mono::ZERO,
            submitted: Mono(1_000_000),
            now: Mono(1_000_000) + Nanos::from_millis(service_ms),
            lag: Nanos::from_millis(lag_ms),
            result: Ok(()),
        }
    }

    #[test]
    fn response_counts_from_the_intended_start() {
        let mut measure = Measure::new(1_000, 2);
        measure.record(&answer(5, 9, 0));
        let near = |a: Nanos, ms: f64| (a.as_millis_f64() / ms - 1.0).abs() < 2e-3;
        assert!(near(measure.service.quantile(0.5), 9.0));
        assert!(near(measure.response.quantile(0.5), 10.0));
    }

    #[test]
    fn the_slowest_are_kept_and_no_more() {
        let mut measure = Measure::new(10_000, 2);
        for lba in 0..2_000 {
            // 7,919 and 2,000 share no factor: every time from 1 to 2,000 ms, in a wild order.
            measure.record(&answer(lba, 1 + lba * 7_919 % 2_000, 0));
        }
        let slowest = measure.slowest();
        assert_eq!(slowest.len(), SLOWEST_KEPT);
        let times: Vec<u64> = slowest.iter().map(|s| s.service.0 / 1_000_000).collect();
        let expected: Vec<u64> = (0..SLOWEST_KEPT as u64).map(|i| 2_000 - i).collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn a_stall_of_the_host_is_not_held_against_a_sector() {
        let mut measure = Measure::new(1_000, 2);
        measure.record(&answer(5, 100, 90));
        assert_eq!(measure.slowest()[0].service, Nanos::from_millis(10));
        assert!(measure.service.max() >= Nanos::from_millis(99));
    }

    #[test]
    fn an_error_counts_once_and_where_it_is() {
        let mut measure = Measure::new(1_000, 2);
        let result = Err(IoError::Media { lba: Lba(702) });
        measure.record(&Answer { result, ..answer(700, 5, 0) });
        assert_eq!((measure.reads(), measure.errors), (0, 1));
        assert_eq!(measure.failed, [Lba(702)]);
        assert_eq!(measure.coverage[700 * SLICES / 1_000], 1);
        assert!(!measure.gone);
    }

    #[test]
    fn a_window_has_its_own_median() {
        let mut measure = Measure::new(1_000, 2);
        for (ms, times) in [(10, 3), (30, 5)] {
            (0..times).for_each(|lba| measure.record(&answer(lba, ms, 0)));
            measure.close_window();
        }
        let medians: Vec<u64> = measure.windows.iter().map(|w| w.p50.0 / 1_000_000).collect();
        assert_eq!(medians, [10, 30]);
        assert_eq!(measure.windows[1].reads, 5);
    }
}
