//! Which block comes next.
//!
//! What must always hold: every address is a whole number of requests from the region's start
//! and the request lies inside the region; a random job visits each block once per pass unless
//! it was told not to care; no memory is taken per block.

use isotherm_seam::{Domain, Lba};

use crate::{FastRng, Shuffle};

const ADDRESS: Domain = Domain::new("workload.address");

/// Which way the data goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// From the disk.
    Read,
    /// To the disk.
    Write,
}

impl Direction {
    /// Both, in the order of fio's results.
    pub const ALL: [Direction; 2] = [Direction::Read, Direction::Write];

    /// 0 or 1, for tables of two.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// fio's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Direction::Read => "read",
            Direction::Write => "write",
        }
    }
}

/// What [`Addresses`] are drawn from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressPlan {
    /// First block of the region.
    pub first: Lba,
    /// Length of one request, in blocks.
    pub io_blocks: u64,
    /// How many requests the region holds.
    pub ios: u64,
    /// In random order rather than front to back.
    pub random: bool,
    /// In random order, draw each address afresh instead of visiting each once per pass.
    pub revisit: bool,
    /// Chooses the order.
    pub seed: u64,
}

/// A stream of addresses, without end: after the last it begins again.
#[derive(Clone, Debug)]
pub struct Addresses {
    first: Lba,
    io_blocks: u64,
    ios: u64,
    seed: u64,
    order: Order,
}

#[derive(Clone, Debug)]
enum Order {
    /// One cursor per direction, as fio has it: a mixed job reads and writes side by side.
    Sequential {
        next: [u64; 2],
    },
    Uniform {
        rng: FastRng,
    },
    Shuffled {
        shuffle: Shuffle,
        step: u64,
        pass: u64,
    },
}

impl Addresses {
    /// The stream from its start. Panics on a plan without a single request.
    pub fn new(plan: &AddressPlan) -> Addresses {
        assert!(plan.ios > 0 && plan.io_blocks > 0, "a region holds at least one request");
        let end = plan.ios.checked_mul(plan.io_blocks).and_then(|n| n.checked_add(plan.first.0));
        assert!(end.is_some(), "a region ends below 2^64");
        let order = match (plan.random, plan.revisit) {
            (false, _) => Order::Sequential { next: [0; 2] },
            (true, true) => Order::Uniform { rng: FastRng::new(plan.seed, ADDRESS, 0) },
            (true, false) => {
                Order::Shuffled { shuffle: Shuffle::new(plan.ios, plan.seed, 0), step: 0, pass: 0 }
            }
        };
        Addresses {
            first: plan.first,
            io_blocks: plan.io_blocks,
            ios: plan.ios,
            seed: plan.seed,
            order,
        }
    }

    /// Where the next request in this direction starts.
    #[inline]
    pub fn next(&mut self, direction: Direction) -> Lba {
        let index = match &mut self.order {
            Order::Sequential { next } => {
                let cursor = &mut next[direction.index()];
                let index = *cursor;
                *cursor = if index + 1 == self.ios { 0 } else { index + 1 };
                index
            }
            Order::Uniform { rng } => rng.below(self.ios),
            Order::Shuffled { shuffle, step, pass } => {
                let index = shuffle.at(*step);
                *step += 1;
                if *step == self.ios {
                    *step = 0;
                    *pass += 1;
                    *shuffle = Shuffle::new(self.ios, self.seed, *pass);
                }
                index
            }
        };
        Lba(self.first.0 + index * self.io_blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(random: bool, revisit: bool) -> AddressPlan {
        AddressPlan { first: Lba(100), io_blocks: 8, ios: 50, random, revisit, seed: 1 }
    }

    fn take(addresses: &mut Addresses, count: usize) -> Vec<u64> {
        (0..count).map(|_| addresses.next(Direction::Read).0).collect()
    }

    #[test]
    fn sequential_goes_front_to_back_and_begins_again() {
        let got = take(&mut Addresses::new(&plan(false, false)), 51);
        assert_eq!(got[..3], [100, 108, 116]);
        assert_eq!(got[49..], [100 + 49 * 8, 100]);
    }

    #[test]
    fn each_direction_of_a_sequential_mix_has_its_own_cursor() {
        let mut addresses = Addresses::new(&plan(false, false));
        take(&mut addresses, 3);
        assert_eq!(addresses.next(Direction::Write), Lba(100));
    }

    #[test]
    fn random_visits_each_once_per_pass_in_another_order() {
        let mut addresses = Addresses::new(&plan(true, false));
        let (mut one, mut two) = (take(&mut addresses, 50), take(&mut addresses, 50));
        assert_ne!(one, two);
        one.sort_unstable();
        two.sort_unstable();
        assert_eq!(one, (0..50).map(|i| 100 + i * 8).collect::<Vec<u64>>());
        assert_eq!(one, two);
    }

    #[test]
    fn without_a_map_blocks_repeat_and_stay_in_the_region() {
        let mut got = take(&mut Addresses::new(&plan(true, true)), 50);
        assert!(got.iter().all(|lba| (100..500).contains(lba) && (lba - 100) % 8 == 0));
        got.sort_unstable();
        got.dedup();
        assert!(got.len() < 50, "50 draws of 50 with no repeat: chance of 3e-21");
    }

    #[test]
    fn the_same_seed_gives_the_same_addresses() {
        let one = take(&mut Addresses::new(&plan(true, false)), 30);
        assert_eq!(one, take(&mut Addresses::new(&plan(true, false)), 30));
        let other = AddressPlan { seed: 2, ..plan(true, false) };
        assert_ne!(one, take(&mut Addresses::new(&other), 30));
    }
}
