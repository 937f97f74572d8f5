//! What is kept of a lane over time, beside its tallies: rates, a timeline, logs.
//!
//! What must always hold: a lane without logs pays nothing for them per request, and nothing
//! here but its logs is touched per request at all: the rest is read off the tallies, ten times
//! a second.

use isotherm_seam::{Mono, Nanos};
use isotherm_workload::{Direction, Results};

use crate::logbook::LogBook;
use crate::series::{Rates, Series};
use crate::timeline::{Before, Timeline};
use crate::{Histogram, Latencies};

/// The meters of one lane.
pub(crate) struct Meter {
    pub(crate) rates: [Rates; Direction::ALL.len()],
    /// Of flushes, if there were any.
    pub(crate) syncs: Option<Box<Latencies>>,
    /// Nothing, where no logs are wanted.
    pub(crate) book: Option<Box<LogBook>>,
    every: [Nanos; 2],
    before: Vec<Option<Before>>,
    started: Mono,
}

impl Meter {
    pub(crate) fn new(results: &Results) -> Meter {
        let every = [results.iops_every, results.bandwidth_every];
        Meter {
            rates: [rates(Mono::ZERO, every); Direction::ALL.len()],
            syncs: None,
            book: LogBook::new(&results.logs),
            every,
            before: vec![None; Direction::ALL.len()],
            started: Mono::ZERO,
        }
    }

    /// Measuring begins.
    pub(crate) fn begin(&mut self, now: Mono) {
        self.rates = [rates(now, self.every); Direction::ALL.len()];
        self.before.fill(None);
        self.syncs = None;
        self.started = now;
    }

    /// Counts a flush.
    pub(crate) fn sync(&mut self, latency: Nanos) {
        self.syncs.get_or_insert_default().record(latency);
    }

    /// Takes samples of one direction: so many requests and bytes were counted since the
    /// beginning, with these latencies.
    pub(crate) fn sample(
        &mut self,
        now: Mono,
        direction: Direction,
        (ios, bytes): (u64, u64),
        histograms: &mut dyn Iterator<Item = &Histogram>,
        timeline: &mut Timeline,
        end: bool,
    ) {
        let index = direction.index();
        if ios == 0 {
            return;
        }
        let rates = &mut self.rates[index];
        rates.iops.sample(now, ios, end);
        rates.bytes.sample(now, bytes, end);
        // What is found at the end of a tick came during it.
        let at = Nanos(now.since(self.started).0.saturating_sub(1));
        let before = self.before[index].get_or_insert_with(Before::new);
        before.advance(timeline, index, at, (ios, bytes), histograms);
    }

    /// 99 of 100 requests of the last tenth of a second that had any took no longer than about
    /// this: the worse direction, in nanoseconds.
    pub(crate) fn p99_ns(&self) -> f64 {
        self.before.iter().flatten().map(Before::p99_ns).fold(0.0, f64::max)
    }
}

fn rates(now: Mono, [iops, bytes]: [Nanos; 2]) -> Rates {
    Rates { iops: Series::new(now, iops), bytes: Series::new(now, bytes) }
}
