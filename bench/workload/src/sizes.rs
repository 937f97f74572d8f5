//! How long requests are: all alike, from a range, or drawn by shares.
//!
//! What must always hold: a length drawn fits the room that is left for it, and is no shorter than
//! the shortest of its law. With the shares of a split, a length that does not fit is drawn
//! again, so near a region's end the short ones are more frequent, as in fio.

use crate::FastRng;

/// The law of the lengths in one direction, in bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SizeLaw {
    /// All alike.
    Fixed(u64),
    /// Evenly between two, both included. Where the least is a power of two, in multiples of it.
    Range {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// So many of this length, so many of that. What is left of 100 percent goes to the last.
    Split(Vec<SizeShare>),
}

/// One length of a split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeShare {
    /// The length.
    pub bytes: u64,
    /// How many requests have it, in percent.
    pub percent: u32,
}

/// Draws in vain before the least length is taken.
const DRAWS_MAX: u32 = 32;

impl SizeLaw {
    /// The least length.
    pub fn min(&self) -> u64 {
        match self {
            SizeLaw::Fixed(bytes) => *bytes,
            SizeLaw::Range { min, .. } => *min,
            SizeLaw::Split(shares) => shares.iter().map(|s| s.bytes).min().unwrap_or(0),
        }
    }

    /// The greatest length.
    pub fn max(&self) -> u64 {
        match self {
            SizeLaw::Fixed(bytes) => *bytes,
            SizeLaw::Range { max, .. } => *max,
            SizeLaw::Split(shares) => shares.iter().map(|s| s.bytes).max().unwrap_or(0),
        }
    }

    /// The one length, if there is but one.
    pub fn fixed(&self) -> Option<u64> {
        (self.min() == self.max()).then(|| self.min())
    }

    /// Of each length that it may draw, whether `fits` holds; the first that does not.
    pub fn misfit(&self, fits: impl Fn(u64) -> bool) -> Option<u64> {
        match self {
            SizeLaw::Fixed(bytes) => Some(*bytes).filter(|&bytes| !fits(bytes)),
            // Those between are multiples of the least, if that is a power of two; else anything.
            SizeLaw::Range { min, max } if min.is_power_of_two() || min == max => {
                Some(*min).filter(|&bytes| !fits(bytes))
            }
            SizeLaw::Range { min, .. } => Some(*min),
            SizeLaw::Split(shares) => shares.iter().map(|s| s.bytes).find(|&bytes| !fits(bytes)),
        }
    }

    /// The next length. `room_bytes` is no less than the least.
    #[inline]
    pub fn draw(&self, rng: &mut FastRng, room_bytes: u64) -> u64 {
        if let SizeLaw::Fixed(bytes) = self {
            return *bytes;
        }
        self.draw_one(rng, room_bytes)
    }

    fn draw_one(&self, rng: &mut FastRng, room_bytes: u64) -> u64 {
        debug_assert!(room_bytes >= self.min(), "there is room for the least");
        for _ in 0..DRAWS_MAX {
            let bytes = match self {
                SizeLaw::Fixed(bytes) => *bytes,
                SizeLaw::Range { min, max } => {
                    let bytes = min + rng.below(max - min + 1);
                    if min.is_power_of_two() { bytes & !(min - 1) } else { bytes }
                }
                SizeLaw::Split(shares) => {
                    let mut left = rng.below(100);
                    let chosen = shares.iter().find(|share| {
                        let mine = left < u64::from(share.percent);
                        left = left.saturating_sub(u64::from(share.percent));
                        mine
                    });
                    chosen.or(shares.last()).map_or(0, |share| share.bytes)
                }
            };
            if bytes <= room_bytes {
                return bytes;
            }
        }
        self.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_seam::Domain;

    fn rng() -> FastRng {
        FastRng::new(3, Domain::new("workload.test.sizes"), 0)
    }

    fn split(shares: &[(u64, u32)]) -> SizeLaw {
        let share = |&(bytes, percent): &(u64, u32)| SizeShare { bytes, percent };
        SizeLaw::Split(shares.iter().map(share).collect())
    }

    #[test]
    fn shares_are_kept() {
        let law = split(&[(4096, 60), (65_536, 30), (512, 5)]);
        assert_eq!((law.min(), law.max(), law.fixed()), (512, 65_536, None));
        let mut rng = rng();
        let drawn: Vec<u64> = (0..20_000).map(|_| law.draw(&mut rng, u64::MAX)).collect();
        let count = |bytes| drawn.iter().filter(|&&b| b == bytes).count();
        // Binomial: deviation 69 at 60 percent. The last has its 5 and the 5 that are left.
        assert!((11_600..12_400).contains(&count(4096)), "{}", count(4096));
        assert!((1_800..2_200).contains(&count(512)), "{}", count(512));
    }

    #[test]
    fn what_is_drawn_fits() {
        let mut rng = rng();
        for law in [split(&[(4096, 50), (65_536, 50)]), SizeLaw::Range { min: 4096, max: 65_536 }] {
            let longest = (0..2_000).map(|_| law.draw(&mut rng, 8192)).max();
            assert!(longest <= Some(8192) && longest >= Some(4096), "{law:?}");
        }
        assert_eq!(split(&[(4096, 0), (65_536, 100)]).draw(&mut rng, 4096), 4096);
    }

    #[test]
    fn a_range_is_in_steps_of_its_least() {
        let law = SizeLaw::Range { min: 4096, max: 20_000 };
        let mut rng = rng();
        let mut drawn: Vec<u64> = (0..2_000).map(|_| law.draw(&mut rng, u64::MAX)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [4096, 8192, 12_288, 16_384]);
        assert_eq!(law.misfit(|bytes| bytes.is_multiple_of(512)), None);
        let odd = SizeLaw::Range { min: 5000, max: 6000 };
        assert_eq!(odd.misfit(|bytes| bytes.is_multiple_of(8)), Some(5000));
        assert_eq!(SizeLaw::Range { min: 4096, max: 4096 }.fixed(), Some(4096));
    }
}
