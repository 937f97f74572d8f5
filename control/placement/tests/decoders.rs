//! The readers of maps and changes, on any bytes: no panic, and what is taken is sound.
//!
//! Random bytes would end at the checksum, so it is made to fit: what remains is what a careless
//! or hostile writer could leave. Real maps are kept as a corpus in `__fuzz__`. With a fuzzer:
//! `cargo bolero test -p isotherm-placement any_map`.
//!
//! `ISOTHERM_INPUTS=1000000 cargo test --release -p isotherm-placement --test decoders` for more.

mod support;

use std::path::Path;

use isotherm_placement::{ClusterMap, DiskNo, MapDiff};
use support::{build, fleet};

fn inputs() -> usize {
    std::env::var("ISOTHERM_INPUTS").map_or(20_000, |text| text.parse().expect("a number"))
}

fn framed(kind: &str, version: u32, body: &[u8]) -> Vec<u8> {
    let crc = isotherm_erasure::crc32c(body);
    let mut bytes = format!("{kind} {version} {crc:08x}\n").into_bytes();
    bytes.extend(body);
    bytes
}

fn take_map(bytes: &[u8]) -> bool {
    let Ok(map) = ClusterMap::from_bytes(bytes) else { return false };
    assert_eq!(map.validate(), Ok(()));
    assert_eq!(ClusterMap::from_bytes(&map.to_bytes().unwrap()).unwrap(), map);
    true
}

fn take_change(bytes: &[u8], map: &ClusterMap) -> bool {
    let Ok(change) = MapDiff::from_bytes(bytes) else { return false };
    assert_eq!(MapDiff::from_bytes(&change.to_bytes()).unwrap(), change);
    if let Ok(new) = map.apply(&change) {
        assert_eq!(new.validate(), Ok(()));
        assert!(new.version > map.version);
    }
    true
}

/// The input as a body; and as a list of edits to a sound body, as few random bytes are JSON.
fn bodies(input: &[u8], sound: &[u8]) -> [Vec<u8>; 2] {
    let mut edited = sound.to_vec();
    for edit in input.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % edited.len();
        match edit[2] % 4 {
            0 => edited[at] = edit[3],
            1 => edited[at] = b'0' + edit[3] % 10,
            2 => drop(edited.remove(at)),
            _ => edited.insert(at, edit[3]),
        }
        if edited.is_empty() {
            break;
        }
    }
    [input.to_vec(), edited]
}

fn small() -> ClusterMap {
    let mut map = build("2+1", fleet(0, 3, 2, 0, Some(3)), 1).unwrap();
    map.groups.truncate(4);
    map
}

fn body(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    &bytes[end + 1..]
}

#[test]
fn any_map() {
    let sound = small().to_bytes().unwrap();
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        take_map(input);
        for body in bodies(input, body(&sound)) {
            take_map(&framed("isotherm-map", 1, &body));
            take_map(&framed("isotherm-map", 2, &body));
        }
    });
}

fn sample_change(map: &ClusterMap) -> MapDiff {
    let mut change = map.change();
    let group = &map.groups[1];
    let spare = (0..6).map(DiskNo).find(|no| {
        !group.members.contains(no)
            && map.disk(*no).unwrap().node == map.disk(group.members[0]).unwrap().node
    });
    change.groups.push(map.replace(group.id, 0, spare.unwrap()).unwrap());
    change.disks.push(support::disk(6, 2, 20));
    change.nodes.push(support::node(3, None));
    change
}

#[test]
fn any_change() {
    let map = small();
    let sound = sample_change(&map).to_bytes();
    bolero::check!().with_iterations(inputs()).for_each(|input: &[u8]| {
        take_change(input, &map);
        for body in bodies(input, body(&sound)) {
            take_change(&framed("isotherm-map-change", 1, &body), &map);
            take_change(&framed("isotherm-map-change", 2, &body), &map);
        }
    });
}

/// The samples are taken, so the tests above look behind the checksum.
#[test]
fn sound_samples_are_taken() {
    let map = small();
    assert!(take_map(&map.to_bytes().unwrap()));
    let change = sample_change(&map);
    assert!(take_change(&change.to_bytes(), &map));
    map.apply(&change).unwrap();
    // An edit of one digit gives sound JSON now and then, which the rules then judge.
    let sound = map.to_bytes().unwrap();
    let taken = (0..body(&sound).len() as u16).filter(|at| {
        let [low, high] = at.to_le_bytes();
        let [_, edited] = bodies(&[low, high, 1, 3], body(&sound));
        take_map(&framed("isotherm-map", 2, &edited))
    });
    assert!(taken.count() > 20);
}

/// Writes the corpus anew: whole files, and their bodies alone. Those of version 1 stay.
#[test]
#[ignore = "writes into the source folder"]
fn keep_a_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/__fuzz__");
    let keep = |target: &str, name: &str, bytes: &[u8]| {
        let folder = folder.join(target).join("corpus");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
        std::fs::write(folder.join(format!("{name}-body")), body(bytes)).unwrap();
    };
    let map = small();
    keep("any_map", "small-2", &map.to_bytes().unwrap());
    keep("any_change", "each-kind-2", &sample_change(&map).to_bytes());
}
