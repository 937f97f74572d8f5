//! Which block comes next.
//!
//! What must always hold: the request lies inside the region; in random order it starts a whole
//! number of units from the region's start; a random job visits each unit once per pass unless it
//! was told not to care; no memory is taken per block.

use isotherm_seam::{Domain, Lba};

use crate::law::{Law, Ranks};
use crate::{FastRng, Sequencer, Shuffle};

const ADDRESS: Domain = Domain::new("workload.address");
const FOLLOW: Domain = Domain::new("workload.address.follow");

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

/// What [`Addresses`] are drawn from. Lengths are in blocks.
#[derive(Clone, PartialEq, Debug)]
pub struct AddressPlan {
    /// First block of the region.
    pub first: Lba,
    /// Length of the region.
    pub blocks: u64,
    /// Length of the shortest request.
    pub io_blocks: u64,
    /// Random requests start on multiples of this.
    pub unit_blocks: u64,
    /// Length of a block, in bytes.
    pub block_bytes: u64,
    /// In random order rather than front to back.
    pub random: bool,
    /// In random order, draw each address afresh instead of visiting each once per pass.
    pub revisit: bool,
    /// In random order, how requests are spread.
    pub law: Law,
    /// In random order, how many of the requests are drawn, by [`Direction::index`], in percent;
    /// the others follow on the one before.
    pub random_percent: [u32; 2],
    /// In order, how many blocks to skip after each request; backwards if negative.
    pub skip_blocks: i64,
    /// In random order, how many requests in a row follow each draw, the drawn one included.
    pub run: u64,
    /// What the others of the row do.
    pub sequencer: Sequencer,
    /// The region is the first of several, and the requests move from one to the next.
    pub strides: Option<Strides>,
    /// Chooses the order.
    pub seed: u64,
}

/// How the requests move from zone to zone. The first zone is the region of the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Strides {
    /// How much is transferred in a zone before the next one, in blocks.
    pub transfer_blocks: u64,
    /// From the start of a zone to that of the next, in blocks.
    pub step_blocks: u64,
    /// Behind so many blocks from the first zone's start it begins again with the first.
    pub total_blocks: u64,
}

impl AddressPlan {
    /// In order, from `first` on, in `ios` requests of `io_blocks` blocks of 512 bytes.
    pub fn in_order(first: Lba, io_blocks: u64, ios: u64) -> AddressPlan {
        AddressPlan {
            first,
            blocks: ios.saturating_mul(io_blocks),
            io_blocks,
            unit_blocks: io_blocks,
            block_bytes: 512,
            random: false,
            revisit: false,
            law: Law::Even,
            random_percent: [100; 2],
            skip_blocks: 0,
            run: 1,
            sequencer: Sequencer::Sequential,
            strides: None,
            seed: 0,
        }
    }

    /// Places where a random request may start.
    pub fn units(&self) -> u64 {
        (self.blocks - self.io_blocks) / self.unit_blocks + 1
    }
}

/// A stream of addresses, without end: after the last it begins again.
#[derive(Clone, Debug)]
pub struct Addresses {
    first: u64,
    blocks: u64,
    io_blocks: u64,
    unit_blocks: u64,
    units: u64,
    seed: u64,
    order: Order,
    /// Some requests follow on the one before.
    row: Option<Box<Row>>,
    strides: Option<Box<Walk>>,
}

#[derive(Clone, Debug)]
enum Order {
    /// Where the last request of each direction ended, in blocks of the region. One cursor per
    /// direction, as fio has it: a mixed job reads and writes side by side.
    Cursors {
        end: [u64; 2],
        skip: i64,
    },
    Uniform {
        rng: FastRng,
    },
    Ranked {
        ranks: Box<Ranks>,
    },
    Shuffled {
        shuffle: Shuffle,
        step: u64,
        pass: u64,
    },
}

/// Requests that follow on another.
#[derive(Clone, Debug)]
struct Row {
    len: u64,
    sequencer: Sequencer,
    /// How many of this row are still to come.
    left: u64,
    /// A draw below it starts anew, by direction.
    anew_below: [u64; 2],
    rng: FastRng,
    /// Start and end of the last request of each direction, in blocks of the region.
    last: [Option<(u64, u64)>; 2],
}

/// Where the zones of a walk are.
#[derive(Clone, Debug)]
struct Walk {
    plan: Strides,
    home: u64,
    zone_blocks: u64,
    /// Transferred in this zone.
    done: u64,
}

impl Addresses {
    /// The stream from its start. Panics on a plan without a single request.
    pub fn new(plan: &AddressPlan) -> Addresses {
        assert!(plan.io_blocks > 0 && plan.unit_blocks > 0, "a request has a length");
        assert!(plan.blocks >= plan.io_blocks, "a region holds at least one request");
        assert!(plan.first.0.checked_add(plan.blocks).is_some(), "a region ends below 2^64");
        let units = plan.units();
        let order = if !plan.random {
            Order::Cursors { end: [0; 2], skip: plan.skip_blocks }
        } else if let Some(ranks) =
            Ranks::new(&plan.law, units, plan.unit_blocks * plan.block_bytes, plan.seed)
        {
            Order::Ranked { ranks: Box::new(ranks) }
        } else if plan.revisit {
            Order::Uniform { rng: FastRng::new(plan.seed, ADDRESS, 0) }
        } else {
            Order::Shuffled { shuffle: Shuffle::new(units, plan.seed, 0), step: 0, pass: 0 }
        };
        let follows = plan.random && (plan.run > 1 || plan.random_percent != [100; 2]);
        let row = follows.then(|| Row {
            len: plan.run.max(1),
            sequencer: plan.sequencer,
            left: 0,
            anew_below: plan.random_percent.map(|percent| match percent {
                100.. => u64::MAX,
                percent => u64::MAX / 100 * u64::from(percent),
            }),
            rng: FastRng::new(plan.seed, FOLLOW, 0),
            last: [None; 2],
        });
        let walk = plan.strides.map(|strides| Walk {
            plan: strides,
            home: plan.first.0,
            zone_blocks: plan.blocks,
            done: 0,
        });
        Addresses {
            first: plan.first.0,
            blocks: plan.blocks,
            io_blocks: plan.io_blocks,
            unit_blocks: plan.unit_blocks,
            units,
            seed: plan.seed,
            order,
            row: row.map(Box::new),
            strides: walk.map(Box::new),
        }
    }

    /// Where the next request in this direction starts. It has the least length, unless
    /// [`Addresses::lengthen`] says otherwise.
    #[inline]
    pub fn next(&mut self, direction: Direction) -> Lba {
        if self.strides.is_some() {
            self.walk();
        }
        let at = match &mut self.order {
            Order::Cursors { end, skip } => {
                let end = &mut end[direction.index()];
                let at = match *skip {
                    0 if *end + self.io_blocks <= self.blocks => *end,
                    0 => 0,
                    skip => skipped(*end, skip, self.blocks, self.io_blocks),
                };
                *end = at + self.io_blocks;
                at
            }
            _ if self.row.is_some() => self.follow(direction),
            _ => self.draw() * self.unit_blocks,
        };
        Lba(self.first + at)
    }

    /// How long the request that starts at `lba` may be, in blocks.
    #[inline]
    pub fn room(&self, lba: Lba) -> u64 {
        self.first + self.blocks - lba.0
    }

    /// The request that was given last in this direction is longer than the least, by so much.
    #[inline]
    pub fn lengthen(&mut self, direction: Direction, more_blocks: u64) {
        if let Order::Cursors { end, .. } = &mut self.order {
            end[direction.index()] += more_blocks;
        }
        if let Some(row) = &mut self.row
            && let Some((_, end)) = &mut row.last[direction.index()]
        {
            *end += more_blocks;
        }
        if let Some(walk) = &mut self.strides {
            walk.done += more_blocks;
        }
    }

    /// Number of a unit, drawn without regard to what was before.
    #[inline]
    fn draw(&mut self) -> u64 {
        match &mut self.order {
            Order::Uniform { rng } => rng.below(self.units),
            Order::Shuffled { shuffle, step, pass } => {
                let index = shuffle.at(*step);
                *step += 1;
                if *step == self.units {
                    *step = 0;
                    *pass += 1;
                    *shuffle = Shuffle::new(self.units, self.seed, *pass);
                }
                index
            }
            Order::Ranked { ranks } => ranks.next(),
            Order::Cursors { .. } => unreachable!("it has cursors"),
        }
    }

    /// The next of a row, or a new draw where there is none to follow.
    fn follow(&mut self, direction: Direction) -> u64 {
        let (io, len) = (self.io_blocks, self.blocks);
        let row = self.row.as_mut().expect("looked at by the caller");
        let at = match row.next(direction, io, len) {
            Some(at) => at,
            None => self.draw() * self.unit_blocks,
        };
        let row = self.row.as_mut().expect("as above");
        row.last[direction.index()] = Some((at, at + io));
        at
    }

    /// Counts the request that comes now, and goes to the next zone if this one has had its own.
    fn walk(&mut self) {
        let walk = self.strides.as_mut().expect("looked at by the caller");
        if walk.done < walk.plan.transfer_blocks {
            walk.done += self.io_blocks;
            return;
        }
        walk.done = self.io_blocks;
        let end = walk.home + walk.plan.total_blocks;
        self.first += walk.plan.step_blocks;
        if self.first + self.io_blocks > end {
            self.first = walk.home;
        }
        self.blocks = walk.zone_blocks.min(end - self.first);
        self.units = (self.blocks - self.io_blocks) / self.unit_blocks + 1;
        match &mut self.order {
            Order::Cursors { end, .. } => *end = [0; 2],
            Order::Uniform { .. } => {}
            Order::Shuffled { shuffle, step, pass } => {
                *pass += 1;
                (*step, *shuffle) = (0, Shuffle::new(self.units, self.seed, *pass));
            }
            // Laws and zones exclude each other.
            Order::Ranked { .. } => unreachable!("refused before"),
        }
        if let Some(row) = &mut self.row {
            row.last = [None; 2];
        }
    }
}

impl Row {
    /// Where the next request of the row starts; none if it is to be drawn: at the row's start,
    /// behind the region's end, or where this direction has none to follow.
    fn next(&mut self, direction: Direction, io_blocks: u64, len: u64) -> Option<u64> {
        if self.left == 0 {
            self.left = self.len - 1;
            let anew_below = self.anew_below[direction.index()];
            if anew_below == u64::MAX || self.rng.next_u64() < anew_below {
                return None;
            }
            let (_, end) = self.last[direction.index()]?;
            return Some(end).filter(|end| end + io_blocks <= len);
        }
        self.left -= 1;
        let (start, end) = self.last[direction.index()]?;
        match self.sequencer {
            Sequencer::Identical => Some(start),
            Sequencer::Sequential => Some(end).filter(|end| end + io_blocks <= len),
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
        AddressPlan { random, revisit, seed: 1, ..AddressPlan::in_order(Lba(100), 8, 50) }
    }

    /// Indices of requests in a region of 8, as fio 3.33 has them in its `write_iolog`.
    fn skipping(skip_blocks: i64) -> Vec<u64> {
        let plan = AddressPlan { blocks: 64, skip_blocks, ..plan(false, false) };
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
            let plan = AddressPlan { blocks: 64, skip_blocks: skip, ..plan(false, false) };
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

    #[test]
    fn requests_of_several_lengths_join_on_each_other() {
        let mut addresses = Addresses::new(&plan(false, false));
        let mut at = 100;
        for more in [0, 8, 24, 3] {
            let lba = addresses.next(Direction::Read);
            assert_eq!((lba.0, addresses.room(lba)), (at, 500 - at));
            addresses.lengthen(Direction::Read, more);
            at += 8 + more;
        }
        // What is left at the end is too short for one.
        addresses.lengthen(Direction::Read, 500 - at - 7);
        assert_eq!(addresses.next(Direction::Read), Lba(100));
    }

    #[test]
    fn random_requests_start_on_units_and_fit() {
        let plan = AddressPlan { io_blocks: 8, unit_blocks: 32, ..plan(true, false) };
        let mut got = take(&mut Addresses::new(&plan), 13);
        got.sort_unstable();
        assert_eq!(plan.units(), 13);
        assert_eq!(got, (0..13).map(|i| 100 + i * 32).collect::<Vec<u64>>());
    }

    #[test]
    fn some_percent_are_drawn_and_the_others_follow() {
        let plan = AddressPlan { random_percent: [30, 100], ..plan(true, true) };
        let lbas = take(&mut Addresses::new(&plan), 4_000);
        let follow = lbas.windows(2).filter(|pair| pair[1] == pair[0] + 8).count();
        // 70 percent but for those at the region's end, and 0.6 percent by chance.
        assert!((2_600..2_900).contains(&follow), "{follow}");
    }

    /// As fio 3.33 has them in its `write_iolog`: zones of 4 requests, a skip of 8, 64 in all; and
    /// with two rounds in each zone.
    #[test]
    fn zones_are_walked_as_by_fio() {
        let strides = |transfer_blocks| {
            let strides = Strides { transfer_blocks, step_blocks: 96, total_blocks: 512 };
            AddressPlan { blocks: 32, strides: Some(strides), ..plan(false, false) }
        };
        let walk = |plan, count| -> Vec<u64> {
            let lbas = take(&mut Addresses::new(&plan), count);
            lbas.into_iter().map(|lba| (lba - 100) / 8).collect()
        };
        let once = walk(strides(32), 26);
        assert_eq!(once[..8], [0, 1, 2, 3, 12, 13, 14, 15]);
        assert_eq!(once[20..], [60, 61, 62, 63, 0, 1]);
        assert_eq!(walk(strides(64), 10), [0, 1, 2, 3, 0, 1, 2, 3, 12, 13]);
        let random = AddressPlan { random: true, ..strides(32) };
        let mut zone = walk(random, 8)[4..].to_vec();
        zone.sort_unstable();
        assert_eq!(zone, [12, 13, 14, 15]);
        // A last zone that is cut short, and one that has no room for a request.
        let cut = |total_blocks| {
            let strides = Strides { transfer_blocks: 32, step_blocks: 96, total_blocks };
            AddressPlan { blocks: 32, strides: Some(strides), ..plan(false, false) }
        };
        assert_eq!(walk(cut(112), 9), [0, 1, 2, 3, 12, 13, 12, 13, 0]);
        assert_eq!(walk(cut(103), 5), [0, 1, 2, 3, 0]);
    }
}
