//! What is told of a lane, while it runs and at its end.

use isotherm_seam::{Mono, Nanos};
use isotherm_workload::Direction;

use super::{Lane, LaneDisk};
use crate::Tally;
use crate::drive::DiskSight;
use crate::timeline::Timeline;

impl Lane {
    /// Requests that it may have in flight.
    pub(crate) fn depth(&self) -> u32 {
        self.order.depth
    }

    /// Begins to measure when the ramp is over. Called every now and then.
    pub(crate) fn ramp(&mut self, now: Mono) {
        if self.measure_from.is_some_and(|from| now >= from) {
            self.begin_measuring(now);
        }
    }

    /// Takes samples for what is told over time, unless measuring has not begun.
    pub(crate) fn sample(&mut self, now: Mono, timeline: &mut Timeline, end: bool) {
        if self.measure_from.is_some() {
            return;
        }
        for direction in Direction::ALL {
            let so_far = (self.ios(direction), self.bytes(direction));
            let tallies = self.disks.iter().map(|disk| &disk.tallies[direction.index()]);
            let mut histograms = tallies.map(|tally| &tally.latencies.histogram);
            self.meter.sample(now, direction, so_far, &mut histograms, timeline, end);
        }
    }

    /// Requests completed without error since measuring began.
    pub(crate) fn ios(&self, direction: Direction) -> u64 {
        self.disks.iter().map(|disk| disk.tallies[direction.index()].ios()).sum()
    }

    /// What those carried.
    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        match self.fixed {
            Some(bytes) => self.ios(direction) * bytes,
            None => self.disks.iter().map(|disk| disk.tallies[direction.index()].bytes).sum(),
        }
    }

    /// How its disks do.
    pub(crate) fn sights(&self) -> Vec<DiskSight> {
        let sight = |(number, disk): (usize, &LaneDisk)| DiskSight {
            name: disk.device.info().name,
            order: (self.standing.rank, number),
            ios: disk.tallies.iter().map(Tally::ios).sum(),
            errors: disk.tallies.iter().map(|tally| tally.errors).sum(),
            p99_ns: self.meter.p99_ns(),
        };
        self.disks.iter().enumerate().map(sight).collect()
    }

    /// Adds up what is not counted per request. Called before results are taken.
    pub(crate) fn settle(&mut self, now: Mono) {
        self.ended = now;
        let Some(bytes) = self.fixed else { return };
        for tally in self.disks.iter_mut().flat_map(|disk| &mut disk.tallies) {
            tally.bytes = tally.ios() * bytes;
        }
    }

    /// Closes the books: the last request has completed.
    pub(crate) fn end(&mut self, now: Mono, timeline: &mut Timeline) {
        self.settle(now);
        self.sample(now, timeline, true);
        if let Some(book) = &mut self.meter.book {
            book.end(now);
        }
        if let Some(rules) = &mut self.rules {
            self.found_depth = rules.found_depth();
            rules.leave();
        }
        let standing = &self.standing;
        let failed = self.failure.is_some();
        standing.company.ended(standing.job, standing.group, &standing.exit, failed);
    }

    /// How long it was measured.
    pub(crate) fn elapsed(&self) -> Nanos {
        self.ended.since(self.started)
    }
}
