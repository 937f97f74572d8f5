//! What was counted of the requests of one disk in one direction.
//!
//! What must always hold: adding to a tally costs a few nanoseconds and allocates nothing;
//! tallies of parts merge into the tally of the whole, exactly.

use hdrhistogram::Histogram as Fine;
use isotherm_seam::{Mono, Nanos};

use crate::Histogram;
use crate::spread::Spread;

/// Latencies: their histogram, and their extremes, mean and spread exactly.
#[derive(Clone, PartialEq, Debug)]
pub struct Latencies {
    /// In fio's buckets.
    pub histogram: Histogram,
    spread: Spread,
}

impl Latencies {
    /// None counted.
    pub fn new() -> Latencies {
        Latencies { histogram: Histogram::new(), spread: Spread::new() }
    }

    /// Counts one.
    #[inline]
    pub fn record(&mut self, latency: Nanos) {
        self.histogram.record(latency.0);
        self.spread.record(latency.0);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.spread.count()
    }

    /// The least, in nanoseconds; 0 of none.
    pub fn min_ns(&self) -> u64 {
        self.spread.min()
    }

    /// The greatest, in nanoseconds; 0 of none.
    pub fn max_ns(&self) -> u64 {
        self.spread.max()
    }

    /// The mean, in nanoseconds; 0 of none.
    pub fn mean_ns(&self) -> f64 {
        self.spread.mean()
    }

    /// The standard deviation of the sample, in nanoseconds; 0 of fewer than two.
    pub fn stddev_ns(&self) -> f64 {
        self.spread.stddev()
    }

    /// Adds the latencies of another.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.merge(&other.histogram);
        self.spread.merge(&other.spread);
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies::new()
    }
}

/// Times from the intended start. They may be far longer than any latency of a disk, for a
/// queue that never drains grows as long as the run: fio's buckets end at 17 s, these at an hour,
/// and each is within a thousandth of its value.
#[derive(Clone, PartialEq, Debug)]
pub struct ResponseTimes {
    histogram: Fine<u32>,
    spread: Spread,
}

/// Shorter times count as this long, in nanoseconds.
const RESPONSE_NS_MIN: u64 = 1_000;
/// Longer times count as this long.
const RESPONSE_NS_MAX: u64 = 3_600_000_000_000;

impl ResponseTimes {
    /// None counted.
    pub fn new() -> ResponseTimes {
        let histogram = Fine::new_with_bounds(RESPONSE_NS_MIN, RESPONSE_NS_MAX, 3);
        ResponseTimes {
            histogram: histogram.expect("the bounds are constants that it takes"),
            spread: Spread::new(),
        }
    }

    /// Counts one.
    #[inline]
    pub fn record(&mut self, time: Nanos) {
        self.histogram.saturating_record(time.0);
        self.spread.record(time.0);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.spread.count()
    }

    /// The least, in nanoseconds; 0 of none.
    pub fn min_ns(&self) -> u64 {
        self.spread.min()
    }

    /// The greatest, in nanoseconds; 0 of none.
    pub fn max_ns(&self) -> u64 {
        self.spread.max()
    }

    /// The mean, in nanoseconds; 0 of none.
    pub fn mean_ns(&self) -> f64 {
        self.spread.mean()
    }

    /// The standard deviation of the sample, in nanoseconds; 0 of fewer than two.
    pub fn stddev_ns(&self) -> f64 {
        self.spread.stddev()
    }

    /// The time within which `percent` hundredths of all were done; 0 of none.
    pub fn percentile(&self, percent: f64) -> u64 {
        // The end of the bucket may lie above everything that was counted.
        self.histogram.value_at_percentile(percent).min(self.max_ns())
    }

    /// Adds the times of another.
    pub fn merge(&mut self, other: &ResponseTimes) {
        self.histogram.add(&other.histogram).expect("both have the same bounds");
        self.spread.merge(&other.spread);
    }
}

impl Default for ResponseTimes {
    fn default() -> ResponseTimes {
        ResponseTimes::new()
    }
}

/// An arrival sent more than this after its time is late.
pub const LATE_NS: u64 = 1_000_000;

/// What an open loop adds: times from the intended start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OpenLoop {
    /// From the intended start to the completion.
    pub response: ResponseTimes,
    /// From the intended start to the actual one.
    pub lag: ResponseTimes,
    /// Sent more than [`LATE_NS`] after their time.
    pub late_ios: u64,
    /// Due before the end and never sent.
    pub unsent_ios: u64,
}

/// The two parts of a latency, where they were timed apart.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Parts {
    /// From the start of a request until its driver had taken it. A ring is entered for many
    /// requests at once later; that is part of the completion.
    pub submission: Latencies,
    /// From there to the completion.
    pub completion: Latencies,
}

/// The moments of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    /// When it was to be sent.
    pub(crate) intended: Mono,
    /// When it was.
    pub(crate) start: Mono,
    /// When its driver had it; the start, where that was not timed.
    pub(crate) issued: Mono,
    pub(crate) done: Mono,
}

/// One direction of one disk.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tally {
    /// From the start of each request to its completion.
    pub latencies: Latencies,
    /// Where submission was timed apart.
    pub parts: Option<Box<Parts>>,
    /// Of requests that completed without error.
    pub bytes: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Where requests came by a clock of their own.
    pub open_loop: Option<Box<OpenLoop>>,
}

impl Tally {
    /// Nothing counted; `open` where requests come by a clock of their own, `timed` where
    /// submission is timed apart.
    pub fn new(open: bool, timed: bool) -> Tally {
        Tally {
            open_loop: open.then(Box::default),
            parts: timed.then(Box::default),
            ..Tally::default()
        }
    }

    /// Counts a request that completed without error.
    #[inline]
    pub(crate) fn record(&mut self, at: &Moments) {
        self.latencies.record(at.done.since(at.start));
        if let Some(parts) = &mut self.parts {
            parts.submission.record(at.issued.since(at.start));
            parts.completion.record(at.done.since(at.issued));
        }
        if let Some(open) = &mut self.open_loop {
            let lag = at.start.since(at.intended);
            open.response.record(at.done.since(at.intended));
            open.lag.record(lag);
            open.late_ios += u64::from(lag.0 > LATE_NS);
        }
    }

    /// Requests that completed without error.
    pub fn ios(&self) -> u64 {
        self.latencies.count()
    }

    /// From handing a request to its driver to its completion; from the start, where that was
    /// not timed apart.
    pub fn completion(&self) -> &Latencies {
        self.parts.as_ref().map_or(&self.latencies, |parts| &parts.completion)
    }

    /// Adds another.
    pub fn merge(&mut self, other: &Tally) {
        match (&mut self.parts, &other.parts) {
            (Some(mine), Some(theirs)) => {
                mine.submission.merge(&theirs.submission);
                mine.completion.merge(&theirs.completion);
            }
            // What was not timed apart is completion from the start on.
            (Some(mine), None) => mine.completion.merge(&other.latencies),
            (None, Some(theirs)) => {
                let mut parts = theirs.clone();
                parts.completion.merge(&self.latencies);
                self.parts = Some(parts);
            }
            (None, None) => {}
        }
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
    fn parts_merge_into_the_whole() {
        let values: Vec<u64> = (0..500).map(|i| i * i).collect();
        let mut merged = latencies(&values[..200]);
        merged.merge(&latencies(&values[200..]));
        assert_eq!(merged, latencies(&values));
    }

    #[test]
    fn an_open_loop_merges_into_a_closed_one() {
        let mut whole = Tally::new(false, false);
        let mut part = Tally::new(true, false);
        part.open_loop.as_mut().unwrap().late_ios = 3;
        whole.merge(&part);
        whole.merge(&part);
        assert_eq!(whole.open_loop.unwrap().late_ios, 6);
    }

    #[test]
    fn submission_and_completion_make_the_whole() {
        let at = Moments { intended: Mono(0), start: Mono(5), issued: Mono(7), done: Mono(20) };
        let mut apart = Tally::new(false, true);
        apart.record(&at);
        let parts = apart.parts.as_ref().unwrap();
        let sums = (parts.submission.max_ns(), parts.completion.max_ns(), apart.latencies.max_ns());
        assert_eq!(sums, (2, 13, 15));
        let mut joined = Tally::new(false, false);
        joined.record(&at);
        assert_eq!(joined.completion().max_ns(), 15);
        joined.merge(&apart);
        assert_eq!((joined.completion().count(), joined.completion().min_ns()), (2, 13));
        apart.merge(&Tally::new(false, false));
        assert_eq!(apart.completion().count(), 1);
    }

    #[test]
    fn a_response_time_is_within_a_thousandth_up_to_an_hour() {
        let mut times = ResponseTimes::new();
        for ns in [1_000, 999_999, 20_000_000_000, 3_000_000_000_000] {
            times.record(Nanos(ns));
            let shown = times.percentile(100.0);
            assert!(shown.abs_diff(ns) * 1000 <= ns, "{ns}: {shown}");
        }
        times.record(Nanos(4 * RESPONSE_NS_MAX));
        assert_eq!((times.count(), times.max_ns()), (5, 4 * RESPONSE_NS_MAX));
        assert_eq!(ResponseTimes::new().percentile(99.0), 0);
    }
}
