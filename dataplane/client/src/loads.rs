//! What this client has seen of disks: its own requests under way, how long the last ones took.
//! And how long its reads take, so that it knows which are slow.
//!
//! What must always hold: what was seen counts for less as it grows old, and for nothing after a
//! few seconds; further reads for the sake of slow ones stay a small share of all.

use std::collections::BTreeMap;

use isotherm_placement::DiskNo;
use isotherm_seam::{Draws, Mono, Nanos};

/// What was seen is half forgotten after so long.
const HALF_LIFE: Nanos = Nanos::from_secs(1);
/// Share of the newest in the mean.
const SHARE: f64 = 0.25;

/// Disks as this client sees them.
#[derive(Default)]
pub(crate) struct Loads {
    disks: BTreeMap<DiskNo, Seen>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    under_way: u32,
    mean_ns: f64,
    at: Mono,
}

impl Loads {
    pub(crate) fn began(&mut self, disk: DiskNo) {
        self.disks.entry(disk).or_default().under_way += 1;
    }

    pub(crate) fn ended(&mut self, disk: DiskNo, took: Nanos, now: Mono) {
        let seen = self.disks.entry(disk).or_default();
        seen.under_way = seen.under_way.saturating_sub(1);
        let before = seen.mean_ns * fading(now.since(seen.at));
        seen.mean_ns = before + (took.0 as f64 - before) * SHARE;
        seen.at = now;
    }

    pub(crate) fn dropped(&mut self, disk: DiskNo) {
        let seen = self.disks.entry(disk).or_default();
        seen.under_way = seen.under_way.saturating_sub(1);
    }

    /// How long a read of a disk is expected to take.
    pub(crate) fn expected(&self, disk: DiskNo, now: Mono) -> Nanos {
        let Some(seen) = self.disks.get(&disk) else { return Nanos::ZERO };
        let mean = seen.mean_ns * fading(now.since(seen.at));
        // At least a service for each of its own that is before it.
        let own = f64::from(seen.under_way) * mean.max(SERVICE.0 as f64);
        Nanos((mean + own) as u64)
    }
}

/// A read of a disk with nothing to do.
const SERVICE: Nanos = Nanos::from_millis(10);

fn fading(age: Nanos) -> f64 {
    (-age.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
}

/// Share of the newest offer in what is known of how many arms stand still: that of about three
/// reads of ten cells.
const OFFER_SHARE: f64 = 1.0 / 32.0;
/// Where fewer stand still, offers save nothing.
const STILL_FROM: f64 = 0.5;
/// One read of so many makes offers nevertheless, to see whether it is still so.
const LOOKS_ONE_OF: f64 = 16.0;

/// Whether arms stand still when this client comes to them, as its offers find them.
#[derive(Clone, Copy)]
pub(crate) struct Stillness {
    share: f64,
}

impl Default for Stillness {
    fn default() -> Stillness {
        Stillness { share: 1.0 }
    }
}

impl Stillness {
    /// What was offered has begun at once, or has not.
    pub(crate) fn offered(&mut self, has_begun: bool) {
        self.share += (f64::from(u8::from(has_begun)) - self.share) * OFFER_SHARE;
    }

    /// Whether the next read makes offers.
    pub(crate) fn offers(&self, draws: &mut Draws) -> bool {
        self.share >= STILL_FROM || draws.happens(1.0 / LOOKS_ONE_OF)
    }
}

/// How long reads take, and what may be spent on slow ones.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// 95 of 100 reads are done by then, about.
    slow_ns: f64,
    /// Of the first reads: how many there were, and the longest of them.
    first: u32,
    longest_ns: f64,
    quantile: f64,
    /// Further reads per read.
    budget: f64,
    saved_max: f64,
    tokens: f64,
}

/// Further reads that may be saved up.
const SAVED_MAX: f64 = 10.0;
const QUANTILE: f64 = 0.95;
/// The same where a slow one costs many.
const SAVED_FEW_MAX: f64 = 100.0;
/// Of reads for the sake of which `k` others are made.
const QUANTILE_FEW: f64 = 0.997;
/// Of the estimate that one read may move it by.
const STEP: f64 = 0.05;

impl Patience {
    pub(crate) fn new(first: Nanos, per_mille: u32) -> Patience {
        Patience {
            slow_ns: first.0 as f64,
            first: 0,
            longest_ns: 0.0,
            quantile: QUANTILE,
            budget: f64::from(per_mille) / 1000.0,
            saved_max: SAVED_MAX,
            tokens: 0.0,
        }
    }

    /// The same where a slow one costs many.
    pub(crate) fn few(self) -> Patience {
        Patience { quantile: QUANTILE_FEW, saved_max: SAVED_FEW_MAX, ..self }
    }

    /// A read took so long.
    pub(crate) fn took(&mut self, took: Nanos) {
        self.tokens = (self.tokens + self.budget).min(self.saved_max);
        // Of so many reads the longest is about at the quantile; by steps it would take far longer to
        // come there from afar.
        let enough = (1.0 / (1.0 - self.quantile)).round() as u32;
        if self.first < enough {
            self.first += 1;
            self.longest_ns = self.longest_ns.max(took.0 as f64);
            if self.first == enough {
                self.slow_ns = self.slow_ns.min(self.longest_ns);
            }
            return;
        }
        // Up a lot for the few that are above, down a little for the many below.
        let step = self.slow_ns * STEP;
        let above = took.0 as f64 > self.slow_ns;
        self.slow_ns += if above { step * self.quantile } else { -step * (1.0 - self.quantile) };
    }

    /// A read that is not done by then is slow.
    pub(crate) fn slow_after(&self) -> Nanos {
        Nanos(self.slow_ns as u64)
    }

    /// Takes so many further reads out of the budget, if it has them.
    pub(crate) fn spend(&mut self, reads: f64) -> bool {
        let has = self.tokens >= reads;
        if has {
            self.tokens -= reads;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{Domain, Draws};

    use super::*;

    const DISK: DiskNo = DiskNo(3);

    #[test]
    fn what_was_seen_is_forgotten() {
        let mut loads = Loads::default();
        assert_eq!(loads.expected(DISK, Mono(0)), Nanos::ZERO);
        loads.began(DISK);
        loads.ended(DISK, Nanos::from_millis(400), Mono(0));
        assert_eq!(loads.expected(DISK, Mono(0)), Nanos::from_millis(100));
        assert_eq!(loads.expected(DISK, Mono(0) + HALF_LIFE), Nanos::from_millis(50));
        assert!(loads.expected(DISK, Mono(0) + Nanos::from_secs(20)) < Nanos::from_micros(1));
        loads.began(DISK);
        loads.began(DISK);
        assert!(loads.expected(DISK, Mono(0) + Nanos::from_secs(20)) >= Nanos::from_millis(20));
    }

    #[test]
    fn offers_are_made_while_arms_stand_still_and_now_and_then_otherwise() {
        let mut draws = Draws::new(3, Domain::new("test.stillness"), 0);
        let mut stillness = Stillness::default();
        let mut made =
            |stillness: &Stillness| (0..1600).filter(|_| stillness.offers(&mut draws)).count();
        assert_eq!(made(&stillness), 1600);
        for _ in 0..30 {
            stillness.offered(false);
        }
        assert!((60..140).contains(&made(&stillness)));
        for _ in 0..30 {
            stillness.offered(true);
        }
        assert_eq!(made(&stillness), 1600);
    }

    #[test]
    fn what_is_slow_is_soon_known() {
        let first = Nanos::from_millis(300);
        let mut patience = [Patience::new(first, 30), Patience::new(first, 30).few()];
        for (patience, reads) in patience.iter_mut().zip([20, 333]) {
            let mut draws = Draws::new(2, Domain::new("test.patience"), 0);
            for _ in 0..reads {
                assert_eq!(patience.slow_after(), first);
                patience.took(Nanos::from_micros(draws.below(100_000)));
            }
            assert!(patience.slow_after() < Nanos::from_millis(100));
            assert!(patience.slow_after() > Nanos::from_millis(80));
        }
    }

    #[test]
    fn one_read_in_twenty_is_slow_and_few_are_hedged() {
        let mut patience = Patience::new(Nanos::from_millis(300), 30);
        let mut draws = Draws::new(1, Domain::new("test.patience"), 0);
        let (mut slow, mut spent) = (0, 0);
        for round in 0..20_000 {
            // Up to 100 ms, evenly.
            let took = Nanos::from_micros(draws.below(100_000));
            if round >= 10_000 && took > patience.slow_after() {
                slow += 1;
                spent += u32::from(patience.spend(1.0));
            }
            patience.took(took);
        }
        assert!((400..600).contains(&slow), "{slow} of 10,000");
        assert!((280..320).contains(&spent), "{spent} of 10,000");
    }
}
