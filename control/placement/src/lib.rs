//! Placement: which disks hold what, for ever written down in the cluster map.
//!
//! A *group* is k+m disks in separate failure domains; every stripe, replica and manifest lies in
//! a group, and whoever knows the group and the object knows the disks. The map says which nodes,
//! disks and groups there are ([`ClusterMap`]); it is made ([`ClusterMap::build`]), grown
//! ([`ClusterMap::grow`]), changed in steps ([`MapDiff`]), and kept as a file
//! ([`ClusterMap::to_bytes`]). A put takes a group by [`ClusterMap::choose_group`].
//!
//! What must always hold:
//! - Pure: no clock, no I/O, and chance only from `Draws`, so the same seed builds the same map.
//! - No node and no rack holds more members of a group than the code survives, whatever is built,
//!   grown, replaced or read from a file. [`ClusterMap::validate`] says so before a map is written
//!   and after it was read.
//! - Nodes, disks and groups are numbered by their place in the map and never leave it, so a
//!   number never comes to name another. A group whose members change has a higher epoch.
//! - Where the replicas of an object lie within its group ([`replica_positions`]) never changes.
//!
//! What it can't see: failure domains that nobody wrote down, such as a common power feed.

mod balance;
mod change;
mod choose;
mod file;
mod groups;
mod map;
mod replicas;
mod text;
mod validate;

pub use balance::{Balance, Range};
pub use change::{ChangeError, MapDiff, ReplaceError};
pub use choose::Choices;
pub use file::FileError;
pub use groups::{BuildError, GroupOptions};
pub use map::{
    ClusterMap, Disk, DiskNo, DiskState, Group, GroupId, Load, MEMBERS_MAX, Node, NodeNo,
};
pub use replicas::{Positions, replica_positions};
pub use validate::{MapError, MembersError};
