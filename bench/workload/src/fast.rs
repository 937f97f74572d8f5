//! A small generator for loops that draw once per I/O.
//!
//! What must always hold: it is for addresses, mixes and gaps of a workload, never for a fault
//! or a decision that a simulator must be able to take out: those are keyed draws
//! ([`isotherm_seam::draw`]). Its start is such a draw.

use isotherm_seam::{Domain, draw};

/// xoshiro256++ (Blackman and Vigna, 2019): period 2^256 - 1, about 1 ns a draw.
#[derive(Clone, Debug)]
pub struct FastRng {
    state: [u64; 4],
}

impl FastRng {
    /// The stream of this purpose and this entity under `seed`.
    pub fn new(seed: u64, domain: Domain, entity: u64) -> FastRng {
        let state = core::array::from_fn(|i| draw(seed, domain, entity, i as u64));
        // The all-zero state is the one that never leaves itself.
        FastRng { state: if state == [0; 4] { [1; 4] } else { state } }
    }

    /// The next 64 bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in 0..`bound`, with a bias below `bound` / 2^64. Zero for a bound of zero.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in [0, 1), 53 bits.
    #[inline]
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: Domain = Domain::new("workload.test.fast");

    #[test]
    fn it_is_xoshiro256_plus_plus() {
        // First draws from the state 1, 2, 3, 4, as the reference code gives them.
        let mut rng = FastRng { state: [1, 2, 3, 4] };
        let expected = [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386];
        for value in expected {
            assert_eq!(rng.next_u64(), value);
        }
    }

    #[test]
    fn it_is_uniform_enough_below_a_bound() {
        // 10 bins of 100,000 draws: mean 10,000, deviation 95.
        let mut rng = FastRng::new(3, TEST, 0);
        let mut bins = [0u32; 10];
        for _ in 0..100_000 {
            bins[rng.below(10) as usize] += 1;
        }
        assert!(bins.iter().all(|&n| (9_500..=10_500).contains(&n)), "{bins:?}");
    }

    #[test]
    fn entities_draw_apart() {
        let first = |entity| FastRng::new(3, TEST, entity).next_u64();
        assert_eq!(first(0), first(0));
        assert_ne!(first(0), first(1));
    }
}
