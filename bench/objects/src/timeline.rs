//! What happened when: counts and coarse times, stretch by stretch.
//!
//! What must always hold: there are as many stretches as the run is long, fixed when it begins; what
//! completes after its end, because it was still under way, counts in one more stretch after the
//! last. Cells are those of the documents of `isotherm bench`, so that one page shows both.
//!
//! ```text
//! cell 0      below 256 ns
//! from 1 on   eight to a power of two: 9 % wide; the last is 17.2 s and more
//! ```

use std::collections::BTreeMap;

use isotherm_seam::Nanos;

/// Cells to a power of two.
pub(crate) const PER_OCTAVE: u32 = 8;
/// Where the second cell begins, in nanoseconds.
pub(crate) const FIRST_NS: u64 = 1 << FIRST_BIT;
const FIRST_BIT: u32 = 8;
const LAST_BIT: u32 = 34;
/// Stretches of a run, at most.
const STRETCHES_MAX: u64 = 240;
const _: () = assert!(STRETCHES_MAX > 8, "a comparison needs more than a few");

/// How long a stretch of a run is: the least of a row of round numbers that gives few enough.
pub(crate) fn stretch(whole: Nanos) -> Nanos {
    let round = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000];
    let fits = |ms: &u64| whole.0.div_ceil(*ms * 1_000_000) <= STRETCHES_MAX;
    let least = round.into_iter().find(fits);
    let longest = || whole.0.div_ceil(STRETCHES_MAX).div_ceil(1_000_000);
    Nanos::from_millis(least.unwrap_or_else(longest))
}

/// One stretch of time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Column {
    /// Operations that completed without error.
    pub ios: u64,
    /// What they carried.
    pub bytes: u64,
    /// Times from the actual start, by cell.
    pub latencies: BTreeMap<u32, u32>,
    /// Times from the intended start, by cell.
    pub responses: BTreeMap<u32, u32>,
}

/// The stretches of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timeline {
    every: Nanos,
    columns: Vec<Column>,
}

impl Timeline {
    pub(crate) fn new(whole: Nanos) -> Timeline {
        let every = stretch(whole);
        let count = whole.0.div_ceil(every.0) as usize + 1;
        Timeline { every, columns: vec![Column::default(); count] }
    }

    /// How long a stretch is.
    pub fn every(&self) -> Nanos {
        self.every
    }

    /// The stretches; the last one is what completed after the end.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Counts what completed `at` after the begin.
    pub(crate) fn record(&mut self, at: Nanos, bytes: u64, latency: Nanos, response: Nanos) {
        let index = ((at.0 / self.every.0) as usize).min(self.columns.len() - 1);
        let column = &mut self.columns[index];
        column.ios += 1;
        column.bytes += bytes;
        *column.latencies.entry(cell_of(latency.0)).or_default() += 1;
        *column.responses.entry(cell_of(response.0)).or_default() += 1;
    }
}

fn cell_of(ns: u64) -> u32 {
    let bit = 63 - (ns | 1).leading_zeros();
    if bit < FIRST_BIT {
        return 0;
    }
    let bit_in = bit.min(LAST_BIT - 1);
    // Beyond the last power of two all is its last cell.
    let part = if bit >= LAST_BIT { PER_OCTAVE - 1 } else { (ns >> (bit - 3)) as u32 & 7 };
    1 + (bit_in - FIRST_BIT) * PER_OCTAVE + part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_ascend_and_are_those_of_the_bench() {
        assert_eq!((cell_of(0), cell_of(255), cell_of(256), cell_of(288)), (0, 0, 1, 2));
        assert_eq!((cell_of(512), cell_of(1024)), (9, 17));
        assert_eq!(cell_of(u64::MAX), cell_of((1 << 34) - 1));
        let cells: Vec<u32> = (0..64).map(|bit| cell_of(1 << bit)).collect();
        assert!(cells.is_sorted());
    }

    #[test]
    fn stretches_are_round_and_few() {
        for (seconds, ms) in [(1, 100), (24, 100), (30, 200), (60, 500), (3_600, 30_000)] {
            assert_eq!(stretch(Nanos::from_secs(seconds)), Nanos::from_millis(ms), "{seconds}");
        }
        let days = Nanos::from_secs(30 * 86_400);
        assert!(days.0.div_ceil(stretch(days).0) <= STRETCHES_MAX);
    }

    #[test]
    fn what_completes_after_the_end_is_counted_apart() {
        let mut timeline = Timeline::new(Nanos::from_secs(1));
        for ms in [50, 150, 950, 1_000, 5_000] {
            timeline.record(Nanos::from_millis(ms), 10, Nanos(300), Nanos(600));
        }
        let ios: Vec<u64> = timeline.columns().iter().map(|column| column.ios).collect();
        assert_eq!(ios, [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        let last = &timeline.columns()[10];
        assert_eq!((last.bytes, last.latencies[&2], last.responses[&10]), (20, 2, 2));
    }
}
