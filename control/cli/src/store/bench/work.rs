//! Which key is asked for, and how long its shard is.
//!
//! What must always hold: everything is a function of the seed and the number of a shard, so a
//! shard that is put again has its old length, and two runs ask the same.

use isotherm_seam::{Domain, Draws, draw};
use isotherm_store::layout::Shape;
use isotherm_store::{BLOCK_BYTES, Key, PAYLOAD_MAX};

use super::super::words;

const LENGTHS: Domain = Domain::new("cli.store.bench.lengths");

/// Keys of a run have groups that no cluster gives out.
const GROUP_FIRST: u32 = 4_000_000_000;
/// Shards of one group.
const GROUP_SHARDS: u64 = 4096;
/// Samples for the mean of a span.
const SAMPLES: u64 = 4096;

/// How long shards are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sizes {
    /// Each as frequent as the others; or the two ends of a span.
    listed: Vec<u32>,
    is_span: bool,
    seed: u64,
}

impl Sizes {
    /// Reads `64k`, `4k,64k,1m` or `4k..1m`.
    pub(super) fn parse(text: &str) -> Result<Sizes, String> {
        let size = |text: &str| {
            let bytes = words::bytes(text)?;
            let most = u64::from(PAYLOAD_MAX);
            match (8..=most).contains(&bytes) {
                true => Ok(bytes as u32),
                false => Err(format!("{text}: 8 to {most} bytes are expected")),
            }
        };
        let (listed, is_span) = match text.split_once("..") {
            Some((least, most)) => (vec![size(least)?, size(most)?], true),
            None => (text.split(',').map(size).collect::<Result<_, _>>()?, false),
        };
        if is_span && listed[0] > listed[1] {
            return Err(format!("{text}: the smaller one comes first"));
        }
        Ok(Sizes { listed, is_span, seed: 0 })
    }

    pub(super) fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    pub(super) fn span(&self) -> Option<(u32, u32)> {
        self.is_span.then(|| (self.listed[0], self.listed[1]))
    }

    pub(super) fn listed(&self) -> &[u32] {
        &self.listed
    }

    pub(super) fn longest(&self) -> u32 {
        self.listed.iter().copied().max().expect("at least one")
    }

    /// Of a shard.
    pub(super) fn of(&self, shard: u64) -> u32 {
        let drawn = draw(self.seed, LENGTHS, shard, 0);
        match self.span() {
            None => self.listed[(drawn % self.listed.len() as u64) as usize],
            Some((least, most)) => {
                let part = (drawn >> 11) as f64 / (1u64 << 53) as f64;
                let (low, high) = (f64::from(least).ln(), f64::from(most).ln());
                ((low + (high - low) * part).exp().round() as u32).clamp(least, most)
            }
        }
    }

    /// Bytes of the disk that a shard takes on average, with its check blocks.
    pub(super) fn mean_record_bytes(&self) -> f64 {
        let bytes = |shard| {
            let shape = Shape { payload_bytes: self.of(shard) };
            u64::from(shape.blocks()) * BLOCK_BYTES as u64
        };
        (0..SAMPLES).map(bytes).sum::<u64>() as f64 / SAMPLES as f64
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) sizes: Sizes,
    pub(super) shards: u64,
    pub(super) seed: u64,
    zipf: Option<Zipf>,
    /// Has no divisor in common with the number of shards: spreads the frequent ones.
    stride: u64,
}

impl Work {
    pub(super) fn new(sizes: Sizes, shards: u64, theta: f64, seed: u64) -> Work {
        let mut stride = ((shards as f64 * 0.618_033_988_75) as u64).max(1);
        while divisor(stride, shards) != 1 {
            stride += 1;
        }
        let zipf = (theta > 0.0 && shards > 2).then(|| Zipf::new(shards, theta));
        Work { sizes, shards, seed, zipf, stride }
    }

    /// The name of a shard.
    pub(super) fn key(&self, shard: u64) -> Key {
        Key {
            group: GROUP_FIRST + (shard / GROUP_SHARDS) as u32,
            object: u128::from(shard),
            stripe: 0,
            position: (shard % 12) as u16,
        }
    }

    /// A shard by chance.
    pub(super) fn draw(&self, draws: &mut Draws) -> u64 {
        match &self.zipf {
            None => draws.below(self.shards),
            Some(zipf) => {
                let rank = zipf.rank(draws.next_f64());
                (u128::from(rank) * u128::from(self.stride) % u128::from(self.shards)) as u64
            }
        }
    }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Ranks of which the i-th is asked for in proportion to 1 / i^theta, by the formula of Gray et
/// al., "Quickly generating billion-record synthetic databases" (1994).
#[derive(Clone, Debug)]
struct Zipf {
    count: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
    second: f64,
}

/// Terms of the sum that are added one by one; the rest is taken as an integral.
const TERMS: u64 = 1 << 20;

impl Zipf {
    fn new(count: u64, theta: f64) -> Zipf {
        let exact = count.min(TERMS);
        let mut zeta: f64 = (1..=exact).map(|i| (i as f64).powf(-theta)).sum();
        // The trapezoid of each further term, as an integral.
        let power = |x: f64| x.powf(1.0 - theta) / (1.0 - theta);
        zeta += power(count as f64 + 0.5) - power(exact as f64 + 0.5);
        let second = 0.5f64.powf(theta);
        let count = count as f64;
        let eta = (1.0 - (2.0 / count).powf(1.0 - theta)) / (1.0 - (1.0 + second) / zeta);
        Zipf { count, zeta, alpha: 1.0 / (1.0 - theta), eta, second }
    }

    fn rank(&self, uniform: f64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + self.second {
            return 1;
        }
        let rank = self.count * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        rank.clamp(0.0, self.count - 1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: Domain = Domain::new("cli.store.bench.test");

    #[test]
    fn lengths_are_of_the_list_or_the_span() {
        let listed = Sizes::parse("4k,64k").unwrap();
        let count = (0..1000).filter(|shard| listed.of(*shard) == 4096).count();
        assert!((400..600).contains(&count), "{count}");
        let span = Sizes::parse("4k..1m").unwrap();
        let lengths: Vec<u32> = (0..4000).map(|shard| span.of(shard)).collect();
        assert!(lengths.iter().all(|len| (4096..=1 << 20).contains(len)));
        let short = lengths.iter().filter(|len| **len < 64 << 10).count();
        assert!((1850..2150).contains(&short), "half of the powers of two: {short}");
        assert_eq!(Sizes::parse("4k").unwrap().mean_record_bytes(), 8192.0);
        for wrong in ["", "1", "2m", "64k..4k", "4k,,8k", "4k..8k..9k"] {
            assert!(Sizes::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_shard_has_one_number() {
        for shards in [1, 2, 3, 10, 997, 4096] {
            let work = Work::new(Sizes::parse("4k").unwrap(), shards, 0.9, 1);
            let seen: std::collections::BTreeSet<u64> = (0..shards)
                .map(|rank| {
                    (u128::from(rank) * u128::from(work.stride) % u128::from(shards)) as u64
                })
                .collect();
            assert_eq!(seen.len() as u64, shards);
        }
    }

    #[test]
    fn the_first_ranks_come_as_often_as_they_should() {
        let (count, theta) = (10_000u64, 0.99);
        let zipf = Zipf::new(count, theta);
        let mut draws = Draws::new(3, TEST, 0);
        let mut hits = [0u32; 4];
        let tries = 400_000;
        for _ in 0..tries {
            let rank = zipf.rank(draws.next_f64()) as usize;
            assert!(rank < count as usize);
            if rank < hits.len() {
                hits[rank] += 1;
            }
        }
        let zeta: f64 = (1..=count).map(|i| (i as f64).powf(-theta)).sum();
        for (rank, hits) in hits.iter().enumerate().take(2) {
            let expected = f64::from(tries) * ((rank + 1) as f64).powf(-theta) / zeta;
            let ratio = f64::from(*hits) / expected;
            assert!((0.97..1.03).contains(&ratio), "rank {rank}: {ratio}");
        }
        assert!(hits[1] > hits[2] && hits[2] > hits[3]);
    }
}
