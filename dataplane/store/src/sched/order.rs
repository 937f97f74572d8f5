//! Which read is next.
//!
//! What must always hold: the choice depends on the reads that wait, the arm's place and the
//! time; no read waits for much longer than half as much again as its queue takes; of equals
//! the oldest goes.
//!
//! ```text
//! score = access(distance) - w × age      w = min(0.1, 0.5 / n); 0.2 where most are reserved
//! bound = max(100 ms, 1.5 × n̂ × mean service)
//! ```

use isotherm_seam::{Mono, Nanos};

use super::profile::DiskProfile;

/// Age weight of a short queue.
const WEIGHT_MAX: f32 = 0.1;
/// Age weight of a queue that is mostly reservations: it is short, as those that wait for long are
/// served elsewhere, and a read is as late as its last cell.
const WEIGHT_RESERVED: f32 = 0.2;
/// Age weight times the length of the queue.
const WEIGHT_LENGTH: f32 = 0.5;
/// No read is too old before this age: nine mean services of a nearline disk.
const BOUND_MIN: Nanos = Nanos::from_millis(100);
/// Too old is who has waited for so much of what its queue takes.
const BOUND_LENGTH: f64 = 1.5;

/// A read that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Radius of its first block.
    pub(super) radius: f32,
    /// Its first block.
    pub(super) first: u64,
    pub(super) arrived: Mono,
    /// How many waited when it came, itself included.
    pub(super) crowd: u32,
}

/// Where the arm will be.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Place {
    pub(super) radius: f32,
    /// The block after the last.
    pub(super) block: u64,
}

/// Chooses among `n` reads, those of one arrival order first to last; the position of the one
/// that is next.
pub(super) fn choose(
    profile: &DiskProfile,
    place: Place,
    now: Mono,
    mean_service: Nanos,
    n: u32,
    mostly_reserved: bool,
    reads: impl Iterator<Item = Waiting>,
) -> Option<usize> {
    let weight = match mostly_reserved {
        true => WEIGHT_RESERVED,
        false => WEIGHT_MAX.min(WEIGHT_LENGTH / n.max(1) as f32),
    };
    let mut best: Option<(usize, f32, Nanos)> = None;
    let mut oldest: Option<(usize, Nanos)> = None;
    for (position, read) in reads.enumerate() {
        let age = now.since(read.arrived);
        if oldest.is_none_or(|(_, most)| age > most) && age > bound(mean_service, n, read.crowd) {
            oldest = Some((position, age));
        }
        let score = approach(profile, place, &read) - weight * age.0 as f32;
        let better = best
            .is_none_or(|(_, least, its_age)| score < least || (score == least && age > its_age));
        if better {
            best = Some((position, score, age));
        }
    }
    oldest.map(|(position, _)| position).or(best.map(|(position, ..)| position))
}

/// From where the arm is to the first byte at best, in nanoseconds.
#[inline]
fn approach(profile: &DiskProfile, place: Place, read: &Waiting) -> f32 {
    if read.first == place.block {
        return 0.0; // It goes on where the arm is.
    }
    profile.access((read.radius - place.radius).abs()).0 as f32
}

/// The age from which a read is next wherever it is.
#[inline]
fn bound(mean_service: Nanos, n: u32, crowd: u32) -> Nanos {
    let queue = f64::from(n.max(crowd)) * mean_service.0 as f64;
    BOUND_MIN.max(Nanos((BOUND_LENGTH * queue) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: Nanos = Nanos::from_millis(8);
    const NOW: Mono = Mono(10_000_000_000);

    fn read(radius: f32, age_ms: u64) -> Waiting {
        let arrived = Mono(NOW.0 - age_ms * 1_000_000);
        Waiting { radius, first: (radius * 1e9) as u64, arrived, crowd: 1 }
    }

    fn chosen(reads: &[Waiting]) -> usize {
        let place = Place { radius: 0.5, block: 7 };
        let n = reads.len() as u32;
        let profile = DiskProfile::nearline();
        choose(&profile, place, NOW, MEAN, n, false, reads.iter().copied()).unwrap()
    }

    #[test]
    fn of_equal_age_the_nearest_goes() {
        assert_eq!(chosen(&[read(0.1, 5), read(0.45, 5), read(0.9, 5)]), 1);
    }

    #[test]
    fn of_equal_distance_the_oldest_goes() {
        assert_eq!(chosen(&[read(0.4, 5), read(0.4, 6), read(0.4, 4)]), 1);
    }

    #[test]
    fn age_is_worth_some_distance() {
        // 0.1 and 0.2 of the stroke away: 4.3 and 5.5 ms, so 12 ms of age at 0.1 of weight.
        assert_eq!(chosen(&[read(0.6, 0), read(0.7, 5)]), 0);
        assert_eq!(chosen(&[read(0.6, 0), read(0.7, 30)]), 1);
        // In a long queue the same age is worth less.
        let mut many = vec![read(0.6, 0), read(0.7, 30)];
        many.extend((0..30).map(|_| read(0.99, 0)));
        assert_eq!(chosen(&many), 0);
    }

    #[test]
    fn age_is_worth_more_among_reservations() {
        let place = Place { radius: 0.5, block: 7 };
        let reads = [read(0.6, 0), read(0.7, 8)];
        let chosen = |reserved| {
            let (profile, reads) = (DiskProfile::nearline(), reads.iter().copied());
            choose(&profile, place, NOW, MEAN, 2, reserved, reads).unwrap()
        };
        // 1.2 ms of seek against 8 ms of age.
        assert_eq!((chosen(false), chosen(true)), (0, 1));
    }

    #[test]
    fn what_is_too_old_goes_wherever_it_is() {
        // Half the stroke is 7.5 ms more than none; 0.5 / 8 of 99 ms is 6.2.
        let with = |age_ms| {
            let mut eight = vec![read(0.5, 0); 7];
            eight.push(read(1.0, age_ms));
            chosen(&eight)
        };
        assert_eq!((with(99), with(101)), (0, 7));
        assert_eq!(chosen(&[read(0.5, 0), read(1.0, 101), read(0.0, 102)]), 2);
        // With 16 in the queue 101 ms are nothing: 1.5 × 16 × 8 = 192 ms.
        let mut many: Vec<Waiting> = vec![read(0.5, 0); 15];
        many.push(read(1.0, 101));
        assert_eq!(chosen(&many), 0);
        many[15] = read(1.0, 193);
        assert_eq!(chosen(&many), 15);
        // So it is for one that came when there were 16, and few are left.
        let eight = |crowd| {
            let mut eight = vec![read(0.5, 0); 7];
            eight.push(Waiting { crowd, ..read(1.0, 115) });
            chosen(&eight)
        };
        assert_eq!((eight(1), eight(16)), (7, 0));
    }

    #[test]
    fn what_goes_on_where_the_arm_is_goes_first() {
        let next = Waiting { first: 7, ..read(0.5, 0) };
        assert_eq!(chosen(&[read(0.5, 10), next]), 1);
    }

    #[test]
    fn nothing_waits() {
        assert_eq!(
            choose(&DiskProfile::nearline(), Place::default(), NOW, MEAN, 0, false, [].into_iter()),
            None
        );
    }
}
