//! Which block comes next.
//!
//! What must always hold: the request lies inside the region, and every address is a whole number
//! of requests from its start, unless a skip says otherwise; a random job visits each block once per pass unless
//! it was told not to care; no memory is taken per block.

use isotherm_seam::{Domain, Lba};

use crate::{FastRng, Sequencer, Shuffle};

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
    /// In order, how many blocks to skip after each request; backwards if negative.
    pub skip_blocks: i64,
    /// In random order, how many requests in a row follow each draw, the drawn one included.
    pub run: u64,
    /// What the others of the row do.
    pub sequencer: Sequencer,
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
    row: Row,
}

/// Requests in a row after each random one.
#[derive(Clone, Debug)]
struct Row {
    len: u64,
    sequencer: Sequencer,
    /// How many of this row are still to come.
    left: u64,
    /// Index of the last request of each direction.
    last: [Option<u64>; 2],
}

#[derive(Clone, Debug)]
enum Order {
    /// One cursor per direction, as fio has it: a mixed job reads and writes side by side.
    Sequential {
        next: [u64; 2],
    },
    /// In order, with blocks left out or gone back over.
    Skipping {
        /// Where the last request of each direction ended, in blocks of the region.
        end: [u64; 2],
        skip: i64,
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
            (false, _) if plan.skip_blocks != 0 => {
                Order::Skipping { end: [0; 2], skip: plan.skip_blocks }
            }
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
            row: Row {
                len: if plan.random { plan.run.max(1) } else { 1 },
                sequencer: plan.sequencer,
                left: 0,
                last: [None; 2],
            },
        }
    }

    /// Where the next request in this direction starts.
    #[inline]
    pub fn next(&mut self, direction: Direction) -> Lba {
        if let Order::Skipping { end, skip } = &mut self.order {
            let len = self.ios * self.io_blocks;
            let at = skipped(end[direction.index()], *skip, len, self.io_blocks);
            end[direction.index()] = at + self.io_blocks;
            return Lba(self.first.0 + at);
        }
        if self.row.len == 1 {
            let index = self.draw(direction);
            return self.at(index);
        }
        let index = self.row.next(direction, self.ios);
        let index = index.unwrap_or_else(|| self.draw(direction));
        self.row.last[direction.index()] = Some(index);
        self.at(index)
    }

    fn at(&self, index: u64) -> Lba {
        Lba(self.first.0 + index * self.io_blocks)
    }

    /// Index of a request, without regard to rows.
    #[inline]
    fn draw(&mut self, direction: Direction) -> u64 {
        match &mut self.order {
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
            Order::Skipping { .. } => unreachable!("it counts in blocks"),
        }
    }
}

impl Row {
    /// Index of the next request of the row; none if one is to be drawn: at the row's start,
    /// behind the region's end, or where this direction has none to follow.
    fn next(&mut self, direction: Direction, ios: u64) -> Option<u64> {
        if self.left == 0 {
            self.left = self.len - 1;
            return None;
        }
        self.left -= 1;
        let last = self.last[direction.index()]?;
        match self.sequencer {
            Sequencer::Identical => Some(last),
            Sequencer::Sequential => Some(last + 1).filter(|&index| index < ios),
        }
    }
}

/// Where the request after the one that ended at `end` starts, of `io` blocks in a region of
/// `len`. As fio counts: the skip is added to the end, not to the start, so that `read:-4k` with
/// requests of 4k stays where it is, and with `read:-8k` the region's last request comes never.
/// Beyond an end of the region it goes on from the other one.
fn skipped(end: u64, skip: i64, len: u64, io: u64) -> u64 {
    if end == 0 {
        return 0;
    }
    let fits = |at: &u64| end < len && at.checked_add(io).is_some_and(|end| end <= len);
    let at = end.checked_add_signed(skip).filter(fits);
    // A skip shorter than a request leaves no room behind it.
    let from_the_end = || len.saturating_sub(skip.unsigned_abs()).min(len - io);
    at.unwrap_or_else(|| if skip > 0 { 0 } else { from_the_end() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(random: bool, revisit: bool) -> AddressPlan {
        AddressPlan {
            first: Lba(100),
            io_blocks: 8,
            ios: 50,
            random,
            revisit,
            skip_blocks: 0,
            run: 1,
            sequencer: Sequencer::Sequential,
            seed: 1,
        }
    }

    /// Indices of requests in a region of 8, as fio 3.33 has them in its `write_iolog`.
    fn skipping(skip_blocks: i64) -> Vec<u64> {
        let plan = AddressPlan { ios: 8, skip_blocks, ..plan(false, false) };
        let lbas = take(&mut Addresses::new(&plan), 14);
        lbas.into_iter().map(|lba| (lba - 100) / 8).collect()
    }

    #[test]
    fn skips_are_those_of_fio() {
        assert_eq!(skipping(8), [0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6, 0, 2]);
        assert_eq!(skipping(-16), [0, 6, 5, 4, 3, 2, 1, 0, 6, 5, 4, 3, 2, 1]);
        assert_eq!(skipping(-8), [0; 14]);
    }

    #[test]
    fn a_skip_of_any_length_stays_in_the_region() {
        for skip in [1, -1, 3, -3, 63, -63, 64, -64, 65, -65, i64::MAX, i64::MIN] {
            let plan = AddressPlan { ios: 8, skip_blocks: skip, ..plan(false, false) };
            let lbas = take(&mut Addresses::new(&plan), 300);
            assert!(lbas.iter().all(|lba| (100..=156).contains(lba)), "{skip}: {lbas:?}");
        }
    }

    #[test]
    fn a_run_goes_on_in_order_or_stays() {
        for (sequencer, step) in [(Sequencer::Sequential, 8), (Sequencer::Identical, 0)] {
            let plan = AddressPlan { run: 4, sequencer, ..plan(true, true) };
            let lbas = take(&mut Addresses::new(&plan), 400);
            let last = 100 + 49 * 8;
            let mut starts = Vec::new();
            for row in lbas.chunks(4) {
                starts.push(row[0]);
                for pair in row.windows(2) {
                    let at_end = step > 0 && pair[0] == last;
                    assert!(at_end || pair[1] == pair[0] + step, "{row:?}");
                }
            }
            starts.sort_unstable();
            starts.dedup();
            assert!(starts.len() > 20, "rows start anywhere: {starts:?}");
        }
    }

    #[test]
    fn a_run_of_two_directions_follows_each() {
        let plan = AddressPlan { run: 8, ..plan(true, true) };
        let mut addresses = Addresses::new(&plan);
        let read = addresses.next(Direction::Read);
        addresses.next(Direction::Write);
        let next = addresses.next(Direction::Read);
        assert!(read.0 == 100 + 49 * 8 || next.0 == read.0 + 8);
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
