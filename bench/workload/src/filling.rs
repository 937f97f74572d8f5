//! What the buffers of writes hold.
//!
//! What must always hold: the same job, seed and order of writes leave the same bytes. Unless told
//! otherwise they neither compress nor repeat: a device that compresses or removes duplicates must
//! not look faster than it is.

use isotherm_seam::{BlockSize, Domain, Lba};

use crate::{Content, FastRng};

const REPEAT: Domain = Domain::new("workload.filling.repeat");

/// What is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FillingPlan {
    /// What stands where nothing random does.
    pub base: Base,
    /// In each chunk, the share of the base, in percent: what compresses.
    pub compress_percent: Option<u32>,
    /// Length of a chunk, in bytes.
    pub chunk_bytes: u64,
    /// How many of the writes repeat the one before, in percent.
    pub repeat_percent: u32,
    /// New content for every write.
    pub refill: bool,
}

/// What compresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Base {
    /// Nothing: all is random.
    Random,
    /// Zeros.
    Zeros,
    /// These bytes over and over, from the start of each chunk or buffer.
    Pattern(Vec<u8>),
}

impl Default for FillingPlan {
    fn default() -> FillingPlan {
        FillingPlan {
            base: Base::Random,
            compress_percent: None,
            chunk_bytes: 512,
            repeat_percent: 0,
            refill: false,
        }
    }
}

impl FillingPlan {
    /// Whether each write is filled anew.
    pub fn refills(&self) -> bool {
        // As in fio, what is to compress or to repeat by chance is made anew for each write.
        let by_chance = self.compress_percent.is_some() || self.repeat_percent > 0;
        by_chance || (self.refill && self.base == Base::Random)
    }
}

/// Fills the buffers of one lane.
#[derive(Clone, Debug)]
pub struct Filling {
    plan: FillingPlan,
    content: Content,
    rng: FastRng,
    /// Whose content the last buffer had.
    last: Lba,
}

impl Filling {
    /// Fills by `plan`; `seed` chooses what is random.
    pub fn new(plan: &FillingPlan, seed: u64) -> Filling {
        Filling {
            plan: plan.clone(),
            content: Content::new(seed, 0),
            rng: FastRng::new(seed, REPEAT, 0),
            last: Lba(0),
        }
    }

    /// Fills `buf`, of whole sectors of 512 bytes, with what a write to `lba` brings.
    pub fn fill(&mut self, size: BlockSize, lba: Lba, buf: &mut [u8]) {
        let repeats = self.plan.repeat_percent > 0
            && self.rng.below(100) < u64::from(self.plan.repeat_percent);
        if !repeats {
            self.last = lba;
        }
        let share = match (&self.plan.base, self.plan.compress_percent) {
            (Base::Random, None) => 0,
            (_, Some(percent)) => percent,
            (_, None) => 100,
        };
        if share < 100 {
            self.content.fill(size, self.last, buf);
        }
        if share == 0 {
            return;
        }
        // Without a share there is one chunk: the buffer.
        let chunk_bytes = match self.plan.compress_percent {
            Some(_) => self.plan.chunk_bytes.clamp(1, buf.len() as u64) as usize,
            None => buf.len(),
        };
        for chunk in buf.chunks_mut(chunk_bytes) {
            let random = chunk.len() - chunk.len() * share as usize / 100;
            let rest = &mut chunk[random..];
            match &self.plan.base {
                Base::Pattern(bytes) => {
                    for part in rest.chunks_mut(bytes.len()) {
                        part.copy_from_slice(&bytes[..part.len()]);
                    }
                }
                Base::Random | Base::Zeros => rest.fill(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(plan: FillingPlan, len: usize) -> Vec<u8> {
        let mut buf = vec![7; len];
        Filling::new(&plan, 3).fill(BlockSize::B512, Lba(5), &mut buf);
        buf
    }

    fn of(base: Base) -> FillingPlan {
        FillingPlan { base, ..FillingPlan::default() }
    }

    #[test]
    fn random_zeros_and_patterns() {
        let mut random = vec![0; 1024];
        Content::new(3, 0).fill(BlockSize::B512, Lba(5), &mut random);
        assert_eq!(filled(FillingPlan::default(), 1024), random);
        assert_eq!(filled(of(Base::Zeros), 1024), vec![0; 1024]);
        let pattern = filled(of(Base::Pattern(b"abc".to_vec())), 1024);
        assert_eq!((&pattern[..5], &pattern[1021..]), (&b"abcab"[..], &b"bca"[..]));
        assert!(!of(Base::Zeros).refills());
        assert!(FillingPlan { refill: true, ..FillingPlan::default() }.refills());
    }

    /// fio 3.33 leaves 256 zeros at the end of each 1,024 with 25 percent, and a pattern likewise.
    #[test]
    fn a_share_of_each_chunk_compresses() {
        let zeros =
            FillingPlan { compress_percent: Some(25), chunk_bytes: 1024, ..FillingPlan::default() };
        let buf = filled(zeros.clone(), 4096);
        assert!(buf.chunks(1024).all(|chunk| chunk[768..] == [0; 256]));
        let random = buf.chunks(1024).map(|chunk| chunk[..768].iter().filter(|b| **b == 0).count());
        assert!(random.sum::<usize>() < 40, "the rest is random");
        let pattern = FillingPlan { base: Base::Pattern(vec![0xab]), ..zeros };
        assert!(filled(pattern, 4096).chunks(1024).all(|chunk| chunk[768..] == [0xab; 256]));
    }

    #[test]
    fn some_writes_repeat_the_one_before() {
        let plan = FillingPlan { repeat_percent: 40, ..FillingPlan::default() };
        assert!(plan.refills());
        let mut filling = Filling::new(&plan, 3);
        let mut seen = std::collections::BTreeSet::new();
        let mut buf = vec![0; 512];
        for lba in 0..2_000 {
            filling.fill(BlockSize::B512, Lba(lba), &mut buf);
            seen.insert(buf.clone());
        }
        // Binomial: 1,200 expected, deviation 22.
        assert!((1_100..1_300).contains(&seen.len()), "{}", seen.len());
    }
}
