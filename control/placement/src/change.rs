//! Changes of the map, one version to a later one.
//!
//! What must always hold: `apply(old, diff(old, new)) == new`; a number never comes to name
//! something else; members of a group change only with a higher epoch, and without one a member is
//! never said to have less than before. Both ends check, as the one that applies a change did not
//! make it.

use serde::{Deserialize, Serialize};

use crate::map::{ClusterMap, Disk, DiskNo, DiskState, Group, GroupId, Node, NodeNo};
use crate::validate::{Domains, MapError, MembersError};

/// What is new or different in a later version of a map: whole entries, in the order of their
/// numbers. The cluster and its codec never change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapDiff {
    /// The cluster.
    #[serde(with = "crate::text::hex16")]
    pub cluster: [u8; 16],
    /// The version that it changes.
    pub from: u64,
    /// The version that comes out.
    pub to: u64,
    /// Nodes added or changed.
    pub nodes: Vec<Node>,
    /// Disks added or changed.
    pub disks: Vec<Disk>,
    /// Groups added or changed.
    pub groups: Vec<Group>,
}

/// Why one map can't follow another.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChangeError {
    /// They are of two clusters.
    #[error("the change is of another cluster")]
    OtherCluster,
    /// The codec of a cluster never changes.
    #[error("the codec would change")]
    OtherCodec,
    /// The change is not of this version of the map.
    #[error("the change is of version {change}, and the map is version {map}")]
    OtherVersion {
        /// What the change starts from.
        change: u64,
        /// What there is.
        map: u64,
    },
    /// The new version is not above the old one.
    #[error("version {to} does not follow version {from}")]
    NotLater {
        /// The old version.
        from: u64,
        /// The new one.
        to: u64,
    },
    /// Nothing ever leaves the map.
    #[error("nodes, disks or groups would leave the map")]
    Shrinks,
    /// An entry is neither of the map nor the next after it, or they are not in order.
    #[error("entries are out of order or leave a gap")]
    OutOfOrder,
    /// A node's name is what it is.
    #[error("{0} would get another name")]
    NodeRenamed(NodeNo),
    /// A disk's number stands for its store.
    #[error("{0} would become another store")]
    DiskReused(DiskNo),
    /// The members of a group changed and its epoch did not rise, or it sank.
    #[error("{0} changes without a higher epoch")]
    Epoch(GroupId),
    /// A member of a group would be one since later than before.
    #[error("a member of {0} would have less than before, without a higher epoch")]
    Since(GroupId),
    /// The map that comes out breaks a rule.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Why a disk can't take a place in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The map has no such group.
    #[error("{0} is not in the map")]
    NoGroup(GroupId),
    /// The group has no such position.
    #[error("{0} has no position {1}")]
    NoPosition(GroupId, usize),
    /// The disk takes nothing new.
    #[error("{0} is not in use for new data")]
    NotIn(DiskNo),
    /// The members would break a rule.
    #[error(transparent)]
    Members(#[from] MembersError),
}

impl ClusterMap {
    /// An empty change to the next version, to be filled and applied.
    #[must_use]
    pub fn change(&self) -> MapDiff {
        MapDiff {
            cluster: self.cluster,
            from: self.version,
            to: self.version + 1,
            nodes: Vec::new(),
            disks: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// What makes `new` out of this map.
    ///
    /// # Errors
    /// If `new` can't follow this map.
    pub fn diff(&self, new: &ClusterMap) -> Result<MapDiff, ChangeError> {
        if new.cluster != self.cluster {
            return Err(ChangeError::OtherCluster);
        }
        if new.scheme != self.scheme {
            return Err(ChangeError::OtherCodec);
        }
        if new.nodes.len() < self.nodes.len()
            || new.disks.len() < self.disks.len()
            || new.groups.len() < self.groups.len()
        {
            return Err(ChangeError::Shrinks);
        }
        let diff = MapDiff {
            cluster: self.cluster,
            from: self.version,
            to: new.version,
            nodes: different(&self.nodes, &new.nodes),
            disks: different(&self.disks, &new.disks),
            groups: different(&self.groups, &new.groups),
        };
        self.check_change(&diff)?;
        Ok(diff)
    }

    /// The map after a change.
    ///
    /// # Errors
    /// If the change is not one of this map, or what comes out breaks a rule.
    pub fn apply(&self, diff: &MapDiff) -> Result<ClusterMap, ChangeError> {
        self.check_change(diff)?;
        let mut new = self.clone();
        new.version = diff.to;
        merge(&mut new.nodes, &diff.nodes, |node| node.no.0)?;
        merge(&mut new.disks, &diff.disks, |disk| disk.no.0)?;
        merge(&mut new.groups, &diff.groups, |group| group.id.0)?;
        new.validate()?;
        Ok(new)
    }

    /// The group with another disk at one position and the next epoch, since which the disk is a
    /// member. The map stays as it is: put the group into a [`change`](ClusterMap::change). When
    /// repair has filled the disk, put [`Group::filled`] into another.
    ///
    /// # Errors
    /// If the disk takes nothing new, is a member already, or its node or rack would hold more
    /// members than may be lost.
    pub fn replace(
        &self,
        group: GroupId,
        position: usize,
        disk: DiskNo,
    ) -> Result<Group, ReplaceError> {
        let mut group = self.group(group).ok_or(ReplaceError::NoGroup(group))?.clone();
        let Some(member) = group.members.get_mut(position) else {
            return Err(ReplaceError::NoPosition(group.id, position));
        };
        *member = disk;
        let (cells, max) = (self.scheme.cells(), self.scheme.tolerated_losses());
        // A replaced disk leaves its old place before it can break a rule there.
        Domains::new(&self.nodes, &self.disks).check(&group.members, cells, max)?;
        if self.disk(disk).is_none_or(|disk| disk.state != DiskState::In) {
            return Err(ReplaceError::NotIn(disk));
        }
        group.epoch += 1;
        group.since[position] = group.epoch;
        Ok(group)
    }

    /// The rules between a map and its change that the new map alone does not show.
    fn check_change(&self, diff: &MapDiff) -> Result<(), ChangeError> {
        if diff.cluster != self.cluster {
            return Err(ChangeError::OtherCluster);
        }
        if diff.from != self.version {
            return Err(ChangeError::OtherVersion { change: diff.from, map: self.version });
        }
        if diff.to <= diff.from {
            return Err(ChangeError::NotLater { from: diff.from, to: diff.to });
        }
        for node in &diff.nodes {
            if self.node(node.no).is_some_and(|old| old.name != node.name) {
                return Err(ChangeError::NodeRenamed(node.no));
            }
        }
        for disk in &diff.disks {
            if self.disk(disk.no).is_some_and(|old| old.uuid != disk.uuid) {
                return Err(ChangeError::DiskReused(disk.no));
            }
        }
        for group in &diff.groups {
            if self.group(group.id).is_some_and(|old| {
                group.epoch < old.epoch || group.epoch == old.epoch && group.members != old.members
            }) {
                return Err(ChangeError::Epoch(group.id));
            }
            if self.group(group.id).is_some_and(|old| {
                let mut both = group.since.iter().zip(&old.since);
                group.epoch == old.epoch && both.any(|(since, old)| since > old)
            }) {
                return Err(ChangeError::Since(group.id));
            }
        }
        Ok(())
    }
}

/// Entries of `new` that `old` has otherwise or not at all.
fn different<T: PartialEq + Clone>(old: &[T], new: &[T]) -> Vec<T> {
    let changed = old.iter().zip(new).filter(|(old, new)| old != new).map(|(_, new)| new);
    changed.chain(&new[old.len()..]).cloned().collect()
}

/// Puts entries into their places; those beyond the end follow it without a gap.
fn merge<T: Clone>(
    list: &mut Vec<T>,
    changes: &[T],
    number: impl Fn(&T) -> u32,
) -> Result<(), ChangeError> {
    let mut from = 0;
    for change in changes {
        let at = number(change) as usize;
        if at < from || at > list.len() {
            return Err(ChangeError::OutOfOrder);
        }
        from = at + 1;
        if at == list.len() {
            list.push(change.clone());
        } else {
            list[at] = change.clone();
        }
    }
    Ok(())
}
