//! Chance as a seam.
//!
//! What must always hold: in simulation a draw depends only on (seed, domain, entity,
//! counter), never on what other parts drew before. So taking one action out of a failing plan
//! leaves all other draws as they were, and the plan can be shrunk.

/// What a draw is for: one stream of chance per purpose, so that a new use does not shift the
/// draws of the old ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Domain(u64);

impl Domain {
    /// A domain by name, such as `"fault.eio"`. Names are unique within the project.
    pub const fn new(name: &str) -> Domain {
        // FNV-1a, 64 bits: at compile time, and only ever mixed again by `draw`.
        let bytes = name.as_bytes();
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut i = 0;
        while i < bytes.len() {
            hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            i += 1;
        }
        Domain(hash)
    }
}

/// Where product code takes chance from.
///
/// The real half is a ChaCha stream keyed by the operating system and ignores its arguments;
/// the seeded half answers [`draw`] with a counter per (domain, entity).
pub trait Entropy {
    /// The next 64 bits for this purpose and this entity (a disk, a connection, …).
    fn next_u64(&self, domain: Domain, entity: u64) -> u64;
}

/// 64 bits for (seed, domain, entity, counter): the same for the same four, otherwise as good
/// as independent.
pub fn draw(seed: u64, domain: Domain, entity: u64, counter: u64) -> u64 {
    let mut h = mix(seed ^ 0x9e37_79b9_7f4a_7c15);
    h = mix(h ^ domain.0);
    h = mix(h.rotate_left(17) ^ entity.wrapping_mul(0xff51_afd7_ed55_8ccd));
    mix(h.rotate_left(31) ^ counter.wrapping_mul(0xc4ce_b9fe_1a85_ec53))
}

/// Stafford's variant 13 of the 64-bit finaliser, as in SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A counted stream of draws for one purpose and one entity.
#[derive(Clone, Debug)]
pub struct Draws {
    seed: u64,
    domain: Domain,
    entity: u64,
    counter: u64,
}

impl Draws {
    /// The stream from its first draw.
    pub const fn new(seed: u64, domain: Domain, entity: u64) -> Draws {
        Draws { seed, domain, entity, counter: 0 }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let value = draw(self.seed, self.domain, self.entity, self.counter);
        self.counter += 1;
        value
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0..`bound`; `bound` is not zero. The bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below zero");
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// True with probability `p`.
    pub fn happens(&mut self, p: f64) -> bool {
        self.next_f64() < p
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Domain = Domain::new("test.a");
    const B: Domain = Domain::new("test.b");

    #[test]
    fn a_draw_depends_on_each_of_its_four_keys() {
        let base = draw(1, A, 2, 3);
        assert_eq!(base, draw(1, A, 2, 3));
        for other in [draw(2, A, 2, 3), draw(1, B, 2, 3), draw(1, A, 3, 3), draw(1, A, 2, 4)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn draws_are_uniform_enough() {
        // 16 bins of 65,536 draws: each bin is Binomial with mean 4,096 and deviation 62.
        let mut draws = Draws::new(7, A, 0);
        let mut bins = [0u32; 16];
        for _ in 0..65_536 {
            bins[draws.below(16) as usize] += 1;
        }
        for (bin, &count) in bins.iter().enumerate() {
            assert!((3_780..=4_410).contains(&count), "bin {bin}: {count}");
        }
    }

    #[test]
    fn neighbouring_entities_do_not_correlate() {
        // Of 4,096 pairs, equal top bits: Binomial with mean 2,048 and deviation 32.
        let equal =
            (0..4_096u64).filter(|&e| draw(9, A, e, 0) >> 63 == draw(9, A, e + 1, 0) >> 63).count();
        assert!((1_880..=2_216).contains(&equal), "{equal}");
    }
}
