//! What happened when: counts and coarse latencies of a job, column by column.
//!
//! What must always hold: a timeline has a fixed size however long the run is: when its columns
//! are used up, each two become one. Its sums are those of the tallies that it was taken from,
//! and lanes that ran at the same time add up column by column.
//!
//! ```text
//! cell 0      below 256 ns
//! from 1 on   eight to a power of two: 9 % wide; the last is 17.2 s and more
//! ```

use isotherm_seam::Nanos;

use crate::Histogram;

/// Cells to a power of two.
pub(crate) const PER_OCTAVE: usize = 8;
/// The first power of two that is split.
const FIRST_BIT: u32 = 8;
/// Beyond this power of two all is one.
const LAST_BIT: u32 = 34;
/// How many cells there are.
pub(crate) const CELLS: usize = 1 + PER_OCTAVE * (LAST_BIT - FIRST_BIT) as usize;
/// Columns at most.
const COLUMNS_MAX: usize = 256;
/// What a column covers at first.
const FIRST_EVERY: Nanos = Nanos::from_millis(100);

/// One direction in one stretch of time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// Requests that completed without error.
    pub ios: u64,
    /// What they carried.
    pub bytes: u64,
    cells: Box<[u32; CELLS]>,
}

impl Column {
    fn new() -> Column {
        Column { ios: 0, bytes: 0, cells: Box::new([0; CELLS]) }
    }

    fn merge(&mut self, other: &Column) {
        self.ios += other.ios;
        self.bytes += other.bytes;
        self.cells.iter_mut().zip(other.cells.iter()).for_each(|(a, b)| *a = a.saturating_add(*b));
    }

    /// The cells that hold any: number and count.
    pub fn cells(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        self.cells.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }
}

/// Where a cell begins, in nanoseconds.
pub fn cell_ns(cell: usize) -> f64 {
    match cell.checked_sub(1) {
        None => 0.0,
        Some(rest) => {
            let octave = (rest / PER_OCTAVE) as u32 + FIRST_BIT;
            let part = (rest % PER_OCTAVE) as f64 / PER_OCTAVE as f64;
            2f64.powi(octave as i32) * (1.0 + part)
        }
    }
}

/// Columns by direction, from the moment on at which the first lane of a job was measured.
#[derive(Clone, PartialEq, Debug)]
pub struct Timeline {
    every: Nanos,
    /// By direction; what was not sent in a direction has no columns.
    columns: Vec<Vec<Column>>,
}

impl Timeline {
    /// Nothing yet.
    pub fn new(directions: usize) -> Timeline {
        Timeline { every: FIRST_EVERY, columns: vec![Vec::new(); directions] }
    }

    /// What a column covers.
    pub fn every(&self) -> Nanos {
        self.every
    }

    /// The columns of one direction.
    pub fn columns(&self, direction: usize) -> &[Column] {
        &self.columns[direction]
    }

    /// The column for what happened `at` after the start.
    fn column(&mut self, direction: usize, at: Nanos) -> &mut Column {
        while at.0 / self.every.0 >= COLUMNS_MAX as u64 {
            self.halve();
        }
        let index = (at.0 / self.every.0) as usize;
        let columns = &mut self.columns[direction];
        if columns.len() <= index {
            columns.resize_with(index + 1, Column::new);
        }
        &mut columns[index]
    }

    /// Makes one column of each two.
    fn halve(&mut self) {
        self.every = Nanos(self.every.0 * 2);
        for columns in &mut self.columns {
            let joined = columns.chunks(2).map(|pair| {
                let mut first = pair[0].clone();
                pair[1..].iter().for_each(|second| first.merge(second));
                first
            });
            *columns = joined.collect();
        }
    }

    /// Adds the timeline of lanes that ran at the same time.
    pub(crate) fn merge(&mut self, other: &Timeline) {
        let mut other = other.clone();
        while other.every < self.every {
            other.halve();
        }
        while self.every < other.every {
            self.halve();
        }
        for (mine, theirs) in self.columns.iter_mut().zip(other.columns) {
            let shared = mine.len().min(theirs.len());
            mine.iter_mut().zip(&theirs).for_each(|(a, b)| a.merge(b));
            mine.extend(theirs.into_iter().skip(shared));
        }
    }
}

/// What was already counted of one direction of one lane: the next column is the difference.
#[derive(Clone, Debug)]
pub(crate) struct Before {
    ios: u64,
    bytes: u64,
    cells: Box<[u32; CELLS]>,
    /// 99 of 100 requests of the last column that had any were done within about this.
    p99_ns: f64,
}

impl Before {
    pub(crate) fn new() -> Before {
        Before { ios: 0, bytes: 0, cells: Box::new([0; CELLS]), p99_ns: 0.0 }
    }

    pub(crate) fn p99_ns(&self) -> f64 {
        self.p99_ns
    }

    /// Adds what came since the last time to the timeline, at the column of `at`.
    pub(crate) fn advance(
        &mut self,
        timeline: &mut Timeline,
        direction: usize,
        at: Nanos,
        (ios, bytes): (u64, u64),
        histograms: &mut dyn Iterator<Item = &Histogram>,
    ) {
        if ios == self.ios {
            return;
        }
        let mut cells = [0u32; CELLS];
        for histogram in histograms {
            for (ns, count) in histogram.bins() {
                // More than 2^32 in a cell wrap, and so do differences: they come out right.
                let cell = &mut cells[cell_of(ns)];
                *cell = cell.wrapping_add(count as u32);
            }
        }
        let came = ios - self.ios;
        let column = timeline.column(direction, at);
        column.ios += came;
        column.bytes += bytes - self.bytes;
        let mut left = came - came / 100;
        for (index, (now, before)) in cells.iter().zip(self.cells.iter()).enumerate() {
            let fresh = now.wrapping_sub(*before);
            column.cells[index] = column.cells[index].saturating_add(fresh);
            if left > 0 && fresh > 0 {
                left = left.saturating_sub(u64::from(fresh));
                self.p99_ns = cell_ns(index + 1);
            }
        }
        (self.ios, self.bytes) = (ios, bytes);
        *self.cells = cells;
    }
}

fn cell_of(ns: u64) -> usize {
    let bit = 63 - (ns | 1).leading_zeros();
    if bit < FIRST_BIT {
        return 0;
    }
    if bit >= LAST_BIT {
        return CELLS - 1;
    }
    let part = (ns >> (bit - 3)) as usize & (PER_OCTAVE - 1);
    1 + (bit - FIRST_BIT) as usize * PER_OCTAVE + part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_ascend_and_hold_what_begins_in_them() {
        for cell in 1..CELLS {
            assert_eq!(cell_of(cell_ns(cell) as u64), cell);
            assert!(cell_ns(cell) > cell_ns(cell - 1));
        }
        assert_eq!((cell_of(0), cell_of(255), cell_of(u64::MAX)), (0, 0, CELLS - 1));
    }

    fn seconds(seconds: u64) -> Nanos {
        Nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_long_run_keeps_its_sums_and_its_size() {
        let mut timeline = Timeline::new(2);
        let (mut before, mut histogram) = (Before::new(), Histogram::new());
        for second in 0..10_000u64 {
            histogram.record(1_000_000 + second);
            let so_far = (second + 1, (second + 1) * 512);
            before.advance(
                &mut timeline,
                1,
                seconds(second),
                so_far,
                &mut [&histogram].into_iter(),
            );
        }
        let columns = timeline.columns(1);
        assert!(columns.len() <= COLUMNS_MAX && columns.len() > COLUMNS_MAX / 4);
        assert_eq!(columns.iter().map(|c| c.ios).sum::<u64>(), 10_000);
        assert_eq!(columns.iter().map(|c| c.bytes).sum::<u64>(), 10_000 * 512);
        let counted = columns.iter().flat_map(Column::cells).map(|(_, n)| u64::from(n));
        assert_eq!(counted.sum::<u64>(), 10_000);
        assert!(timeline.columns(0).is_empty());
        assert!((1_000_000.0..1_200_000.0).contains(&before.p99_ns()), "{}", before.p99_ns());
    }

    #[test]
    fn timelines_of_different_steps_add_up() {
        let lane = |last: u64| {
            let mut timeline = Timeline::new(1);
            let (mut before, mut histogram) = (Before::new(), Histogram::new());
            for second in 0..last {
                histogram.record(5_000);
                let so_far = (second + 1, 0);
                let row = &mut [&histogram].into_iter();
                before.advance(&mut timeline, 0, seconds(second), so_far, row);
            }
            timeline
        };
        let (short, long) = (lane(20), lane(200));
        assert!(short.every() < long.every());
        for (a, b) in [(&short, &long), (&long, &short)] {
            let mut both = a.clone();
            both.merge(b);
            assert_eq!(both.every(), long.every());
            assert_eq!(both.columns(0).iter().map(|c| c.ios).sum::<u64>(), 220);
        }
    }
}
