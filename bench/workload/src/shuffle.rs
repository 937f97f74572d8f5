//! Each block once, in an order that looks random, without remembering which were visited.
//!
//! fio keeps a map of visited blocks: 32 MiB for a disk of 1 TiB at 4 KiB, for each job. A
//! keyed bijection of 0..count gives the same promise, every block just once per pass, from
//! 40 bytes of state; and the request at any step is known without taking those before it.
//!
//! ```text
//! k bits hold count - 1:  x -> (x + a) * odd -> x ^ x >> k/2 -> ... three rounds, all modulo
//! 2^k, each a bijection of k bits. A result at or above count is put through again ("cycle
//! walking", Black and Rogaway 2002), fewer than two times on average, as 2^(k-1) < count.
//! ```

use isotherm_seam::{Domain, draw};

const SHUFFLE: Domain = Domain::new("workload.shuffle");
const ROUNDS: usize = 3;

/// A permutation of 0..count, chosen by a seed.
#[derive(Clone, Debug)]
pub struct Shuffle {
    count: u64,
    mask: u64,
    shift: u32,
    rounds: [(u64, u64); ROUNDS],
}

impl Shuffle {
    /// The permutation of `0..count` for pass number `pass` under `seed`.
    pub fn new(count: u64, seed: u64, pass: u64) -> Shuffle {
        assert!(count > 0, "there is no order of nothing");
        let bits = (64 - (count - 1).leading_zeros()).max(1);
        let word = |i: usize| draw(seed, SHUFFLE, pass, i as u64);
        Shuffle {
            count,
            mask: u64::MAX >> (64 - bits),
            shift: (bits / 2).max(1),
            rounds: core::array::from_fn(|i| (word(2 * i), word(2 * i + 1) | 1)),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Where step `step` goes; `step` is below the count.
    #[inline]
    pub fn at(&self, step: u64) -> u64 {
        debug_assert!(step < self.count);
        let mut x = step;
        loop {
            for &(add, odd) in &self.rounds {
                x = x.wrapping_add(add).wrapping_mul(odd) & self.mask;
                x ^= x >> self.shift;
            }
            if x < self.count {
                return x;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_visited_just_once() {
        for count in [1, 2, 3, 5, 8, 100, 1000, 4096, 4097, 65_535] {
            for seed in 0..5 {
                let shuffle = Shuffle::new(count, seed, 0);
                let mut seen = vec![false; count as usize];
                for step in 0..count {
                    let place = &mut seen[shuffle.at(step) as usize];
                    assert!(!*place, "count {count}, seed {seed}, step {step}");
                    *place = true;
                }
            }
        }
    }

    #[test]
    fn passes_and_seeds_differ() {
        let first = |seed, pass| -> Vec<u64> {
            let shuffle = Shuffle::new(1 << 20, seed, pass);
            (0..8).map(|step| shuffle.at(step)).collect()
        };
        assert_eq!(first(1, 0), first(1, 0));
        assert_ne!(first(1, 0), first(1, 1));
        assert_ne!(first(1, 0), first(2, 0));
    }

    /// What an arm sees: successive distances of uniform draws have the mean of a third of the
    /// span. For 20,000 steps its deviation is 0.0017 of the span.
    #[test]
    fn distances_are_those_of_uniform_draws() {
        for count in [1 << 28, 3_000_000, (1 << 30) + 1] {
            for seed in 0..4 {
                let shuffle = Shuffle::new(count, seed, 0);
                let mean = (0..20_000)
                    .map(|i| shuffle.at(i).abs_diff(shuffle.at(i + 1)) as f64)
                    .sum::<f64>()
                    / 20_000.0
                    / count as f64;
                assert!((mean - 1.0 / 3.0).abs() < 0.01, "count {count} seed {seed}: {mean}");
            }
        }
    }

    /// 64 bins of 64,000 early steps: each has mean 1,000, deviation 31.
    #[test]
    fn the_first_steps_cover_the_span_evenly() {
        for seed in 0..4 {
            let shuffle = Shuffle::new(1 << 28, seed, 0);
            let mut bins = [0u32; 64];
            for step in 0..64_000 {
                bins[(shuffle.at(step) >> 22) as usize] += 1;
            }
            assert!(bins.iter().all(|n| (800..1200).contains(n)), "seed {seed}: {bins:?}");
        }
    }
}
