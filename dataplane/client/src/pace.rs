//! Which disks are slower than the others, as this client sees it.
//!
//! What must always hold: a disk is judged by how long it takes over what was granted to it, which
//! holds no queue, and beside all others; one slow read is no sign; a disk that is held for slow
//! is looked at again, by a read that nobody waits for, and rarely; what was seen long ago counts
//! for nothing.
//!
//! ```text
//! grant ─> cell: took      score: share of the last four or so that took three times the mean
//! score > 0.6: slow ─> read only where the others don't suffice; looked at every 5 s or more
//!       < 0.3: not slow any more
//! ```

use std::collections::BTreeMap;

use isotherm_placement::DiskNo;
use isotherm_seam::{Mono, Nanos};

/// Of the mean of all disks: one in a few hundred reads of a healthy disk takes so long.
const SLOW: f64 = 3.0;
/// Share of the newest read in a disk's score: four slow ones in a row are needed.
const SHARE: f64 = 0.25;
const SLOW_FROM: f64 = 0.6;
const SLOW_UNTIL: f64 = 0.3;
/// Share of the newest in the mean of all disks.
const MEAN_SHARE: f64 = 1.0 / 256.0;
/// What was seen before counts for nothing.
const FORGOTTEN_AFTER: Nanos = Nanos::from_secs(60);
/// A slow disk is looked at again after so long,
const LOOKS_EVERY: Nanos = Nanos::from_secs(5);
/// or after so many times as long as the last look took: if all clients do, it is a hundredth of
/// what it can do for each.
const LOOKS_SHARE: u64 = 100;

/// How long disks take over what was granted to them.
pub(crate) struct Paces {
    disks: BTreeMap<DiskNo, Pace>,
    /// Of all disks.
    mean_ns: f64,
}

#[derive(Clone, Copy, Default)]
struct Pace {
    score: f64,
    is_slow: bool,
    at: Mono,
    look_at: Mono,
}

impl Default for Paces {
    fn default() -> Paces {
        // A read of a disk that turns, until something is known.
        Paces { disks: BTreeMap::new(), mean_ns: 10e6 }
    }
}

impl Paces {
    /// A read of a disk took so long from its grant.
    pub(crate) fn served(&mut self, disk: DiskNo, took: Nanos, now: Mono) {
        let limit = self.mean_ns * SLOW;
        let is_slow = took.0 as f64 > limit;
        self.mean_ns += ((took.0 as f64).min(limit) - self.mean_ns) * MEAN_SHARE;
        // Of the many that never were slow nothing is kept.
        if !is_slow && !self.disks.contains_key(&disk) {
            return;
        }
        let pace = self.disks.entry(disk).or_default();
        if now.since(pace.at) > FORGOTTEN_AFTER {
            *pace = Pace::default();
        }
        pace.at = now;
        pace.score += (f64::from(u8::from(is_slow)) - pace.score) * SHARE;
        let limit = if pace.is_slow { SLOW_UNTIL } else { SLOW_FROM };
        let was_slow = std::mem::replace(&mut pace.is_slow, pace.score > limit);
        if pace.is_slow {
            pace.look_at = now + LOOKS_EVERY.max(Nanos(took.0.saturating_mul(LOOKS_SHARE)));
        } else if was_slow || pace.score < 0.01 {
            self.disks.remove(&disk);
        }
    }

    /// A read was not waited for any more, so long after its grant.
    pub(crate) fn given_up(&mut self, disk: DiskNo, after: Nanos, now: Mono) {
        // Sooner it says nothing.
        if after.0 as f64 > self.mean_ns * SLOW {
            self.served(disk, after, now);
        }
    }

    /// Whether a disk is slower than the others.
    pub(crate) fn is_slow(&self, disk: DiskNo, now: Mono) -> bool {
        let pace = self.disks.get(&disk);
        pace.is_some_and(|pace| pace.is_slow && now.since(pace.at) <= FORGOTTEN_AFTER)
    }

    /// Whether a slow disk is to be looked at now. If so, it is not again for a while.
    pub(crate) fn looks(&mut self, disk: DiskNo, now: Mono) -> bool {
        let Some(pace) = self.disks.get_mut(&disk) else { return false };
        let looks = pace.is_slow && pace.look_at <= now;
        if looks {
            pace.look_at = now + LOOKS_EVERY;
        }
        looks
    }

    /// A read that takes longer from its grant than this is a slow one.
    pub(crate) fn slow_after(&self) -> Nanos {
        Nanos((self.mean_ns * SLOW_CELL) as u64)
    }
}

/// Of the mean: nearly all reads of a disk are done by then, and what is not has met a retry, or a
/// slow disk.
const SLOW_CELL: f64 = 2.25;

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: DiskNo = DiskNo(3);
    const OTHER: DiskNo = DiskNo(4);
    const MS: fn(u64) -> Nanos = Nanos::from_millis;

    fn at(ms: u64) -> Mono {
        Mono::ZERO + MS(ms)
    }

    #[test]
    fn four_slow_reads_in_a_row_make_a_slow_disk_and_four_quick_ones_end_it() {
        let mut paces = Paces::default();
        for n in 0..3 {
            paces.served(DISK, MS(50), at(n));
        }
        assert!(!paces.is_slow(DISK, at(3)));
        paces.served(DISK, MS(50), at(3));
        assert!(paces.is_slow(DISK, at(3)) && !paces.is_slow(OTHER, at(3)));
        paces.served(DISK, MS(9), at(4));
        paces.served(DISK, MS(9), at(5));
        assert!(paces.is_slow(DISK, at(5)));
        paces.served(DISK, MS(9), at(6));
        assert!(!paces.is_slow(DISK, at(6)));
    }

    #[test]
    fn a_retry_now_and_then_is_no_sign() {
        let mut paces = Paces::default();
        for n in 0..1000 {
            let took = if n % 5 == 0 { MS(2_000) } else { MS(9) };
            paces.served(DISK, took, at(n * 20));
            assert!(!paces.is_slow(DISK, at(n * 20)));
        }
        assert!(paces.mean_ns < 20e6, "{}", paces.mean_ns);
    }

    #[test]
    fn a_slow_disk_is_looked_at_rarely_and_forgotten_in_the_end() {
        let mut paces = Paces::default();
        for n in 0..4 {
            paces.given_up(DISK, MS(90), at(n));
        }
        assert!(!paces.looks(DISK, at(8_000)), "nine seconds for a look of 90 ms");
        assert!(paces.looks(DISK, at(9_010)) && !paces.looks(DISK, at(9_020)));
        assert!(!paces.looks(OTHER, at(9_010)));
        assert!(paces.is_slow(DISK, at(60_000)) && !paces.is_slow(DISK, at(60_010)));
        paces.given_up(OTHER, MS(5), at(60_010));
        assert!(paces.disks.len() == 1, "what was given up early says nothing");
    }
}
