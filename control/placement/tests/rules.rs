//! Each rule of the map, broken.

mod support;

use isotherm_placement::{ClusterMap, DiskNo, DiskState, GroupId, MapError, MembersError, NodeNo};
use support::{build, fleet, usual};

/// Breaks the usual map and tells which rule that was.
fn broken(how: impl FnOnce(&mut ClusterMap)) -> MapError {
    let mut map = usual(1);
    assert_eq!(map.validate(), Ok(()));
    how(&mut map);
    let error = map.validate().unwrap_err();
    assert_eq!(map.to_bytes(), Err(error.clone()), "and it is not written");
    error
}

#[test]
fn rules_of_the_whole() {
    assert_eq!(broken(|map| map.cluster = [0; 16]), MapError::NoCluster);
    for bad in [0, (1 << 53) + 1] {
        assert_eq!(broken(|map| map.version = bad), MapError::Version);
    }
    let codec = broken(|map| map.scheme = "0+2".parse().unwrap());
    assert!(matches!(codec, MapError::Codec(_)), "{codec}");
    let wide = broken(|map| map.scheme = "60+5".parse().unwrap());
    assert_eq!(wide, MapError::TooWide { cells: 65 });
}

#[test]
fn rules_of_nodes() {
    assert_eq!(
        broken(|map| map.nodes.swap(2, 3)),
        MapError::NodeOutOfPlace { place: NodeNo(2), found: NodeNo(3) }
    );
    for name in ["", "a\nb", &"x".repeat(256)] {
        assert_eq!(broken(|m| m.nodes[1].name = name.into()), MapError::NodeName(NodeNo(1)));
        let rack = Some(name.to_owned());
        assert_eq!(broken(|m| m.nodes[1].rack = rack), MapError::NodeName(NodeNo(1)));
    }
    assert_eq!(
        broken(|map| map.nodes[4].name = "node-2".into()),
        MapError::NodeNameTwice(NodeNo(4))
    );
    assert_eq!(broken(|map| map.nodes[4].cores.clear()), MapError::NodeCores(NodeNo(4)));
    let many = vec!["10.9.9.9:1".parse().unwrap(); 65_537];
    assert_eq!(broken(|map| map.nodes[4].cores = many), MapError::NodeCores(NodeNo(4)));
    for bad in ["10.0.0.1:0", "0.0.0.0:7000", "[::]:7000"] {
        let bad = bad.parse().unwrap();
        assert_eq!(broken(|m| m.nodes[4].cores[1] = bad), MapError::Address(NodeNo(4), bad));
        assert_eq!(broken(|m| m.nodes[4].admin = Some(bad)), MapError::Address(NodeNo(4), bad));
    }
    let taken = usual(1).nodes[0].cores[0];
    assert_eq!(
        broken(|map| map.nodes[4].cores[1] = taken),
        MapError::AddressTwice(NodeNo(4), taken)
    );
}

#[test]
fn rules_of_disks() {
    assert_eq!(
        broken(|map| map.disks.swap(2, 3)),
        MapError::DiskOutOfPlace { place: DiskNo(2), found: DiskNo(3) }
    );
    assert_eq!(broken(|map| map.disks[7].uuid = [0; 16]), MapError::DiskUuid(DiskNo(7)));
    assert_eq!(
        broken(|map| map.disks[7].uuid = map.disks[3].uuid),
        MapError::DiskUuidTwice(DiskNo(7))
    );
    assert_eq!(broken(|map| map.disks[7].node = NodeNo(6)), MapError::DiskCore(DiskNo(7)));
    assert_eq!(broken(|map| map.disks[7].core = 2), MapError::DiskCore(DiskNo(7)));
    assert_eq!(broken(|map| map.disks[7].name = "\0".into()), MapError::DiskName(DiskNo(7)));
    assert_eq!(
        broken(|map| map.disks[7].name = map.disks[6].name.clone()),
        MapError::DiskNameTwice(DiskNo(7))
    );
    assert_eq!(broken(|map| map.disks[7].capacity_bytes = 0), MapError::DiskCapacity(DiskNo(7)));
    // A disk that is gone leaves its name to its successor.
    let mut map = usual(1);
    map.disks[6].state = DiskState::Out;
    map.disks[7].name = map.disks[6].name.clone();
    assert_eq!(map.validate(), Ok(()));
}

#[test]
fn rules_of_groups() {
    assert_eq!(
        broken(|map| map.groups.swap(2, 3)),
        MapError::GroupOutOfPlace { place: GroupId(2), found: GroupId(3) }
    );
    for bad in [0, (1 << 53) + 1] {
        assert_eq!(broken(|m| m.groups[9].epoch = bad), MapError::GroupEpoch(GroupId(9)));
    }
    for bad in [0, 2] {
        assert_eq!(broken(|m| m.groups[9].since[3] = bad), MapError::GroupSince(GroupId(9)));
    }
    assert_eq!(broken(|map| map.groups[9].since.truncate(5)), MapError::GroupSince(GroupId(9)));
    let members =
        |how: &dyn Fn(&mut Vec<DiskNo>)| match broken(|map| how(&mut map.groups[9].members)) {
            MapError::Group(GroupId(9), error) => error,
            other => panic!("{other}"),
        };
    assert_eq!(members(&|list| list.truncate(5)), MembersError::Count { found: 5, cells: 6 });
    assert_eq!(members(&|list| list[3] = DiskNo(24)), MembersError::Unknown(DiskNo(24)));
    let first = usual(1).groups[9].members[0];
    assert_eq!(members(&|list| list[3] = list[0]), MembersError::Repeated(first));
    // Two on a node is what 4+2 survives, three is not.
    let mut map = usual(1);
    map.groups[9].members = [0, 1, 4, 8, 12, 16].map(DiskNo).to_vec();
    assert_eq!(map.validate(), Ok(()));
    assert_eq!(
        members(&|list| *list = [0, 1, 2, 8, 12, 16].map(DiskNo).to_vec()),
        MembersError::Node { node: NodeNo(0), found: 3, max: 2 }
    );
    // Nodes 0 and 3 stand in one rack of three.
    let mut map = build("4+2", fleet(0, 6, 4, 0, Some(3)), 1).unwrap();
    map.groups[9].members = [0, 1, 12, 4, 8, 20].map(DiskNo).to_vec();
    let rack = MembersError::Rack { node: NodeNo(0), found: 3, max: 2 };
    assert_eq!(map.validate(), Err(MapError::Group(GroupId(9), rack)));
}

#[test]
fn a_group_may_name_a_disk_that_is_gone_until_it_is_replaced() {
    let mut map = usual(1);
    map.disks[3].state = DiskState::Out;
    map.disks[4].state = DiskState::Draining;
    assert_eq!(map.validate(), Ok(()));
}
