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
//! entry, three words:  | rest 47..16 | rest 15..0, place 47..32 | place 31..0 |
//!                                                   ^ bit 15: the slot is taken
//! partition of 8 slots, 2 of them wrapped: those of the end that the end has no room for
//!       | Y | Z | a | b |   | r | W | X |      the order is  a b r W X Y Z
//!         wrapped
//! ```
//!
//! Slots come in pages of 32, pages in segments, 16 segments to each doubling: a partition grows
//! by whole segments that nothing else ever gets, so memory has no holes and nothing is copied to
//! a second place but one partition's entries. With a load limit of 0.92 and steps of about 9 %,
//! an entry takes 12 / 0.92 = 13.0 to 14.2 bytes and 0.1 for the lists; small partitions, whose
//! step is a page, up to 14.6. Partitions never shrink.

use crate::Place;

const PARTITION_BITS: u32 = 12;
const PARTITIONS: usize = 1 << PARTITION_BITS;
const REST_BITS: u32 = 48;
const REST_MASK: u64 = (1 << REST_BITS) - 1;
/// Bits at the end of a fingerprint that are not looked at.
const SPARE_BITS: u32 = 64 - PARTITION_BITS - REST_BITS;

const PAGE_SLOTS: usize = 32;
const PAGE_SHIFT: u32 = PAGE_SLOTS.trailing_zeros();
/// Segments per doubling.
const STEP_SEGMENTS: usize = 16;
const STEP_SHIFT: u32 = STEP_SEGMENTS.trailing_zeros();
/// Pages that are asked of the system at once: 48 MiB of addresses, memory as it is used. (More
/// than the 32 MiB up to which glibc may take a request from what was used and freed before.)
const SLAB_PAGES: usize = 1 << 17;
const SLAB_SHIFT: u32 = SLAB_PAGES.trailing_zeros();

/// A partition grows when more than 92 of 100 slots are taken,
const LOAD_PERCENT: usize = 92;
/// to at least 107 of 100 slots.
const GROWTH_PERCENT: usize = 107;

const TAKEN: u64 = 1 << 47;

/// The compact map from fingerprints to places.
#[derive(Debug)]
pub struct Table {
    partitions: Vec<Partition>,
    pages: Pages,
    entries: u64,
    /// The entries of the partition that is growing.
    scratch: Vec<Slot>,
}

/// Three words rather than one number: an entry is 12 bytes and needs no alignment to 8.
type Slot = [u32; 3];

const FREE: Slot = [0; 3];

const PAGE_WORDS: usize = PAGE_SLOTS * size_of::<Slot>() / 4;

const _: () = assert!(size_of::<Slot>() == 12);
const _: () = assert!(PARTITION_BITS + REST_BITS >= 60);

#[derive(Clone, Debug, Default)]
struct Partition {
    /// The first page of each segment.
    segments: Vec<u32>,
    /// Slots in all segments.
    slots: u32,
    /// Slots taken.
    taken: u32,
    /// Entries at the front that belong to the end.
    wrapped: u32,
}

/// All pages, in slabs.
#[derive(Debug, Default)]
struct Pages {
    /// Plain words, as only of those a vector of zeros is sure to come from the system untouched.
    slabs: Vec<Vec<u32>>,
    /// Pages given out.
    used: usize,
}

/// Where the search for a fingerprint ended, as a position: see [`Partition::end`].
enum Search {
    Found(usize),
    /// The fingerprint would have to stand here.
    Missing(usize),
}

fn split(fingerprint: u64) -> (usize, u64) {
    let partition = (fingerprint >> (64 - PARTITION_BITS)) as usize;
    (partition, fingerprint >> SPARE_BITS & REST_MASK)
}

fn slot_of(rest: u64, place: u64) -> Slot {
    assert!(place < TAKEN, "a place has 47 bits and less");
    let place = place | TAKEN;
    [(rest >> 16) as u32, (rest << 16) as u32 | (place >> 32) as u32, place as u32]
}

fn rest_of(slot: Slot) -> u64 {
    (u64::from(slot[0]) << 32 | u64::from(slot[1])) >> 16
}

fn place_of(slot: Slot) -> Place {
    Place::unpack((u64::from(slot[1]) << 32 | u64::from(slot[2])) & (TAKEN - 1))
}

fn is_free(slot: Slot) -> bool {
    slot[1] & (TAKEN >> 32) as u32 == 0
}

/// The segment of a partition's page, and which page of the segment it is.
///
/// Pages 0..32 are segments of their own, 32..64 are in segments of two, 64..128 in segments of
/// four, …: page 70 is the third of segment 49.
fn segment_of(page: usize) -> (usize, usize) {
    let octave = (page | STEP_SEGMENTS).ilog2() - STEP_SHIFT;
    let segment = STEP_SEGMENTS * octave as usize + (page >> octave);
    (segment, page & ((1 << octave) - 1))
}

/// Pages of a segment.
fn segment_pages(segment: usize) -> usize {
    1 << (segment >> STEP_SHIFT).saturating_sub(1)
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

    /// The page of a slot among all pages.
    fn page_of(&self, slot_index: usize) -> usize {
        let (segment, page) = segment_of(slot_index >> PAGE_SHIFT);
        self.segments[segment] as usize + page
    }
}

impl Pages {
    fn page(&self, page: usize) -> &[Slot] {
        let first = (page & (SLAB_PAGES - 1)) * PAGE_WORDS;
        self.slabs[page >> SLAB_SHIFT][first..first + PAGE_WORDS].as_chunks().0
    }

    fn page_mut(&mut self, page: usize) -> &mut [Slot] {
        let first = (page & (SLAB_PAGES - 1)) * PAGE_WORDS;
        self.slabs[page >> SLAB_SHIFT][first..first + PAGE_WORDS].as_chunks_mut().0
    }

    /// The first of so many free pages in a row.
    fn take(&mut self, count: usize) -> u32 {
        assert!(count <= SLAB_PAGES, "a partition of more than 2^27 slots");
        // A segment lies in one slab; what a slab has left for it and can't hold is lost: at
        // most one segment in 131,072 pages.
        if (self.used & (SLAB_PAGES - 1)) + count > SLAB_PAGES {
            self.used = self.used.next_multiple_of(SLAB_PAGES);
        }
        if self.used + count > self.slabs.len() * SLAB_PAGES {
            self.slabs.push(vec![0; SLAB_PAGES * PAGE_WORDS]);
        }
        let first = self.used;
        self.used += count;
        u32::try_from(first).expect("fewer than 2^32 pages are 1.6 TB")
    }
}

impl Table {
    /// An empty table with memory for about `expected` entries, which may be 0.
    pub fn new(expected: u64) -> Table {
        let mut table = Table {
            partitions: vec![Partition::default(); PARTITIONS],
            pages: Pages::default(),
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

    /// Bytes of memory in use. What a slab has not given out yet is only addresses.
    pub fn bytes(&self) -> u64 {
        let lists: usize = self.partitions.iter().map(|p| p.segments.capacity() * 4 + 16).sum();
        let bytes = self.pages.used * PAGE_WORDS * 4
            + self.partitions.capacity() * size_of::<Partition>()
            + lists
            + self.pages.slabs.capacity() * size_of::<Vec<u32>>()
            + self.scratch.capacity() * size_of::<Slot>();
        bytes as u64
    }

    /// The place of a fingerprint.
    pub fn get(&self, fingerprint: u64) -> Option<Place> {
        let (partition, rest) = split(fingerprint);
        let partition = &self.partitions[partition];
        match self.search(partition, rest) {
            Search::Found(position) => Some(place_of(self.slot(partition, position))),
            Search::Missing(_) => None,
        }
    }

    /// Puts a place in, and gives back the one it takes the place of.
    pub fn insert(&mut self, fingerprint: u64, place: Place) -> Option<Place> {
        let (index, rest) = split(fingerprint);
        let slot = slot_of(rest, place.pack());
        match self.search(&self.partitions[index], rest) {
            Search::Found(position) => {
                let old = self.slot(&self.partitions[index], position);
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
        match self.search(&self.partitions[index], rest) {
            Search::Found(position) => Err(place_of(self.slot(&self.partitions[index], position))),
            Search::Missing(position) => {
                self.add(index, position, slot_of(rest, place.pack()));
                Ok(())
            }
        }
    }

    /// Takes a fingerprint's place out.
    pub fn remove(&mut self, fingerprint: u64) -> Option<Place> {
        let (index, rest) = split(fingerprint);
        let Search::Found(position) = self.search(&self.partitions[index], rest) else {
            return None;
        };
        let old = self.slot(&self.partitions[index], position);
        self.close_gap(index, position);
        self.entries -= 1;
        Some(place_of(old))
    }

    /// Puts `to` in if the fingerprint's place is where `from` is.
    pub fn replace_if(&mut self, fingerprint: u64, from: Place, to: Place) -> bool {
        let (index, rest) = split(fingerprint);
        let partition = &self.partitions[index];
        match self.search(partition, rest) {
            Search::Found(position) if place_of(self.slot(partition, position)).is_at(&from) => {
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
                .map(move |position| self.slot(partition, position))
                .filter(|&slot| !is_free(slot))
                .map(move |slot| (top | rest_of(slot) << SPARE_BITS, place_of(slot)))
        })
    }

    fn slot(&self, partition: &Partition, position: usize) -> Slot {
        let slot_index = partition.slot_index(position);
        self.pages.page(partition.page_of(slot_index))[slot_index & (PAGE_SLOTS - 1)]
    }

    fn set(&mut self, index: usize, position: usize, slot: Slot) {
        let partition = &self.partitions[index];
        let slot_index = partition.slot_index(position);
        let page = partition.page_of(slot_index);
        self.pages.page_mut(page)[slot_index & (PAGE_SLOTS - 1)] = slot;
    }

    /// Enters an entry at the position where the search for it ended.
    fn add(&mut self, index: usize, position: usize, slot: Slot) {
        if self.partitions[index].has_room() {
            self.push_in(index, position, slot);
        } else {
            self.grow(index);
            match self.search(&self.partitions[index], rest_of(slot)) {
                Search::Missing(position) => self.push_in(index, position, slot),
                Search::Found(_) => unreachable!("growing adds no entry"),
            }
        }
        self.entries += 1;
    }

    fn search(&self, partition: &Partition, rest: u64) -> Search {
        let end = partition.end();
        let mut position = partition.start(rest);
        // Page by page: finding a page costs more than looking at its slots.
        while position < end {
            let slot_index = partition.slot_index(position);
            let first = slot_index & (PAGE_SLOTS - 1);
            let last = PAGE_SLOTS.min(first + end - position);
            let page = self.pages.page(partition.page_of(slot_index));
            for &slot in &page[first..last] {
                let found = rest_of(slot);
                if is_free(slot) || found > rest {
                    return Search::Missing(position);
                }
                if found == rest {
                    return Search::Found(position);
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
            let slot_index = partition.slot_index(position);
            let first = slot_index & (PAGE_SLOTS - 1);
            let last = PAGE_SLOTS.min(first + positions.end - position);
            let page = self.pages.page_mut(partition.page_of(slot_index));
            let row = &mut page[first..last];
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
                let slot = self.slot(&self.partitions[index], next);
                if is_free(slot) || self.partitions[index].start(rest_of(slot)) == next {
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
        for page in 0..partition.slots as usize >> PAGE_SHIFT {
            let page = self.pages.page_mut(partition.page_of(page << PAGE_SHIFT));
            row.extend(page.iter().filter(|&&slot| !is_free(slot)));
            page.fill(FREE);
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
            let page = partition.page_of(position);
            self.pages.page_mut(page)[position & (PAGE_SLOTS - 1)] = slot;
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
            let segment = partition.segments.len();
            let count = segment_pages(segment);
            let first = self.pages.take(count);
            if partition.segments.len() == partition.segments.capacity() {
                partition.segments.reserve_exact(8);
            }
            partition.segments.push(first);
            partition.slots += (count * PAGE_SLOTS) as u32;
        }
    }
}

/// A table that is filled at once: several times faster than one insert after the other, as
/// entries are only appended to their partitions, which are sorted at the end, each in the cache.
#[derive(Debug)]
pub struct TableBuilder {
    /// Its partitions have their entries at the front, in no order.
    table: Table,
}

impl TableBuilder {
    /// A table of about `expected` entries.
    pub fn new(expected: u64) -> TableBuilder {
        TableBuilder { table: Table::new(expected) }
    }

    /// Takes an entry.
    pub fn push(&mut self, fingerprint: u64, place: Place) {
        let (index, rest) = split(fingerprint);
        let slots = self.table.partitions[index].slots as usize;
        let taken = self.table.partitions[index].taken as usize;
        if taken == slots {
            self.table.extend(index, slots + 1);
        }
        self.table.set(index, taken, slot_of(rest, place.pack()));
        self.table.partitions[index].taken += 1;
    }

    /// The table, with one entry of each fingerprint, and the fingerprints that more than one
    /// entry had, with zeros for the last four bits.
    pub fn finish(self) -> (Table, Vec<u64>) {
        let mut table = self.table;
        let mut twins = Vec::new();
        let mut row = Vec::new();
        for index in 0..PARTITIONS {
            table.take_row(index, &mut row);
            row.sort_unstable_by_key(|&slot| rest_of(slot));
            let top = (index as u64) << (64 - PARTITION_BITS);
            row.dedup_by(|next, kept| {
                let rest = rest_of(*kept);
                let equal = rest_of(*next) == rest;
                let fingerprint = top | rest << SPARE_BITS;
                if equal && twins.last() != Some(&fingerprint) {
                    twins.push(fingerprint);
                }
                equal
            });
            table.extend(index, (row.len() * 100).div_ceil(LOAD_PERCENT));
            table.put_row(index, &row);
            table.entries += row.len() as u64;
        }
        (table, twins)
    }
}

/// A fingerprint but for the bits that a table does not keep.
pub(super) fn kept(fingerprint: u64) -> u64 {
    fingerprint >> SPARE_BITS << SPARE_BITS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use isotherm_seam::{Domain, Draws};

    use super::*;
    use crate::ExtentId;

    /// The order within each partition, that every search finds its entry, and the counts.
    fn check(table: &Table) {
        let mut entries = 0;
        for (index, partition) in table.partitions.iter().enumerate() {
            let mut last = None;
            let mut full_from = partition.wrapped as usize;
            let mut taken = 0;
            for position in partition.wrapped as usize..partition.end() {
                let slot = table.slot(partition, position);
                if is_free(slot) {
                    assert!(position < partition.slots as usize, "a wrapped slot is free");
                    full_from = position + 1;
                    continue;
                }
                taken += 1;
                let rest = rest_of(slot);
                assert!(last < Some(rest), "partition {index}: out of order at {position}");
                assert!(full_from <= partition.start(rest), "a gap behind a home");
                assert!(partition.start(rest) <= position, "an entry before its home");
                last = Some(rest);
            }
            assert_eq!(taken, partition.taken);
            entries += u64::from(taken);
        }
        assert_eq!(entries, table.len());
    }

    fn place(draws: &mut Draws) -> Place {
        Place {
            extent: ExtentId(draws.below(1 << 20) as u32),
            block: draws.below(1 << 16) as u32,
            blocks: draws.below(512) as u16,
            dead: draws.happens(0.1),
        }
    }

    /// Operations on a table and on a map, with fingerprints drawn by `next`.
    fn against_a_map(seed: u64, grow: f64, mut next: impl FnMut(&mut Draws) -> u64) {
        println!("seed {seed}");
        let mut draws = Draws::new(seed, Domain::new("store.index.table"), 0);
        let mut table = Table::new(draws.below(10_000));
        let mut map = BTreeMap::new();
        for step in 0..20_000 {
            let fingerprint = next(&mut draws);
            let name = fingerprint >> SPARE_BITS << SPARE_BITS;
            assert_eq!(table.get(fingerprint), map.get(&name).copied());
            if draws.happens(grow) {
                let place = place(&mut draws);
                assert_eq!(table.insert(fingerprint, place), map.insert(name, place));
            } else if draws.happens(0.3) {
                let (from, to) = (place(&mut draws), place(&mut draws));
                let from = map.get(&name).copied().filter(|_| draws.happens(0.8)).unwrap_or(from);
                let held = map.get_mut(&name).filter(|held| held.is_at(&from));
                assert_eq!(table.replace_if(fingerprint, from, to), held.is_some());
                if let Some(held) = held {
                    *held = to;
                }
            } else {
                assert_eq!(table.remove(fingerprint), map.remove(&name));
            }
            if step % 500 == 0 {
                check(&table);
            }
        }
        check(&table);
        assert_eq!(table.len(), map.len() as u64);
        assert!(table.iter().eq(map.iter().map(|(&name, &place)| (name, place))));
        for (name, place) in map {
            assert_eq!(table.remove(name), Some(place));
        }
        check(&table);
        assert!(table.is_empty());
    }

    #[test]
    fn a_table_does_what_a_map_does() {
        for seed in 0..8 {
            let names = 500 << seed;
            against_a_map(seed, 0.55, |draws| {
                let name = draws.below(names);
                isotherm_seam::draw(9, Domain::new("test.name"), name, 0)
            });
        }
    }

    #[test]
    fn one_partition_takes_it_all() {
        for seed in 0..8 {
            against_a_map(seed, 0.7, |draws| (7 << 52) + (draws.below(3_000) << 40));
        }
    }

    #[test]
    fn fingerprints_that_crowd_at_one_end_of_a_partition() {
        for seed in 0..8 {
            // The last homes: nearly all of them wrap.
            against_a_map(seed, 0.5, |draws| (9 << 52) - 16 * (1 + draws.below(400)));
            // The first ones, and a few of the last.
            against_a_map(seed, 0.5, |draws| {
                let near = 16 * draws.below(200);
                if draws.happens(0.3) { (8 << 52) - 16 - near } else { (7 << 52) + near }
            });
        }
    }

    #[test]
    fn a_table_that_is_built_at_once_is_the_same() {
        for seed in 0..12 {
            println!("seed {seed}");
            let mut draws = Draws::new(seed, Domain::new("store.index.table"), 2);
            let count = draws.below(20_000 << (seed / 3));
            let names = 1 + draws.below(4 * (count + 1));
            // Spread, or all in the last homes of one partition.
            let name = |draws: &mut Draws| match seed % 3 {
                0 => (9 << 52) - 16 * (1 + draws.below(names)),
                _ => kept(isotherm_seam::draw(9, Domain::new("test.name"), draws.below(names), 0)),
            };
            let mut builder = TableBuilder::new(draws.below(2 * count + 1));
            let mut map: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
            for _ in 0..count {
                let (name, place) = (name(&mut draws), place(&mut draws));
                builder.push(name, place);
                map.entry(name).or_default().push(place);
            }
            let (table, twins) = builder.finish();
            check(&table);
            let shared = map.iter().filter(|(_, places)| places.len() > 1).map(|(&name, _)| name);
            assert!(shared.eq(twins));
            assert_eq!(table.len(), map.len() as u64);
            for (name, place) in table.iter() {
                assert!(map[&name].contains(&place));
            }
        }
    }

    #[test]
    fn segments_are_laid_end_to_end() {
        let mut page = 0;
        for segment in 0..200 {
            for offset in 0..segment_pages(segment) {
                assert_eq!(segment_of(page), (segment, offset));
                page += 1;
            }
        }
        assert_eq!(segment_of(70), (49, 2));
    }

    #[test]
    fn an_entry_takes_no_more_than_it_may() {
        let mut draws = Draws::new(1, Domain::new("store.index.table"), 1);
        let mut table = Table::new(0);
        while table.len() < 4_000_000 {
            table.insert(draws.next_u64(), Place::unpack(draws.below(1 << 46)));
            if table.len() >= 1_000_000 && table.len().is_multiple_of(50_000) {
                let per_entry = table.bytes() as f64 / table.len() as f64;
                assert!(per_entry <= 14.7, "{per_entry} at {}", table.len());
            }
        }
    }
}
