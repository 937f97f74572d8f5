//! The rules that every map keeps, each with its error.
//!
//! What must always hold: a map that breaks one of them is never written and never taken as read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use isotherm_erasure::{Descriptor, GeometryError};

use crate::map::{ClusterMap, Disk, DiskNo, GroupId, MEMBERS_MAX, Node, NodeNo};

/// Greatest version and epoch: what every reader of JSON keeps exactly, and never reached.
const COUNT_MAX: u64 = 1 << 53;
/// Longest name of a node, rack or disk, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The rule of the map that is broken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MapError {
    /// The cluster's id is all zero.
    #[error("the cluster has no id")]
    NoCluster,
    /// Versions count from 1.
    #[error("the map has no version, or one above 2^53")]
    Version,
    /// There can be no stripe of this codec.
    #[error("the codec is none: {0}")]
    Codec(#[from] GeometryError),
    /// The codec has more cells than a group has members.
    #[error("{cells} cells are more than the {MEMBERS_MAX} members that a group can have")]
    TooWide {
        /// Cells of the codec.
        cells: usize,
    },
    /// A node's number is not its place in the list.
    #[error("{found} stands in the place of {place}")]
    NodeOutOfPlace {
        /// The place.
        place: NodeNo,
        /// The number found there.
        found: NodeNo,
    },
    /// A node's name or rack is empty, too long, or has control characters.
    #[error("{0} has a name or rack that is empty, over 255 bytes or not printable")]
    NodeName(NodeNo),
    /// Two nodes have one name.
    #[error("{0} has the name of another node")]
    NodeNameTwice(NodeNo),
    /// A node has no core, or more than a disk can name.
    #[error("{0} has no address of a core, or more than 65,536")]
    NodeCores(NodeNo),
    /// An address can't be sent to: it has no port, or is that of any host.
    #[error("{0} has the address {1}, which nobody can send to")]
    Address(NodeNo, SocketAddr),
    /// Two cores have one address.
    #[error("{0} has the address {1} of another core")]
    AddressTwice(NodeNo, SocketAddr),
    /// A disk's number is not its place in the list.
    #[error("{found} stands in the place of {place}")]
    DiskOutOfPlace {
        /// The place.
        place: DiskNo,
        /// The number found there.
        found: DiskNo,
    },
    /// A disk's store has an id of zeros only.
    #[error("{0} has no id of its store")]
    DiskUuid(DiskNo),
    /// Two disks have one store.
    #[error("{0} has the store of another disk")]
    DiskUuidTwice(DiskNo),
    /// A disk's node is not in the map, or has no such core.
    #[error("{0} is on a node or core that is not in the map")]
    DiskCore(DiskNo),
    /// A disk's name is empty, too long, or has control characters.
    #[error("{0} has a name that is empty, over 255 bytes or not printable")]
    DiskName(DiskNo),
    /// Two disks of one node have one name.
    #[error("{0} has the name of another disk of its node")]
    DiskNameTwice(DiskNo),
    /// A disk holds nothing.
    #[error("{0} has no capacity")]
    DiskCapacity(DiskNo),
    /// A group's number is not its place in the list.
    #[error("{found} stands in the place of {place}")]
    GroupOutOfPlace {
        /// The place.
        place: GroupId,
        /// The number found there.
        found: GroupId,
    },
    /// Epochs count from 1.
    #[error("{0} has no epoch, or one above 2^53")]
    GroupEpoch(GroupId),
    /// Not each member of a group has an epoch since when it is one, from 1 to the group's.
    #[error("{0} does not say for each member since which of its epochs it is one")]
    GroupSince(GroupId),
    /// A group's members are wrong.
    #[error("{0}: {1}")]
    Group(GroupId, MembersError),
}

/// What is wrong with the members of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembersError {
    /// There are not as many members as the codec has cells.
    #[error("{found} members where the codec has {cells} cells")]
    Count {
        /// Members.
        found: usize,
        /// Cells.
        cells: usize,
    },
    /// The map has no such disk.
    #[error("{0} is not in the map")]
    Unknown(DiskNo),
    /// A disk is a member twice.
    #[error("{0} is a member twice")]
    Repeated(DiskNo),
    /// A node holds more cells than may be lost.
    #[error("{node} holds {found} members, and only {max} may be lost at once")]
    Node {
        /// The node.
        node: NodeNo,
        /// Members on it.
        found: usize,
        /// What the codec survives.
        max: usize,
    },
    /// A rack holds more cells than may be lost.
    #[error("the rack of {node} holds {found} members, and only {max} may be lost at once")]
    Rack {
        /// A node of the rack.
        node: NodeNo,
        /// Members in the rack.
        found: usize,
        /// What the codec survives.
        max: usize,
    },
}

/// Which disks fail together.
pub(crate) struct Domains {
    node_of_disk: Vec<u32>,
    rack_of_node: Vec<u32>,
}

impl Domains {
    /// Of nodes in the order of their numbers, and of disks on them.
    pub(crate) fn new(nodes: &[Node], disks: &[Disk]) -> Domains {
        let mut racks: BTreeMap<&str, u32> = BTreeMap::new();
        let mut count = 0;
        let mut fresh = || {
            count += 1;
            count - 1
        };
        let rack_of_node = nodes
            .iter()
            .map(|node| match &node.rack {
                Some(rack) => *racks.entry(rack).or_insert_with(&mut fresh),
                None => fresh(),
            })
            .collect();
        Domains { node_of_disk: disks.iter().map(|disk| disk.node.0).collect(), rack_of_node }
    }

    /// The node of a disk that is in the map.
    pub(crate) fn node(&self, disk: DiskNo) -> usize {
        self.node_of_disk[disk.0 as usize] as usize
    }

    /// The rack of a disk that is in the map.
    pub(crate) fn rack(&self, disk: DiskNo) -> usize {
        self.rack_of_node[self.node(disk)] as usize
    }

    /// The rack of a node that is in the map.
    pub(crate) fn rack_of_node(&self, node: usize) -> usize {
        self.rack_of_node[node] as usize
    }

    /// Whether `members` can be a group of `cells` members of which any `max` may be lost.
    pub(crate) fn check(
        &self,
        members: &[DiskNo],
        cells: usize,
        max: usize,
    ) -> Result<(), MembersError> {
        if members.len() != cells {
            return Err(MembersError::Count { found: members.len(), cells });
        }
        if let Some(&no) = members.iter().find(|no| no.0 as usize >= self.node_of_disk.len()) {
            return Err(MembersError::Unknown(no));
        }
        // A group is narrow: looking at each pair is cheaper than any table.
        for (at, &disk) in members.iter().enumerate() {
            if members[..at].contains(&disk) {
                return Err(MembersError::Repeated(disk));
            }
            let (node, rack) = (self.node(disk), self.rack(disk));
            let found = members.iter().filter(|&&other| self.node(other) == node).count();
            if found > max {
                return Err(MembersError::Node { node: NodeNo(node as u32), found, max });
            }
            let found = members.iter().filter(|&&other| self.rack(other) == rack).count();
            if found > max {
                return Err(MembersError::Rack { node: NodeNo(node as u32), found, max });
            }
        }
        Ok(())
    }
}

impl ClusterMap {
    /// Checks every rule that a map keeps.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), MapError> {
        if self.cluster == [0; 16] {
            return Err(MapError::NoCluster);
        }
        if !(1..=COUNT_MAX).contains(&self.version) {
            return Err(MapError::Version);
        }
        // The length of a cell is decided by the object; any that all codecs take will do.
        Descriptor::new(self.scheme, 4096)?;
        if self.scheme.cells() > MEMBERS_MAX {
            return Err(MapError::TooWide { cells: self.scheme.cells() });
        }
        self.validate_nodes()?;
        self.validate_disks()?;
        let domains = Domains::new(&self.nodes, &self.disks);
        let (cells, max) = (self.scheme.cells(), self.scheme.tolerated_losses());
        for (place, group) in (0..).map(GroupId).zip(&self.groups) {
            if group.id != place {
                return Err(MapError::GroupOutOfPlace { place, found: group.id });
            }
            if !(1..=COUNT_MAX).contains(&group.epoch) {
                return Err(MapError::GroupEpoch(place));
            }
            domains
                .check(&group.members, cells, max)
                .map_err(|error| MapError::Group(place, error))?;
            let are_epochs = group.since.iter().all(|since| (1..=group.epoch).contains(since));
            if group.since.len() != cells || !are_epochs {
                return Err(MapError::GroupSince(place));
            }
        }
        Ok(())
    }

    fn validate_nodes(&self) -> Result<(), MapError> {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (place, node) in (0..).map(NodeNo).zip(&self.nodes) {
            if node.no != place {
                return Err(MapError::NodeOutOfPlace { place, found: node.no });
            }
            if !is_name(&node.name) || !node.rack.as_deref().is_none_or(is_name) {
                return Err(MapError::NodeName(place));
            }
            if !names.insert(&node.name) {
                return Err(MapError::NodeNameTwice(place));
            }
            if !(1..=1 << 16).contains(&node.cores.len()) {
                return Err(MapError::NodeCores(place));
            }
            for &address in node.cores.iter().chain(&node.admin) {
                if address.port() == 0 || address.ip().is_unspecified() {
                    return Err(MapError::Address(place, address));
                }
            }
            // The HTTP interface is on TCP, so it may have the address of a core.
            for &address in &node.cores {
                if !addresses.insert(address) {
                    return Err(MapError::AddressTwice(place, address));
                }
            }
        }
        Ok(())
    }

    fn validate_disks(&self) -> Result<(), MapError> {
        let (mut uuids, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (place, disk) in (0..).map(DiskNo).zip(&self.disks) {
            if disk.no != place {
                return Err(MapError::DiskOutOfPlace { place, found: disk.no });
            }
            if disk.uuid == [0; 16] {
                return Err(MapError::DiskUuid(place));
            }
            if !uuids.insert(disk.uuid) {
                return Err(MapError::DiskUuidTwice(place));
            }
            let node = self.node(disk.node);
            if node.is_none_or(|node| usize::from(disk.core) >= node.cores.len()) {
                return Err(MapError::DiskCore(place));
            }
            if !is_name(&disk.name) {
                return Err(MapError::DiskName(place));
            }
            // A disk that is gone leaves its name, as a path, to the one in its slot.
            if disk.state != crate::DiskState::Out && !names.insert((disk.node, &disk.name)) {
                return Err(MapError::DiskNameTwice(place));
            }
            if disk.capacity_bytes == 0 {
                return Err(MapError::DiskCapacity(place));
            }
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control)
}
