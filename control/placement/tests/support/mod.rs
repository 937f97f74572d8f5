//! Clusters to test with.

#![allow(dead_code, reason = "each test file uses some of it")]

use isotherm_placement::{ClusterMap, Disk, DiskNo, DiskState, GroupOptions, Node, NodeNo};
use isotherm_seam::{Domain, Draws};

pub(crate) const TB: u64 = 1_000_000_000_000;

pub(crate) fn draws(seed: u64) -> Draws {
    Draws::new(seed, Domain::new("test.placement"), 0)
}

pub(crate) fn node(no: u32, rack: Option<u32>) -> Node {
    let at = |port: u16| {
        let [_, _, high, low] = no.to_be_bytes();
        format!("10.0.{high}.{low}:{port}").parse().unwrap()
    };
    Node {
        no: NodeNo(no),
        name: format!("node-{no}"),
        rack: rack.map(|rack| format!("rack-{rack}")),
        cores: vec![at(7000), at(7001)],
        admin: no.is_multiple_of(2).then(|| at(7080)),
    }
}

pub(crate) fn disk(no: u32, node: u32, tb: u64) -> Disk {
    let mut uuid = [0xd1; 16];
    uuid[..4].copy_from_slice(&no.to_le_bytes());
    Disk {
        no: DiskNo(no),
        uuid,
        node: NodeNo(node),
        core: (no % 2) as u16,
        name: format!("/dev/disk/{no}"),
        capacity_bytes: tb * TB,
        state: DiskState::In,
    }
}

/// Nodes `first..first + count` in racks dealt in turn, if there are any, and `each` disks on
/// each, from number `first_disk` on.
pub(crate) fn fleet(
    first: u32,
    count: u32,
    each: u32,
    first_disk: u32,
    racks: Option<u32>,
) -> (Vec<Node>, Vec<Disk>) {
    let nodes = (first..first + count).map(|no| node(no, racks.map(|racks| no % racks))).collect();
    let disks = (0..count * each).map(|i| disk(first_disk + i, first + i / each, 20)).collect();
    (nodes, disks)
}

pub(crate) const OPTIONS: GroupOptions = GroupOptions { groups_per_disk: 100 };

pub(crate) fn build(
    scheme: &str,
    (nodes, disks): (Vec<Node>, Vec<Disk>),
    seed: u64,
) -> Result<ClusterMap, isotherm_placement::BuildError> {
    let scheme = scheme.parse().unwrap();
    ClusterMap::build([0xc1; 16], scheme, nodes, disks, &OPTIONS, &mut draws(seed))
}

/// The usual one: six nodes of four disks, 4+2.
pub(crate) fn usual(seed: u64) -> ClusterMap {
    build("4+2", fleet(0, 6, 4, 0, None), seed).unwrap()
}

/// Members of a group by the node they are on, greatest count.
pub(crate) fn crowd(map: &ClusterMap, members: &[DiskNo], rack: bool) -> usize {
    let place = |no: &DiskNo| {
        let node = map.node(map.disk(*no).unwrap().node).unwrap();
        if rack {
            node.rack.clone().unwrap_or_else(|| node.name.clone())
        } else {
            node.name.clone()
        }
    };
    let places: Vec<String> = members.iter().map(place).collect();
    places.iter().map(|a| places.iter().filter(|b| *b == a).count()).max().unwrap_or(0)
}
