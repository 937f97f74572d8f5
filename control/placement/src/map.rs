//! The cluster map: nodes, disks and groups.
//!
//! Numbers are places in the lists: node 3 is `nodes[3]`. Nothing is ever taken out, so a number
//! never comes to name something else; a disk that is gone stays as `Out`.

use core::fmt;
use std::net::SocketAddr;

use isotherm_erasure::Scheme;
use serde::{Deserialize, Serialize};

/// Members that a group can have: k + m is no greater.
pub const MEMBERS_MAX: usize = 64;

/// The number of a node: its place in the map.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct NodeNo(pub u32);

/// The number of a disk: its place in the map.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct DiskNo(pub u32);

/// The number of a group: its place in the map.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct GroupId(pub u32);

impl fmt::Display for NodeNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

impl fmt::Display for DiskNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {}", self.0)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.0)
    }
}

/// A machine that serves disks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its number.
    pub no: NodeNo,
    /// Its name, as its certificate says it. It never changes.
    pub name: String,
    /// The rack that it stands in: a failure domain around the node. A node without one is a rack
    /// of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// The UDP address of each core that serves disks.
    pub cores: Vec<SocketAddr>,
    /// Where its HTTP interface is, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
}

/// What a disk is to be used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskState {
    /// It serves reads and takes puts.
    In,
    /// It serves reads; what it holds is being moved, and its groups take no puts.
    Draining,
    /// It serves nothing; what it held is rebuilt elsewhere. Groups may name it until then.
    Out,
}

/// A disk with its store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its number.
    pub no: DiskNo,
    /// The identity of its store. It never changes: a disk formatted anew is a new disk.
    #[serde(with = "crate::text::hex16")]
    pub uuid: [u8; 16],
    /// The node that serves it.
    pub node: NodeNo,
    /// Which of the node's cores owns it.
    pub core: u16,
    /// What the node calls it, such as a path.
    pub name: String,
    /// How much it can hold, in bytes.
    pub capacity_bytes: u64,
    /// What it is used for.
    pub state: DiskState,
}

/// k+m disks that hold the stripes assigned to them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its number.
    pub id: GroupId,
    /// Which row of members this is: one more at each change, 1 at first.
    pub epoch: u64,
    /// The disk at each position, 0 to k+m-1. Cell p of a stripe lies on member p.
    pub members: Vec<DiskNo>,
    /// For each of them the epoch from which on it has its part of whatever was put, but for what
    /// notes say: that with which it came, and 1 once repair has given it what is older.
    pub since: Vec<u64>,
}

impl Group {
    /// Whether the member at a position was given its part of what was put under an epoch, if
    /// there is no note that says otherwise.
    #[must_use]
    pub fn has_since(&self, position: u16, epoch: u64) -> bool {
        self.since.get(usize::from(position)).is_some_and(|&since| since <= epoch)
    }

    /// The group after a repair that was shown all that is kept, on disks that all answered, and
    /// has left nothing for later: every member has its part of everything.
    #[must_use]
    pub fn filled(&self) -> Group {
        Group { since: vec![1; self.members.len()], ..self.clone() }
    }
}

/// All that is needed to find data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterMap {
    /// The cluster that this is the map of.
    pub cluster: [u8; 16],
    /// Which version of the map: one more at each change, 1 at first.
    pub version: u64,
    /// The default codec; its k+m is the size of the groups.
    pub scheme: Scheme,
    /// Nodes, by number.
    pub nodes: Vec<Node>,
    /// Disks, by number.
    pub disks: Vec<Disk>,
    /// Groups, by number.
    pub groups: Vec<Group>,
}

/// How much of what a disk can do is taken: 0 nothing, 1 all of it.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Default)]
pub struct Load {
    /// Bytes kept over its capacity.
    pub bytes: f64,
    /// Arm time asked for over the time there is.
    pub heat: f64,
}

impl Load {
    /// The scarcer of the two decides.
    #[must_use]
    pub fn worst(self) -> f64 {
        self.bytes.max(self.heat)
    }
}

impl ClusterMap {
    /// A node, or `None` where the map has none of this number.
    #[must_use]
    pub fn node(&self, no: NodeNo) -> Option<&Node> {
        self.nodes.get(no.0 as usize)
    }

    /// A disk, or `None` where the map has none of this number.
    #[must_use]
    pub fn disk(&self, no: DiskNo) -> Option<&Disk> {
        self.disks.get(no.0 as usize)
    }

    /// A group, or `None` where the map has none of this number.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id.0 as usize)
    }

    /// Where the core that owns a disk is reached.
    #[must_use]
    pub fn address(&self, disk: DiskNo) -> Option<SocketAddr> {
        let disk = self.disk(disk)?;
        self.node(disk.node)?.cores.get(usize::from(disk.core)).copied()
    }

    /// The number of the next node.
    #[must_use]
    pub fn next_node(&self) -> NodeNo {
        NodeNo(self.nodes.len() as u32)
    }

    /// The number of the next disk.
    #[must_use]
    pub fn next_disk(&self) -> DiskNo {
        DiskNo(self.disks.len() as u32)
    }

    /// Whether every member of a group takes puts.
    pub(crate) fn is_open(&self, group: &Group) -> bool {
        group.members.iter().all(|&no| self.disk(no).is_some_and(|d| d.state == DiskState::In))
    }
}
