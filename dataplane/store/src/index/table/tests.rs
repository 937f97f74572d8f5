//! The table against a map, and what its memory costs.

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
            let slot = table.slot(index, partition.slot_index(position));
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
