//! What a queue has done so far.

use isotherm_seam::Nanos;

use super::class::{CLASSES, Class};

/// Waits are counted by powers of two of a microsecond: below 1 µs, below 2, below 4 ...
pub const WAIT_BINS: usize = 32;

/// Of one class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassStats {
    /// Requests that reached the device.
    pub started: u64,
    /// Of those, requests that completed, well or not.
    pub done: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Told at once that the wait would be too long.
    pub refused: u64,
    /// Still waiting at their deadline.
    pub late: u64,
    /// Taken back while they waited.
    pub withdrawn: u64,
    /// Reservations that ended because nobody answered their claims.
    pub unanswered: u64,
    /// Disk time.
    pub disk_time: Nanos,
    /// Time from the call to the device, summed.
    pub waited: Nanos,
    /// The longest of those.
    pub wait_max: Nanos,
    /// How many waited how long.
    pub waits: [u64; WAIT_BINS],
    /// Waiting now.
    pub waiting: u32,
    /// In the device now.
    pub in_device: u32,
}

/// Of a queue, by class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SchedStats {
    /// By the class's number.
    pub classes: [ClassStats; CLASSES],
}

impl SchedStats {
    /// Of one class.
    pub fn of(&self, class: Class) -> &ClassStats {
        &self.classes[class.index()]
    }

    /// Time in which the disk had something to do.
    pub fn disk_time(&self) -> Nanos {
        self.classes.iter().fold(Nanos::ZERO, |sum, class| sum + class.disk_time)
    }

    pub(super) fn of_mut(&mut self, class: Class) -> &mut ClassStats {
        &mut self.classes[class.index()]
    }
}

impl ClassStats {
    #[inline]
    pub(super) fn starts(&mut self, wait: Nanos) {
        self.started += 1;
        self.in_device += 1;
        self.waited += wait;
        self.wait_max = self.wait_max.max(wait);
        self.waits[wait_bin(wait)] += 1;
    }

    #[inline]
    pub(super) fn ends(&mut self, disk_time: Nanos, bytes: u64) {
        self.done += 1;
        self.in_device -= 1;
        self.disk_time += disk_time;
        self.bytes += bytes;
    }
}

#[inline]
fn wait_bin(wait: Nanos) -> usize {
    let us = wait.0 / 1000;
    ((u64::BITS - us.leading_zeros()) as usize).min(WAIT_BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_double() {
        let bins = [0, 999, 1_000, 1_999, 2_000, 4_000, 1_000_000].map(|ns| wait_bin(Nanos(ns)));
        assert_eq!(bins, [0, 0, 1, 1, 2, 3, 10]);
        assert_eq!(wait_bin(Nanos(u64::MAX)), WAIT_BINS - 1);
    }
}
