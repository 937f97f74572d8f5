//! The bytes of a map file: pinned, and each kind of damage refused.

mod support;

use std::path::{Path, PathBuf};

use isotherm_placement::{
    ClusterMap, DiskNo, DiskState, FileError, Group, GroupId, Load, MapDiff, MapError,
    replica_positions,
};
use support::{OPTIONS, build, draws, fleet, usual};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A map with all that a map can have. Written by hand where it can be, so that a better way to
/// choose groups does not change it.
fn sample() -> ClusterMap {
    let (nodes, mut disks) = fleet(0, 4, 2, 0, Some(4));
    disks[3].state = DiskState::Draining;
    disks[6].state = DiskState::Out;
    let mut nodes = nodes;
    nodes[2].rack = None;
    nodes[3].cores[1] = "[fd00::3]:7001".parse().unwrap();
    nodes[3].name = "the \"third\" \\ n\u{f6}de".into();
    let mut map = build("2+1", fleet(0, 4, 2, 0, None), 1).unwrap();
    map.version = 1 << 53;
    (map.nodes, map.disks) = (nodes, disks);
    map.groups.truncate(3);
    for (group, members) in map.groups.iter_mut().zip([[0, 2, 4], [7, 1, 3], [5, 6, 0]]) {
        group.members = members.map(DiskNo).to_vec();
    }
    map.groups[1].epoch = 12;
    map.groups[1].since = vec![1, 12, 7];
    map
}

fn change() -> MapDiff {
    let mut map = sample();
    map.version = 41;
    let mut change = map.change();
    change.disks.push(support::disk(8, 2, 26));
    change.groups.push(map.replace(GroupId(2), 1, DiskNo(7)).unwrap());
    change
}

/// What version 1 did not say: members are such since the epoch that their group has.
fn as_version_1(groups: &mut [Group]) {
    for group in groups {
        group.since.fill(group.epoch);
    }
}

#[test]
fn what_version_1_has_written_is_read() {
    let mut map = sample();
    as_version_1(&mut map.groups);
    assert_eq!(ClusterMap::from_bytes(&std::fs::read(golden("map-1")).unwrap()).unwrap(), map);
    let mut diff = change();
    as_version_1(&mut diff.groups);
    assert_eq!(MapDiff::from_bytes(&std::fs::read(golden("change-1")).unwrap()).unwrap(), diff);
    // A field of version 2 in a file of version 1.
    let text = String::from_utf8(sample().to_bytes().unwrap()).unwrap();
    let bytes = text.replacen("isotherm-map 2", "isotherm-map 1", 1).into_bytes();
    assert!(matches!(ClusterMap::from_bytes(&bytes), Err(FileError::Json(_))));
}

#[test]
fn the_bytes_never_change() {
    let kept = std::fs::read(golden("map-2")).unwrap();
    let map = sample();
    assert_eq!(String::from_utf8(map.to_bytes().unwrap()), String::from_utf8(kept.clone()));
    assert_eq!(ClusterMap::from_bytes(&kept).unwrap(), map);
    let kept = std::fs::read(golden("change-2")).unwrap();
    assert_eq!(String::from_utf8(change().to_bytes()), String::from_utf8(kept.clone()));
    assert_eq!(MapDiff::from_bytes(&kept).unwrap(), change());
}

/// Only for a new format version, under a new name: the old files must still be read.
#[test]
#[ignore = "writes into the source folder"]
fn keep_golden_files() {
    std::fs::create_dir_all(golden("")).unwrap();
    for (name, bytes) in
        [("map-2", sample().to_bytes().unwrap()), ("change-2", change().to_bytes())]
    {
        assert!(!golden(name).exists(), "{name} is pinned");
        std::fs::write(golden(name), bytes).unwrap();
    }
}

/// Worked out by another program from the description in `replicas.rs`.
const PINNED_4_2: [&[u8]; 7] =
    [&[3, 4, 0], &[2, 5, 0], &[2, 1, 5], &[4, 3, 0], &[0, 5, 2], &[2, 3, 5], &[5, 4, 2]];
const PINNED_10_4: [&[u8]; 7] = [
    &[9, 10, 6, 1, 11],
    &[5, 13, 2, 11, 6],
    &[5, 2, 12, 9, 13],
    &[10, 8, 9, 11, 3],
    &[0, 12, 3, 6, 13],
    &[5, 7, 13, 4, 9],
    &[11, 10, 3, 2, 12],
];
const PINNED_3X: [&[u8]; 7] =
    [&[1, 2, 0], &[1, 2, 0], &[1, 0, 2], &[2, 0, 1], &[0, 2, 1], &[1, 0, 2], &[2, 0, 1]];

#[test]
fn replicas_never_move() {
    let ids = [0, 1, 2, 3, 1 << 64, u128::MAX, 0x0123_4567_89ab_cdef_0f1e_2d3c_4b5a_6978];
    let pinned: [(&str, [&[u8]; 7]); 3] =
        [("4+2", PINNED_4_2), ("10+4", PINNED_10_4), ("3x", PINNED_3X)];
    for (scheme, rows) in pinned {
        for (id, row) in ids.into_iter().zip(rows) {
            let positions = replica_positions(id, scheme.parse().unwrap());
            assert_eq!(&positions[..], row, "{scheme}: object {id:032x}");
        }
    }
}

#[test]
fn what_is_written_is_read() {
    for (seed, scheme) in [(1, "4+2"), (2, "10+4"), (3, "3x"), (4, "lrc4+2+2"), (5, "leopard4+2")] {
        let map = build(scheme, fleet(0, 20, 2, 0, Some(10)), seed).unwrap();
        let bytes = map.to_bytes().unwrap();
        assert_eq!(ClusterMap::from_bytes(&bytes).unwrap(), map, "seed {seed}");
        let (nodes, disks) = fleet(20, 2, 2, 40, None);
        let load = |_| Load::default();
        let new = map.grow(nodes, disks, &OPTIONS, &load, &mut draws(seed)).unwrap();
        let diff = map.diff(&new).unwrap();
        assert_eq!(MapDiff::from_bytes(&diff.to_bytes()).unwrap(), diff, "seed {seed}");
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_seen() {
    let bytes = sample().to_bytes().unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(ClusterMap::from_bytes(&bad).is_err(), "byte {at}, bit {bit}");
        }
        assert!(ClusterMap::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
    }
    let longer = [&bytes[..], b"\n"].concat();
    assert!(matches!(ClusterMap::from_bytes(&longer), Err(FileError::Damaged { .. })));
    let mut bad = bytes.clone();
    *bad.last_mut().unwrap() = b' ';
    assert!(matches!(ClusterMap::from_bytes(&bad), Err(FileError::Damaged { .. })));
}

/// The file with another body, and the checksum that fits it.
fn resealed(body: &str) -> Vec<u8> {
    let checksum = isotherm_erasure::crc32c(body.as_bytes());
    format!("isotherm-map 2 {checksum:08x}\n{body}").into_bytes()
}

#[test]
fn sound_bytes_that_make_no_map_are_refused() {
    let text = String::from_utf8(sample().to_bytes().unwrap()).unwrap();
    let (first, body) = text.split_once('\n').unwrap();
    let read = |bytes: &[u8]| ClusterMap::from_bytes(bytes).unwrap_err();

    let newer = format!("{}\nanything", first.replace(" 2 ", " 3 "));
    assert!(matches!(read(newer.as_bytes()), FileError::Format(3)));
    for foreign in [
        &text.replace("isotherm-map 2", "isotherm-map-change 2"),
        &text.replace("isotherm-map 2", "isotherm-map 02"),
        &text.replace("isotherm-map 2", "isotherm-map +2"),
        &text.replace("isotherm-map 2", "isotherm-map  2"),
        &text.replace(first, &first.to_uppercase()),
        body,
        "",
        "\n",
        &"x".repeat(100),
    ] {
        assert!(matches!(read(foreign.as_bytes()), FileError::Foreign(_)), "{foreign:.40}");
    }
    assert!(matches!(MapDiff::from_bytes(text.as_bytes()), Err(FileError::Foreign(_))));

    assert_eq!(ClusterMap::from_bytes(&resealed(body)).unwrap(), sample());
    for (from, to) in [
        ("\"version\":", "\"future\":1,\"version\":"),
        ("{\"no\":0,\"name\"", "{\"no\":0,\"future\":1,\"name\""),
        ("{\"no\":0,\"uuid\"", "{\"no\":0,\"future\":1,\"uuid\""),
        ("{\"id\":0,", "{\"id\":0,\"future\":1,"),
        ("\"version\":", "\"version\":1,\"version\":"),
        ("\"in\"", "\"lost\""),
        ("\"2+1\"", "\"2+1+\""),
        ("c1c1c1", "C1c1c1"),
        ("c1c1c1", "c1c1"),
        ("c1c1c1", "c1c1c1\u{e9}"),
        ("\"version\":9007199254740992", "\"version\":18446744073709551616"),
        ("\"version\":9007199254740992", "\"version\":-1"),
        ("\"core\":1", "\"core\":65536"),
        ("\"epoch\":12", "\"epoch\":1.5"),
        ("[1,12,7]", "[1,12,null]"),
        (",\"since\":[1,12,7]", ""),
        ("10.0.0.0:7000", "node-0:7000"),
        ("}\n]}\n", "}\n]}\nmore"),
        ("}\n]}\n", "}\n]\n"),
    ] {
        let edited = body.replacen(from, to, 1);
        assert_ne!(edited, body, "{from}");
        let error = read(&resealed(&edited));
        assert!(matches!(error, FileError::Json(_)), "{from} -> {to}: {error}");
    }
    let error = read(&resealed(&body.replacen("\"epoch\":12", "\"epoch\":0", 1)));
    assert!(matches!(error, FileError::Map(MapError::GroupEpoch(GroupId(1)))), "{error}");
}

#[test]
fn a_person_can_compare_two_versions_line_by_line() {
    let old = usual(1);
    let mut change = old.change();
    let group = &old.groups[7];
    let node = |disk: DiskNo| old.disk(disk).unwrap().node;
    let spare = |no: &DiskNo| *no != group.members[0] && node(*no) == node(group.members[0]);
    let spare = (0..24).map(DiskNo).find(spare).unwrap();
    change.groups.push(old.replace(GroupId(7), 0, spare).unwrap());
    let new = old.apply(&change).unwrap();
    let lines = |map: &ClusterMap| -> Vec<String> {
        let text = String::from_utf8(map.to_bytes().unwrap()).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    let (old, new) = (lines(&old), lines(&new));
    assert_eq!(old.len(), new.len());
    // The checksum, the version and the group.
    assert_eq!(old.iter().zip(&new).filter(|(old, new)| old != new).count(), 3);
}
