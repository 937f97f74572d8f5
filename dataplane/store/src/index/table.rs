//! A fingerprint's place, in twelve bytes.
//!
//! What must always hold: a fingerprint has one entry or none; an entry is found where the search
//! for it looks. What may go wrong: two keys may have one fingerprint, and only the record itself
//! can tell; that is for the caller.
//!
//! The top 12 bits of a fingerprint choose one of 4,096 partitions, the next 48 order the entries
//! within it; the last four are not kept. An entry's *home* in a partition of `n` slots is slot
//! `rest * n / 2^48`, and entries stand in the order of their fingerprints, each as near behind
//! its home as those before it let it (Robin Hood hashing, Celis 1986, with the order of the
//! fingerprint in place of the distance). So `n` may be any number, a search ends at the first
//! entry that is greater, and a partition grows by putting the same row down again, wider.
//!
//! ```text
//! partition of 8 slots, 2 of them wrapped: those of the end that the end has no room for
//!       | Y | Z | a | b |   | r | W | X |      the order is  a b r W X Y Z
//!         wrapped
//! ```
//!
//! A search reads a partition's counts, 48 KiB in all, which stay in the cache, and then the
//! slots, mostly of one or two cache lines: it waits for memory once.
//!
//! A partition grows by whole segments of slots that nothing else ever gets ([`slots`]), so memory
//! has no holes and nothing is copied to a second place but one partition's entries. With a load
//! limit of 0.92 and steps of about 9 %, an entry takes 12 / 0.92 = 13.0 to 14.2 bytes; small
//! partitions, whose step is a page, up to 14.6. What the system holds is a little more, as a page
//! of it has the slots of some partitions that are not in use yet: 14.1 bytes at 25 million
//! entries, 19 at one million. Partitions never shrink.

mod builder;
mod slots;
#[cfg(test)]
mod tests;

use crate::Place;
pub use builder::TableBuilder;
use slots::{FREE, REST_BITS, Slot, Slots, is_free, place_of, rest_of, slot_of};

const PARTITION_BITS: u32 = 12;
const PARTITIONS: usize = 1 << PARTITION_BITS;
const REST_MASK: u64 = (1 << REST_BITS) - 1;
/// Bits at the end of a fingerprint that are not looked at.
const SPARE_BITS: u32 = 64 - PARTITION_BITS - REST_BITS;

/// A partition grows when more than 92 of 100 slots are taken,
const LOAD_PERCENT: usize = 92;
/// to at least 107 of 100 slots.
const GROWTH_PERCENT: usize = 107;

const _: () = assert!(PARTITION_BITS + REST_BITS >= 60);

/// The compact map from fingerprints to places.
#[derive(Debug)]
pub struct Table {
    partitions: Vec<Partition>,
    slots: Slots,
    entries: u64,
    /// The entries of the partition that is growing.
    scratch: Vec<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Partition {
    /// Slots in all segments.
    slots: u32,
    /// Slots taken.
    taken: u32,
    /// Entries at the front that belong to the end.
    wrapped: u32,
}

/// Where the search for a fingerprint ended, as a position: see [`Partition::end`].
enum Search {
    Found(usize, Slot),
    /// The fingerprint would have to stand here.
    Missing(usize),
}

fn split(fingerprint: u64) -> (usize, u64) {
    let partition = (fingerprint >> (64 - PARTITION_BITS)) as usize;
    (partition, fingerprint >> SPARE_BITS & REST_MASK)
}

impl Partition {
    fn home(&self, rest: u64) -> usize {
        ((u128::from(rest) * u128::from(self.slots)) >> REST_BITS) as usize
    }

    /// Positions run from `wrapped` up to here; those past the last slot are the first slots.
    fn end(&self) -> usize {
        (self.slots + self.wrapped) as usize
    }

    /// Where the search for a fingerprint starts.
    fn start(&self, rest: u64) -> usize {
        self.home(rest).max(self.wrapped as usize)
    }

    fn slot_index(&self, position: usize) -> usize {
        let slots = self.slots as usize;
        if position < slots { position } else { position - slots }
    }

    /// Whether one more entry keeps within the load limit.
    fn has_room(&self) -> bool {
        (self.taken as usize + 1) * 100 <= self.slots as usize * LOAD_PERCENT
    }
}

impl Table {
    /// An empty table with memory for about `expected` entries, which may be 0.
    pub fn new(expected: u64) -> Table {
        let mut table = Table {
            partitions: vec![Partition::default(); PARTITIONS],
            slots: Slots::default(),
            entries: 0,
            scratch: Vec::new(),
        };
        let mean = (expected / PARTITIONS as u64) as usize;
        if mean > 0 {
            for partition in 0..PARTITIONS {
                table.extend(partition, (mean * 100).div_ceil(LOAD_PERCENT));
            }
        }
        table
    }

    /// Entries.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of memory in use. Slots that no partition was given yet are only addresses.
    pub fn bytes(&self) -> u64 {
        let bytes = self.slots.bytes()
            + self.partitions.capacity() * size_of::<Partition>()
            + self.scratch.capacity() * size_of::<Slot>();
        bytes as u64
    }

    /// The place of a fingerprint.
    #[inline]
    pub fn get(&self, fingerprint: u64) -> Option<Place> {
        let (index, rest) = split(fingerprint);
        match self.search(index, rest) {
            Search::Found(_, slot) => Some(place_of(slot)),
            Search::Missing(_) => None,
        }
    }

    /// Puts a place in, and gives back the one it takes the place of.
    pub fn insert(&mut self, fingerprint: u64, place: Place) -> Option<Place> {
        let (index, rest) = split(fingerprint);
        let slot = slot_of(rest, place.pack());
        match self.search(index, rest) {
            Search::Found(position, old) => {
                self.set(index, position, slot);
                Some(place_of(old))
            }
            Search::Missing(position) => {
                self.add(index, position, slot);
                None
            }
        }
    }

    /// Puts a place in unless the fingerprint has one: then that is given back as the error.
    pub fn insert_new(&mut self, fingerprint: u64, place: Place) -> Result<(), Place> {
        let (index, rest) = split(fingerprint);
        match self.search(index, rest) {
            Search::Found(_, slot) => Err(place_of(slot)),
            Search::Missing(position) => {
                self.add(index, position, slot_of(rest, place.pack()));
                Ok(())
            }
        }
    }

    /// Takes a fingerprint's place out.
    pub fn remove(&mut self, fingerprint: u64) -> Option<Place> {
        let (index, rest) = split(fingerprint);
        let Search::Found(position, old) = self.search(index, rest) else {
            return None;
        };
        self.close_gap(index, position);
        self.entries -= 1;
        Some(place_of(old))
    }

    /// Puts `to` in if the fingerprint's place is where `from` is.
    pub fn replace_if(&mut self, fingerprint: u64, from: Place, to: Place) -> bool {
        let (index, rest) = split(fingerprint);
        match self.search(index, rest) {
            Search::Found(position, slot) if place_of(slot).is_at(&from) => {
                self.set(index, position, slot_of(rest, to.pack()));
                true
            }
            _ => false,
        }
    }

    /// All fingerprints with their places, in the order of the fingerprints, whose last four
    /// bits are given as zeros.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Place)> + '_ {
        self.partitions.iter().enumerate().flat_map(move |(index, partition)| {
            let top = (index as u64) << (64 - PARTITION_BITS);
            (partition.wrapped as usize..partition.end())
                .map(move |position| self.slot(index, partition.slot_index(position)))
                .filter(|&slot| !is_free(slot))
                .map(move |slot| (top | rest_of(slot) << SPARE_BITS, place_of(slot)))
        })
    }

    fn slot(&self, index: usize, slot_index: usize) -> Slot {
        self.slots.row(index, slot_index)[0]
    }

    fn set(&mut self, index: usize, position: usize, slot: Slot) {
        let slot_index = self.partitions[index].slot_index(position);
        self.slots.row_mut(index, slot_index)[0] = slot;
    }

    /// Enters an entry at the position where the search for it ended.
    fn add(&mut self, index: usize, position: usize, slot: Slot) {
        if self.partitions[index].has_room() {
            self.push_in(index, position, slot);
        } else {
            self.grow(index);
            match self.search(index, rest_of(slot)) {
                Search::Missing(position) => self.push_in(index, position, slot),
                Search::Found(..) => unreachable!("growing adds no entry"),
            }
        }
        self.entries += 1;
    }

    #[inline]
    fn search(&self, index: usize, rest: u64) -> Search {
        let partition = &self.partitions[index];
        let end = partition.end();
        let mut position = partition.start(rest);
        // Row by row: finding a row costs more than looking at its slots.
        while position < end {
            let row = self.slots.row(index, partition.slot_index(position));
            let row = &row[..row.len().min(end - position)];
            for &slot in row {
                let found = rest_of(slot);
                if is_free(slot) || found > rest {
                    return Search::Missing(position);
                }
                if found == rest {
                    return Search::Found(position, slot);
                }
                position += 1;
            }
        }
        Search::Missing(position)
    }

    /// Puts an entry at a position and moves those there and behind it on, up to the next free
    /// slot. One is free, as no partition is full.
    fn push_in(&mut self, index: usize, position: usize, slot: Slot) {
        let end = self.partitions[index].end();
        let left_over = self.shift(index, position..end, slot);
        if !is_free(left_over) {
            // The end has no room. Those at the front move on too, and leave it one slot more.
            let wrapped = self.partitions[index].wrapped as usize;
            let none = self.shift(index, wrapped..position, FREE);
            assert!(is_free(none), "a partition is never full");
            self.partitions[index].wrapped += 1;
            self.set(index, end, left_over);
        }
        self.partitions[index].taken += 1;
    }

    /// Puts `carry` at the first of some positions, what was there at the second, and so on up
    /// to a free slot. Gives back what is left over if there is none.
    fn shift(&mut self, index: usize, positions: std::ops::Range<usize>, mut carry: Slot) -> Slot {
        let partition = &self.partitions[index];
        let mut position = positions.start;
        while position < positions.end {
            let row = self.slots.row_mut(index, partition.slot_index(position));
            let len = row.len().min(positions.end - position);
            let row = &mut row[..len];
            if let Some(free) = row.iter().position(|&slot| is_free(slot)) {
                row.copy_within(..free, 1);
                row[0] = carry;
                return FREE;
            }
            let out = row[row.len() - 1];
            row.copy_within(..row.len() - 1, 1);
            row[0] = carry;
            carry = out;
            position += row.len();
        }
        carry
    }

    /// Takes the entry at a position out and moves those behind it, which are not at home, up.
    fn close_gap(&mut self, index: usize, position: usize) {
        let mut gap = position;
        loop {
            let partition = &self.partitions[index];
            let end = partition.end();
            let mut next = gap + 1;
            while next < end {
                let partition = &self.partitions[index];
                let slot = self.slot(index, partition.slot_index(next));
                if is_free(slot) || partition.start(rest_of(slot)) == next {
                    break;
                }
                self.set(index, gap, slot);
                (gap, next) = (next, next + 1);
            }
            self.set(index, gap, FREE);
            let partition = &mut self.partitions[index];
            if gap + 1 < end || partition.wrapped == 0 {
                break;
            }
            // The last of the wrapped entries has gone, and its slot is the front's again.
            partition.wrapped -= 1;
            gap = partition.wrapped as usize;
        }
        self.partitions[index].taken -= 1;
    }

    /// Gives a partition more segments and puts its row down again.
    fn grow(&mut self, index: usize) {
        let mut row = std::mem::take(&mut self.scratch);
        self.take_row(index, &mut row);
        let slots = self.partitions[index].slots as usize;
        self.extend(index, (slots * GROWTH_PERCENT).div_ceil(100).max(1));
        self.put_row(index, &row);
        self.scratch = row;
    }

    /// Moves all entries of a partition out, in their order.
    fn take_row(&mut self, index: usize, row: &mut Vec<Slot>) {
        let partition = &mut self.partitions[index];
        row.clear();
        row.reserve_exact(partition.taken as usize);
        let mut at = 0;
        while at < partition.slots as usize {
            let own = self.slots.row_mut(index, at);
            row.extend(own.iter().filter(|&&slot| !is_free(slot)));
            own.fill(FREE);
            at += own.len();
        }
        assert_eq!(row.len(), partition.taken as usize);
        row.rotate_left(partition.wrapped as usize);
        (partition.taken, partition.wrapped) = (0, 0);
    }

    /// Puts sorted entries in an empty partition that has room for them.
    fn put_row(&mut self, index: usize, row: &[Slot]) {
        let partition = &mut self.partitions[index];
        let mut next = 0;
        for &slot in row {
            let position = partition.home(rest_of(slot)).max(next);
            if position >= partition.slots as usize {
                break;
            }
            self.slots.row_mut(index, position)[0] = slot;
            next = position + 1;
            partition.taken += 1;
        }
        // The few that the end has no room for wrap.
        for &slot in &row[self.partitions[index].taken as usize..] {
            let end = self.partitions[index].end();
            self.push_in(index, end, slot);
        }
    }

    /// Gives a partition segments until it has at least so many slots.
    fn extend(&mut self, index: usize, slots_min: usize) {
        let partition = &mut self.partitions[index];
        while (partition.slots as usize) < slots_min {
            partition.slots += self.slots.extend(partition.slots);
        }
    }
}

/// A fingerprint but for the bits that a table does not keep.
pub(super) fn kept(fingerprint: u64) -> u64 {
    fingerprint >> SPARE_BITS << SPARE_BITS
}
