//! Groups as they are built and grown: kept apart, even, declustered, and moving nothing.

mod support;

use std::collections::BTreeMap;

use isotherm_placement::{BuildError, ClusterMap, DiskNo, DiskState, Load, MapError};
use support::{OPTIONS, build, crowd, disk, draws, fleet, node, usual};

fn groups_of(map: &ClusterMap) -> Vec<u32> {
    let mut groups = vec![0; map.disks.len()];
    for member in map.groups.iter().flat_map(|group| &group.members) {
        groups[member.0 as usize] += 1;
    }
    groups
}

fn crowding(map: &ClusterMap, from: usize, rack: bool) -> usize {
    map.groups[from..].iter().map(|group| crowd(map, &group.members, rack)).max().unwrap_or(0)
}

#[test]
fn one_member_a_node_where_there_are_enough_nodes() {
    for seed in 0..20 {
        let map = usual(seed);
        assert_eq!(map.version, 1);
        assert_eq!(map.groups.len(), 400, "24 disks in 100 groups of 6 each");
        assert_eq!(crowding(&map, 0, false), 1, "seed {seed}");
    }
}

#[test]
fn fewer_nodes_take_two_each_if_the_code_survives_that() {
    let map = build("4+2", fleet(0, 3, 4, 0, None), 1).unwrap();
    assert_eq!(crowding(&map, 0, false), 2);
    let map = build("4+2", fleet(0, 4, 4, 0, None), 1).unwrap();
    assert_eq!(crowding(&map, 0, false), 2);
}

#[test]
fn too_few_nodes_are_refused_with_what_there_is() {
    let refused = build("4+2", fleet(0, 2, 20, 0, None), 1).unwrap_err();
    let BuildError::TooFewDomains { cells, max, disks, nodes, racks, reach, .. } = refused else {
        panic!("{refused}");
    };
    assert_eq!((cells, max, disks, nodes, racks, reach), (6, 2, 40, 2, 2, 4));
    // Enough nodes, too few disks; no disks at all; all of them on their way out.
    assert!(build("10+4", fleet(0, 13, 1, 0, None), 1).is_err());
    assert!(build("4+2", (vec![node(0, None)], vec![]), 1).is_err());
    let (nodes, mut disks) = fleet(0, 6, 1, 0, None);
    disks[3].state = DiskState::Draining;
    assert!(build("4+2", (nodes, disks), 1).is_err());
}

#[test]
fn no_rack_holds_more_than_may_be_lost() {
    for (scheme, racks, most) in [("4+2", 3, 2), ("10+4", 5, 3), ("10+4", 4, 4), ("4+2", 6, 1)] {
        let map = build(scheme, fleet(0, 24, 3, 0, Some(racks)), 5).unwrap();
        assert_eq!(crowding(&map, 0, true), most, "{scheme} over {racks} racks");
        assert_eq!(crowding(&map, 0, false), 1, "{scheme} over {racks} racks");
    }
    let refused = build("4+2", fleet(0, 24, 3, 0, Some(2)), 5).unwrap_err();
    assert!(matches!(refused, BuildError::TooFewDomains { racks: 2, reach: 4, .. }), "{refused}");
}

#[test]
fn disks_get_groups_by_their_capacity() {
    // 40 nodes of three disks of 10, 20 and 30 TB.
    let (nodes, mut disks) = fleet(0, 40, 3, 0, None);
    for disk in &mut disks {
        disk.capacity_bytes = u64::from(1 + disk.no.0 % 3) * 10 * support::TB;
    }
    for (scheme, seed) in [("4+2", 1), ("10+4", 2), ("3x", 3)] {
        let map = build(scheme, (nodes.clone(), disks.clone()), seed).unwrap();
        let share = map.balance().share;
        assert!(share.min > 0.95 && share.max < 1.05, "{scheme}, seed {seed}: {share:?}");
    }
    for seed in 0..20 {
        let share = usual(seed).balance().share;
        assert!(share.min > 0.95 && share.max < 1.05, "seed {seed}: {share:?}");
    }
}

#[test]
fn each_disk_shares_groups_with_each_that_it_may() {
    for seed in 0..20 {
        let balance = usual(seed).balance();
        // 20 disks on other nodes and 500 places beside a disk: 25 each, deviation 5.
        assert_eq!((balance.partners.min, balance.partners.max), (20.0, 20.0), "seed {seed}");
        assert!(balance.common.min >= 8.0 && balance.common.max <= 48.0, "{seed}: {balance:?}");
    }
    // 200 disks: 1,300 places for 190 others, so 6.8 each, and hardly anyone is missed.
    let balance = build("10+4", fleet(0, 20, 10, 0, None), 3).unwrap().balance();
    assert!(balance.partners.min >= 180.0, "{balance:?}");
    assert!(balance.common.max <= 24.0, "{balance:?}");
}

#[test]
fn strictness_gives_way_before_one_disk_is_in_every_group() {
    let (mut nodes, mut disks) = fleet(0, 5, 10, 0, None);
    nodes.push(node(5, None));
    disks.push(disk(50, 5, 20));
    let map = build("4+2", (nodes, disks), 1).unwrap();
    assert_eq!(crowding(&map, 0, false), 2);
    let groups = groups_of(&map);
    assert!(groups[50] < 120, "{groups:?}");
}

#[test]
fn growth_moves_nothing_and_favours_the_new_disks() {
    let old = usual(1);
    let (nodes, disks) = fleet(6, 6, 4, 24, None);
    let new = old.grow(nodes, disks, &OPTIONS, &|_| Load::default(), &mut draws(2)).unwrap();
    assert_eq!(new.version, 2);
    assert_eq!(new.groups[..old.groups.len()], old.groups[..]);
    assert_eq!(crowding(&new, old.groups.len(), false), 1);
    let groups = groups_of(&new);
    let (before, after) = groups.split_at(24);
    assert!(after.iter().all(|&count| (85..=110).contains(&count)), "{after:?}");
    assert!(before.iter().all(|&count| count < 110), "{before:?}");
}

#[test]
fn one_further_node_is_used_although_each_group_takes_one_disk_of_it() {
    let old = usual(1);
    let (nodes, disks) = fleet(6, 1, 4, 24, None);
    let new = old.grow(nodes, disks, &OPTIONS, &|_| Load::default(), &mut draws(2)).unwrap();
    let groups = groups_of(&new);
    assert!(groups[24..].iter().all(|&count| (90..=110).contains(&count)), "{groups:?}");
    assert!(groups.iter().sum::<u32>() <= 28 * 200 + 6, "{groups:?}");
    // No data cells only for the new disks: each position has its part of them.
    let mut positions = BTreeMap::new();
    for group in &new.groups[400..] {
        let at = group.members.iter().position(|disk| disk.0 >= 24);
        *positions.entry(at).or_insert(0) += 1;
    }
    assert!(positions.values().all(|&count| (30..=110).contains(&count)), "{positions:?}");
}

#[test]
fn many_small_growths_end_in_a_bounded_number_of_groups() {
    let mut map = usual(1);
    for step in 0..30 {
        let (no, first) = (map.next_node().0, map.next_disk().0);
        let (nodes, disks) = fleet(no, 1, 1, first, None);
        map = map.grow(nodes, disks, &OPTIONS, &|_| Load::default(), &mut draws(step)).unwrap();
    }
    let members = map.groups.len() * 6;
    assert!(members <= 2 * 100 * map.disks.len() + 6 * 30, "{members}");
    assert!(groups_of(&map).iter().all(|&count| count >= 17), "{:?}", groups_of(&map));
}

#[test]
fn full_and_hot_disks_get_fewer_of_the_new_groups() {
    let old = usual(1);
    let (nodes, disks) = fleet(6, 1, 4, 24, None);
    let load = |disk: DiskNo| match disk.0 {
        0..4 => Load { bytes: 0.9, heat: 0.1 },
        4..8 => Load { bytes: 0.1, heat: 0.9 },
        _ => Load { bytes: 0.1, heat: 0.1 },
    };
    let new = old.grow(nodes, disks, &OPTIONS, &load, &mut draws(2)).unwrap();
    let gained: Vec<u32> =
        groups_of(&new).iter().zip(groups_of(&old)).map(|(new, old)| new - old).collect();
    let sum = |disks: std::ops::Range<usize>| gained[disks].iter().sum::<u32>();
    assert!(sum(0..4) + 40 < sum(8..12), "{gained:?}");
    assert!(sum(4..8) + 40 < sum(8..12), "{gained:?}");
}

#[test]
fn puts_even_out_a_fleet_that_has_grown() {
    // 24 disks at 40 %, and new empty ones: as many, or one node. Then puts of 40 % of the whole.
    // One node takes one cell of a put at most, a quarter for each of its disks, where an old
    // disk gets 5/24: so nothing that keeps cells apart can close that gap quickly. The new disks
    // fill nearly as fast as the old ones, three quarters of the puts having a new member.
    for (added, left) in [(6, 0.1), (1, 0.47)] {
        let old = usual(1);
        let (nodes, disks) = fleet(6, added, 4, 24, None);
        let map = old.grow(nodes, disks, &OPTIONS, &|_| Load::default(), &mut draws(2)).unwrap();
        let mut fill: Vec<f64> = map.disks.iter().map(|d| f64::from(d.no.0 < 24) * 0.4).collect();
        let gap = |fill: &[f64]| {
            let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
            mean(&fill[..24]) - mean(&fill[24..])
        };
        let mut draws = draws(3);
        let puts = (0.4 * fill.len() as f64 / 6.0 / 1e-4) as u32;
        for _ in 0..puts {
            let load = |disk: DiskNo| Load { bytes: fill[disk.0 as usize], heat: 0.0 };
            let group = map.choose_group(&mut draws, &|_| false, &load, 0).unwrap();
            for member in &map.group(group).unwrap().members {
                fill[member.0 as usize] += 1e-4;
            }
        }
        println!("{added} nodes more: old less new from 0.4 to {:.3}", gap(&fill));
        assert!(gap(&fill).abs() < left, "{added} nodes more: {fill:.2?}");
    }
}

#[test]
fn the_same_seed_builds_the_same_map() {
    assert_eq!(usual(7), usual(7));
    assert_ne!(usual(7).groups, usual(8).groups);
}

#[test]
fn nodes_and_disks_that_break_a_rule_are_refused() {
    let (nodes, mut disks) = fleet(0, 6, 4, 0, None);
    disks[5].no = DiskNo(9);
    let refused = build("4+2", (nodes, disks), 1).unwrap_err();
    let out_of_place = MapError::DiskOutOfPlace { place: DiskNo(5), found: DiskNo(9) };
    assert_eq!(refused, BuildError::Map(out_of_place));
    let options = isotherm_placement::GroupOptions { groups_per_disk: 0 };
    let (nodes, disks) = fleet(0, 6, 4, 0, None);
    let scheme = "4+2".parse().unwrap();
    let refused = ClusterMap::build([1; 16], scheme, nodes, disks, &options, &mut draws(1));
    assert_eq!(refused, Err(BuildError::Groups(0)));
}

/// Fleets of all sorts: racks of differing size or none, nodes with few or many disks of differing
/// capacity, some of them on their way out; then grown by more of the kind.
#[test]
fn any_fleet_is_refused_or_kept_apart() {
    let (mut built, mut refused, mut grown) = (0, 0, 0);
    for seed in 0..600 {
        let mut chance = draws(seed);
        let scheme =
            ["4+2", "3x", "10+4", "2+1", "8+3", "1+1", "lrc4+2+2"][chance.below(7) as usize];
        let (cells, max) = {
            let scheme: isotherm_erasure::Scheme = scheme.parse().unwrap();
            (scheme.cells(), scheme.tolerated_losses())
        };
        let racks = chance.happens(0.5).then(|| 1 + chance.below(8) as u32);
        let mut more = |first: u32, first_disk: u32| {
            let (mut nodes, mut disks) = (Vec::new(), Vec::new());
            for no in first..first + 1 + chance.below(16) as u32 {
                let rack = racks.filter(|_| chance.happens(0.9));
                nodes.push(node(no, rack.map(|racks| chance.below(racks.into()) as u32)));
                for _ in 0..chance.below(6) {
                    let tb = 1 + chance.below(30);
                    let mut disk = disk(first_disk + disks.len() as u32, no, tb);
                    if chance.happens(0.1) {
                        disk.state = [DiskState::Draining, DiskState::Out][tb as usize % 2];
                    }
                    disks.push(disk);
                }
            }
            (nodes, disks)
        };
        let fleet = more(0, 0);
        let growth = more(fleet.0.len() as u32, fleet.1.len() as u32);

        // As many as can be kept apart: no more than `max` on a node, and in a rack.
        let mut on_node = BTreeMap::new();
        for disk in fleet.1.iter().filter(|disk| disk.state == DiskState::In) {
            *on_node.entry(disk.node).or_insert(0) += 1;
        }
        let mut in_rack = BTreeMap::new();
        for (no, count) in on_node {
            let node = &fleet.0[no.0 as usize];
            let rack = node.rack.clone().unwrap_or_else(|| node.name.clone());
            *in_rack.entry(rack).or_insert(0) += max.min(count);
        }
        let reach: usize = in_rack.values().map(|&count: &usize| count.min(max)).sum();

        match build(scheme, fleet, seed) {
            Ok(map) => {
                built += 1;
                assert!(reach >= cells, "seed {seed}: {scheme} with {reach} apart was built");
                assert!(crowding(&map, 0, false) <= max, "seed {seed}");
                assert!(crowding(&map, 0, true) <= max, "seed {seed}");
                assert!(
                    map.groups
                        .iter()
                        .flat_map(|group| &group.members)
                        .all(|&no| { map.disk(no).unwrap().state == DiskState::In })
                );
                let mut draws = draws(seed);
                let new = map.grow(growth.0, growth.1, &OPTIONS, &|_| Load::default(), &mut draws);
                let new = new.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                assert_eq!(new.groups[..map.groups.len()], map.groups[..], "seed {seed}");
                assert_eq!(map.apply(&map.diff(&new).unwrap()), Ok(new.clone()), "seed {seed}");
                grown += usize::from(new.groups.len() > map.groups.len());
                let members = new.groups.len() * cells;
                let disks = new.disks.iter().filter(|d| d.state == DiskState::In).count();
                assert!(members <= 200 * disks + 2 * cells, "seed {seed}: {members} on {disks}");
            }
            Err(error) => {
                refused += 1;
                assert!(matches!(error, BuildError::TooFewDomains { .. }), "seed {seed}: {error}");
                assert!(reach < cells, "seed {seed}: {scheme} with {reach} apart was refused");
            }
        }
    }
    assert!(built > 100 && refused > 100 && grown > 100, "{built} {refused} {grown}");
    println!("{built} built, {grown} grown, {refused} refused");
}
