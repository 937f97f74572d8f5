//! What came of the operations of one kind.
//!
//! What must always hold: a response time counts from the moment at which an operation was to
//! begin, whether it was sent then or not; an operation that failed has no time and is counted by
//! its trouble; one that was due and never sent is counted as that.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use isotherm_seam::{Mono, Nanos};

use crate::objects::Trouble;
use crate::timeline::Timeline;

/// An operation that begins more than this after its time is late.
pub const LATE: Nanos = Nanos::from_millis(1);

/// Shorter times count as this long, in nanoseconds.
const NS_MIN: u64 = 1_000;
/// Longer ones as this long: an hour.
const NS_MAX: u64 = 3_600_000_000_000;

/// Times, each within a thousandth of its value; extremes, mean and spread exactly.
#[derive(Clone, Debug)]
pub struct Times {
    histogram: Histogram<u32>,
    min_ns: u64,
    max_ns: u64,
    mean: f64,
    /// The sum of squared distances from the mean (Welford 1962).
    distances: f64,
}

impl Times {
    pub(crate) fn new() -> Times {
        let histogram = Histogram::new_with_bounds(NS_MIN, NS_MAX, 3);
        Times {
            histogram: histogram.expect("the bounds are constants that it takes"),
            min_ns: u64::MAX,
            max_ns: 0,
            mean: 0.0,
            distances: 0.0,
        }
    }

    pub(crate) fn record(&mut self, time: Nanos) {
        self.histogram.saturating_record(time.0);
        self.min_ns = self.min_ns.min(time.0);
        self.max_ns = self.max_ns.max(time.0);
        let from_old = time.0 as f64 - self.mean;
        self.mean += from_old / self.count() as f64;
        self.distances += from_old * (time.0 as f64 - self.mean);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The least, in nanoseconds; 0 of none.
    pub fn min_ns(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.min_ns }
    }

    /// The greatest, in nanoseconds; 0 of none.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The mean, in nanoseconds; 0 of none.
    pub fn mean_ns(&self) -> f64 {
        self.mean
    }

    /// The deviation of the sample, in nanoseconds; 0 of fewer than two.
    pub fn deviation_ns(&self) -> f64 {
        match self.count() {
            0 | 1 => 0.0,
            count => (self.distances / (count - 1) as f64).sqrt(),
        }
    }

    /// The time within which so many hundredths of all were done; 0 of none.
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        // The end of a bucket may lie above everything that was counted.
        self.histogram.value_at_percentile(percent).min(self.max_ns)
    }

    pub(crate) fn clear(&mut self) {
        self.histogram.reset();
        (self.min_ns, self.max_ns, self.mean, self.distances) = (u64::MAX, 0, 0.0, 0.0);
    }
}

/// Reads, writes or deletes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A read.
    Read = 0,
    /// A write.
    Write = 1,
    /// A delete.
    Delete = 2,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Read, Kind::Write, Kind::Delete];

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Read => "read",
            Kind::Write => "write",
            Kind::Delete => "delete",
        }
    }
}

/// The moments of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) intended: Mono,
    pub(crate) begun: Mono,
    pub(crate) done: Mono,
}

/// The operations of one kind that were counted.
#[derive(Clone, Debug)]
pub struct Tally {
    /// From the intended start to the answer.
    pub response: Times,
    /// From the actual start to the answer.
    pub latency: Times,
    /// From the intended start to the actual one, of all that were sent.
    pub lag: Times,
    /// Bytes of those that succeeded.
    pub bytes: u64,
    /// Sent more than [`LATE`] after their time.
    pub late: u64,
    /// Due before the end, and never sent.
    pub unsent: u64,
    /// Failed, by why.
    pub failed: BTreeMap<Trouble, u64>,
    /// What happened when, from the end of the warm-up on.
    pub timeline: Timeline,
}

impl Tally {
    pub(crate) fn new(runtime: Nanos) -> Tally {
        Tally {
            response: Times::new(),
            latency: Times::new(),
            lag: Times::new(),
            bytes: 0,
            late: 0,
            unsent: 0,
            failed: BTreeMap::new(),
            timeline: Timeline::new(runtime),
        }
    }

    /// Counts an operation that came to an end, `since` the counted time began.
    pub(crate) fn record(&mut self, at: &Moments, since: Mono, outcome: Result<u64, Trouble>) {
        let lag = at.begun.since(at.intended);
        self.lag.record(lag);
        self.late += u64::from(lag > LATE);
        match outcome {
            Ok(bytes) => {
                let (latency, response) = (at.done.since(at.begun), at.done.since(at.intended));
                self.latency.record(latency);
                self.response.record(response);
                self.bytes += bytes;
                self.timeline.record(at.done.since(since), bytes, latency, response);
            }
            Err(trouble) => *self.failed.entry(trouble).or_default() += 1,
        }
    }

    /// Those that succeeded.
    pub fn done(&self) -> u64 {
        self.response.count()
    }

    /// Those that failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_counts_from_the_intended_start() {
        let mut tally = Tally::new(Nanos::from_secs(1));
        let ms = |ms: u64| Mono(ms * 1_000_000);
        let at = Moments { intended: ms(100), begun: ms(130), done: ms(150) };
        tally.record(&at, ms(100), Ok(4096));
        let on_time = Moments { intended: ms(100), begun: ms(101), done: ms(111) };
        tally.record(&on_time, ms(100), Ok(4096));
        tally.record(&at, ms(100), Err(Trouble::Late));
        assert_eq!((tally.done(), tally.failures(), tally.bytes, tally.late), (2, 1, 8192, 2));
        assert_eq!((tally.response.min_ns(), tally.response.max_ns()), (11_000_000, 50_000_000));
        assert_eq!((tally.latency.min_ns(), tally.latency.max_ns()), (10_000_000, 20_000_000));
        assert_eq!(tally.lag.count(), 3);
    }

    #[test]
    fn times_keep_mean_spread_and_percentiles() {
        let mut times = Times::new();
        (1..=1000).for_each(|ms| times.record(Nanos::from_millis(ms)));
        assert!((times.mean_ns() / 500.5e6 - 1.0).abs() < 1e-9);
        assert!((times.deviation_ns() / 288.8e6 - 1.0).abs() < 1e-3);
        assert!((times.percentile_ns(99.0) as f64 / 990e6 - 1.0).abs() < 2e-3);
        assert_eq!(times.percentile_ns(100.0), 1_000_000_000);
        times.clear();
        assert_eq!((times.count(), times.min_ns(), times.percentile_ns(50.0)), (0, 0, 0));
    }
}
