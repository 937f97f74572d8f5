//! Changes between versions, members that are replaced, and which group a put gets.

mod support;

use isotherm_placement::{
    ChangeError, ClusterMap, DiskNo, DiskState, GroupId, Load, MapDiff, MapError, MembersError,
    NodeNo, ReplaceError,
};
use support::{OPTIONS, build, draws, fleet, usual};

fn nothing(_: DiskNo) -> Load {
    Load::default()
}

/// What an operator and the controller do to a map, at random; one or more versions later.
fn changed(map: &ClusterMap, seed: u64) -> ClusterMap {
    let mut draws = draws(seed);
    let mut new = map.clone();
    for _ in 0..1 + draws.below(4) {
        let mut change = new.change();
        match draws.below(6) {
            0 => {
                let (nodes, disks) = (1 + draws.below(2) as u32, draws.below(4) as u32);
                let (nodes, disks) =
                    fleet(new.next_node().0, nodes, disks, new.next_disk().0, None);
                new = new.grow(nodes, disks, &OPTIONS, &nothing, &mut draws).unwrap();
                continue;
            }
            1 => {
                let mut disk = new.disks[draws.below(new.disks.len() as u64) as usize].clone();
                disk.state = [DiskState::In, DiskState::Draining][draws.below(2) as usize];
                disk.core = draws.below(2) as u16;
                change.disks.push(disk);
            }
            2 => {
                let mut node = new.nodes[draws.below(new.nodes.len() as u64) as usize].clone();
                node.admin = draws.happens(0.5).then(|| node.cores[0]);
                change.nodes.push(node);
            }
            3 => {
                for group in new.groups.iter().filter(|group| group.filled() != **group) {
                    change.groups.push(group.filled());
                }
            }
            _ => {
                for id in 0..new.groups.len() as u32 {
                    let disk = DiskNo(draws.below(new.disks.len() as u64) as u32);
                    let position = draws.below(6) as usize;
                    if draws.happens(0.1)
                        && let Ok(group) = new.replace(GroupId(id), position, disk)
                    {
                        change.groups.push(group);
                    }
                }
            }
        }
        new = new.apply(&change).unwrap();
    }
    new
}

#[test]
fn a_difference_applied_is_the_later_map() {
    let old = usual(1);
    let mut sizes = [0, 0, 0];
    for seed in 0..200 {
        let new = changed(&old, seed);
        let diff = old.diff(&new).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let diff = MapDiff::from_bytes(&diff.to_bytes()).unwrap();
        assert_eq!(old.apply(&diff).as_ref(), Ok(&new), "seed {seed}");
        let small = diff.nodes.len() + diff.disks.len() + diff.groups.len();
        assert!(small < 2 * (new.groups.len() + new.disks.len()), "seed {seed}");
        sizes[0] += diff.nodes.len();
        sizes[1] += diff.disks.len();
        sizes[2] += diff.groups.len();
    }
    assert!(sizes.iter().all(|&size| size > 50), "each kind of change was met: {sizes:?}");
}

#[test]
fn a_change_holds_what_changed_and_no_more() {
    let old = usual(1);
    let mut change = old.change();
    let mut disk = old.disks[3].clone();
    disk.state = DiskState::Draining;
    change.disks.push(disk);
    let new = old.apply(&change).unwrap();
    assert_eq!(new.version, 2);
    assert_eq!(old.diff(&new).unwrap(), change);
}

#[test]
fn what_can_not_follow_is_refused() {
    let old = usual(1);
    let step = |how: &dyn Fn(&mut ClusterMap)| {
        let mut new = old.clone();
        new.version = 2;
        how(&mut new);
        old.diff(&new).unwrap_err()
    };
    assert_eq!(step(&|new| new.cluster = [7; 16]), ChangeError::OtherCluster);
    assert_eq!(step(&|new| new.scheme = "3+3".parse().unwrap()), ChangeError::OtherCodec);
    assert_eq!(step(&|new| new.version = 1), ChangeError::NotLater { from: 1, to: 1 });
    assert_eq!(step(&|new| drop(new.nodes.pop())), ChangeError::Shrinks);
    assert_eq!(step(&|new| drop(new.disks.pop())), ChangeError::Shrinks);
    assert_eq!(step(&|new| drop(new.groups.pop())), ChangeError::Shrinks);
    assert_eq!(step(&|new| new.nodes[2].name.push('x')), ChangeError::NodeRenamed(NodeNo(2)));
    assert_eq!(step(&|new| new.disks[2].uuid[9] ^= 1), ChangeError::DiskReused(DiskNo(2)));
    assert_eq!(step(&|new| new.groups[2].members.swap(0, 1)), ChangeError::Epoch(GroupId(2)));
    assert_eq!(step(&|new| new.groups[2].epoch = 0), ChangeError::Epoch(GroupId(2)));

    let apply = |how: &dyn Fn(&mut MapDiff)| {
        let mut change = old.change();
        how(&mut change);
        old.apply(&change).unwrap_err()
    };
    assert_eq!(apply(&|change| change.cluster = [7; 16]), ChangeError::OtherCluster);
    assert_eq!(apply(&|change| change.from = 3), ChangeError::OtherVersion { change: 3, map: 1 });
    assert_eq!(apply(&|change| change.to = 0), ChangeError::NotLater { from: 1, to: 0 });
    // Out of order, with a gap, twice the same.
    for numbers in [[2, 1], [23, 25], [24, 26], [3, 3]] {
        let disks = numbers.map(|no| support::disk(no, 0, 20)).to_vec();
        assert_eq!(apply(&|change| change.disks = disks.clone()), ChangeError::OutOfOrder);
    }
    let lost = support::disk(24, 77, 20);
    assert_eq!(
        apply(&|change| change.disks = vec![lost.clone()]),
        ChangeError::Map(MapError::DiskCore(DiskNo(24)))
    );
}

#[test]
fn a_member_is_replaced_within_the_rules() {
    let map = usual(1);
    let group = map.group(GroupId(5)).unwrap().clone();
    let node = |disk: DiskNo| map.disk(disk).unwrap().node;
    // Another disk of the node that leaves.
    let old = group.members[2];
    let spare = (0..24).map(DiskNo).find(|&no| no != old && node(no) == node(old)).unwrap();
    let new = map.replace(GroupId(5), 2, spare).unwrap();
    assert_eq!((new.epoch, new.members[2]), (2, spare));
    assert_eq!(new.since, [1, 1, 2, 1, 1, 1]);
    assert!(new.has_since(2, 2) && !new.has_since(2, 1) && new.has_since(3, 1));
    assert!(!new.has_since(6, 9), "it has no such member");
    let mut change = map.change();
    change.groups.push(new.clone());
    let later = map.apply(&change).unwrap();
    assert_eq!(later.group(GroupId(5)), Some(&new));
    // Repair has filled it: the same row of members, one of which has more than before.
    let mut change = later.change();
    change.groups.push(new.filled());
    let filled = later.apply(&change).unwrap();
    assert_eq!(
        filled.group(GroupId(5)).map(|group| (group.epoch, group.has_since(2, 1))),
        Some((2, true))
    );
    let mut back = filled.change();
    back.groups.push(new.clone());
    assert_eq!(filled.apply(&back), Err(ChangeError::Since(GroupId(5))), "it has less at once");

    let member = group.members[0];
    assert_eq!(
        map.replace(GroupId(5), 2, member),
        Err(ReplaceError::Members(MembersError::Repeated(member)))
    );
    assert_eq!(
        map.replace(GroupId(5), 2, DiskNo(24)),
        Err(ReplaceError::Members(MembersError::Unknown(DiskNo(24))))
    );
    assert_eq!(map.replace(GroupId(400), 0, spare), Err(ReplaceError::NoGroup(GroupId(400))));
    assert_eq!(map.replace(GroupId(5), 6, spare), Err(ReplaceError::NoPosition(GroupId(5), 6)));
    // Two on a node is borne, a third is refused.
    let on_first = |not: &[DiskNo]| {
        let first = node(group.members[0]);
        (0..24).map(DiskNo).find(|no| node(*no) == first && !not.contains(no)).unwrap()
    };
    let second = on_first(&group.members);
    let mut change = map.change();
    change.groups.push(map.replace(GroupId(5), 1, second).unwrap());
    let crowded = map.apply(&change).unwrap();
    let third = on_first(&crowded.group(GroupId(5)).unwrap().members);
    let too_many = MembersError::Node { node: node(third), found: 3, max: 2 };
    assert_eq!(crowded.replace(GroupId(5), 4, third), Err(ReplaceError::Members(too_many)));
    for state in [DiskState::Draining, DiskState::Out] {
        let mut map = map.clone();
        map.disks[spare.0 as usize].state = state;
        assert_eq!(map.replace(GroupId(5), 2, spare), Err(ReplaceError::NotIn(spare)));
    }
}

#[test]
fn a_put_gets_a_group_without_a_sick_member_if_there_is_one() {
    // Twelve nodes, one of them down, and all but one of the groups without it are drained.
    let map = build("4+2", fleet(0, 12, 2, 0, None), 1).unwrap();
    let sick = |disk: DiskNo| disk.0 < 2;
    let mut draws = draws(2);
    for _ in 0..1_000 {
        let id = map.choose_group(&mut draws, &sick, &nothing, 1).unwrap();
        assert!(!map.group(id).unwrap().members.iter().any(|&disk| sick(disk)));
    }
    assert_eq!(map.choices(&sick, 2).sick_members(), 0);
    // A single good group among hundreds is found: all but its disks are sick.
    let good = GroupId(77);
    let members = map.group(good).unwrap().members.clone();
    let sick = |disk: DiskNo| !members.contains(&disk);
    for _ in 0..20 {
        assert_eq!(map.choose_group(&mut draws, &sick, &nothing, 0), Some(good));
    }
}

#[test]
fn with_a_node_down_in_six_each_group_misses_one() {
    let map = usual(1);
    let sick = |disk: DiskNo| disk.0 < 4;
    let mut draws = draws(2);
    assert_eq!(map.choose_group(&mut draws, &sick, &nothing, 0), None);
    assert!(map.choose_group(&mut draws, &sick, &nothing, 1).is_some());
    let choices = map.choices(&sick, 2);
    assert_eq!((choices.len(), choices.sick_members()), (400, 1));
    assert!(choices.choose(&map, &mut draws, &nothing).is_some());
    // Two nodes down: only where two may be missing.
    let sick = |disk: DiskNo| disk.0 < 8;
    assert_eq!(map.choose_group(&mut draws, &sick, &nothing, 1), None);
    assert!(map.choices(&sick, 1).is_empty());
    assert!(map.choices(&sick, 1).choose(&map, &mut draws, &nothing).is_none());
    assert!(map.choose_group(&mut draws, &sick, &nothing, 2).is_some());
}

#[test]
fn groups_of_a_disk_that_drains_take_no_puts() {
    let mut map = usual(1);
    map.disks[0].state = DiskState::Draining;
    map.disks[5].state = DiskState::Out;
    let mut draws = draws(2);
    for _ in 0..1_000 {
        let id = map.choose_group(&mut draws, &|_| false, &nothing, 2).unwrap();
        let members = &map.group(id).unwrap().members;
        assert!(!members.contains(&DiskNo(0)) && !members.contains(&DiskNo(5)));
    }
    for disk in &mut map.disks[..4] {
        disk.state = DiskState::Draining;
    }
    assert_eq!(map.choose_group(&mut draws, &|_| false, &nothing, 6), None);
    map.groups.clear();
    assert_eq!(map.choose_group(&mut draws, &|_| false, &nothing, 6), None);
}

#[test]
fn the_cooler_and_emptier_of_two_groups_is_taken() {
    let map = usual(1);
    let count = |load: &dyn Fn(DiskNo) -> Load| {
        let mut draws = draws(2);
        let chosen = (0..4_000).filter(|_| {
            let id = map.choose_group(&mut draws, &|_| false, load, 0).unwrap();
            map.group(id).unwrap().members.contains(&DiskNo(0))
        });
        chosen.count()
    };
    // A quarter of the groups have disk 0. Where it is hot, they lose against all others, so
    // they are chosen only in pairs: a sixteenth.
    let fair = count(&nothing);
    assert!((850..=1_150).contains(&fair), "{fair}");
    let hot = count(&|disk| Load { bytes: 0.2, heat: if disk.0 == 0 { 1.0 } else { 0.2 } });
    let full = count(&|disk| Load { bytes: if disk.0 == 0 { 1.0 } else { 0.2 }, heat: 0.2 });
    assert!((180..=320).contains(&hot), "{hot}");
    assert!((180..=320).contains(&full), "{full}");
}
