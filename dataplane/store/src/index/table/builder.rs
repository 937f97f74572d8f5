//! A table that is filled at once.

use super::slots::{FREE, REST_BITS, Slot, rest_of, slot_of};
use super::{LOAD_PERCENT, PARTITION_BITS, PARTITIONS, SPARE_BITS, Table, split};
use crate::Place;

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
        let partition = &mut self.table.partitions[index];
        if partition.taken == partition.slots {
            partition.slots += self.table.slots.extend(partition.slots);
        }
        let slot = slot_of(rest, place.pack());
        self.table.slots.row_mut(index, partition.taken as usize)[0] = slot;
        partition.taken += 1;
    }

    /// The table, with one entry of each fingerprint, and the fingerprints that more than one
    /// entry had, with zeros for the last four bits.
    pub fn finish(self) -> (Table, Vec<u64>) {
        let mut table = self.table;
        let mut twins = Vec::new();
        let mut row = Vec::new();
        let mut sorter = Sorter::default();
        for index in 0..PARTITIONS {
            // A small store has entries in few of them.
            if table.partitions[index].taken == 0 {
                continue;
            }
            table.take_row(index, &mut row);
            sorter.sort(&mut row);
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

/// Sorts what is spread evenly: each entry is put near where it belongs at once, three times
/// faster than by comparing. What is not so spread is compared.
#[derive(Default)]
struct Sorter {
    /// Where the next entry of each bucket goes.
    ends: Vec<u32>,
    spread: Vec<Slot>,
}

/// Entries of a bucket, at most; there is about one.
const BUCKET_MAX: u32 = 32;

impl Sorter {
    fn sort(&mut self, row: &mut Vec<Slot>) {
        let buckets = row.len().next_power_of_two();
        let shift = REST_BITS - buckets.trailing_zeros();
        self.ends.clear();
        self.ends.resize(buckets, 0);
        for &slot in &*row {
            self.ends[(rest_of(slot) >> shift) as usize] += 1;
        }
        if self.ends.iter().any(|&count| count > BUCKET_MAX) {
            row.sort_unstable_by_key(|&slot| rest_of(slot));
            return;
        }
        let mut start = 0;
        for end in &mut self.ends {
            start += std::mem::replace(end, start);
        }
        self.spread.clear();
        self.spread.resize(row.len(), FREE);
        for &slot in &*row {
            let end = &mut self.ends[(rest_of(slot) >> shift) as usize];
            self.spread[*end as usize] = slot;
            *end += 1;
        }
        std::mem::swap(row, &mut self.spread);
        for at in 1..row.len() {
            let slot = row[at];
            let mut to = at;
            while to > 0 && rest_of(row[to - 1]) > rest_of(slot) {
                row[to] = row[to - 1];
                to -= 1;
            }
            row[to] = slot;
        }
    }
}
