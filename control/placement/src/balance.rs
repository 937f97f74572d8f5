//! How even a map is: for tests, for the operator who is about to grow a cluster.

use crate::map::{ClusterMap, DiskState};

/// Least, mean and greatest of a measure.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Range {
    /// The least.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The greatest.
    pub max: f64,
}

/// The evenness of a map over its disks that are `In`.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Balance {
    /// Groups that a disk is in, over its fair part of all by capacity: 1 is fair.
    pub share: Range,
    /// Disks that share a group with a disk: how many help when it is rebuilt.
    pub partners: Range,
    /// Groups that two disks have in common, over pairs that have any: 1 at best. Losing both
    /// costs these groups two cells.
    pub common: Range,
}

impl ClusterMap {
    /// How even the map is.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let mut groups_of: Vec<Vec<u32>> = vec![Vec::new(); self.disks.len()];
        for group in &self.groups {
            for disk in &group.members {
                groups_of[disk.0 as usize].push(group.id.0);
            }
        }
        let of_use = || self.disks.iter().filter(|disk| disk.state == DiskState::In);
        let capacity: f64 = of_use().map(|disk| disk.capacity_bytes as f64).sum();
        let total: usize = of_use().map(|disk| groups_of[disk.no.0 as usize].len()).sum();
        let (mut shares, mut partners, mut common) = (Vec::new(), Vec::new(), Vec::new());
        let mut with = vec![0u32; self.disks.len()];
        for disk in of_use() {
            let mine = &groups_of[disk.no.0 as usize];
            let fair = total as f64 * disk.capacity_bytes as f64 / capacity;
            shares.push(mine.len() as f64 / fair.max(f64::MIN_POSITIVE));
            with.fill(0);
            for &group in mine {
                for member in &self.groups[group as usize].members {
                    with[member.0 as usize] += 1;
                }
            }
            with[disk.no.0 as usize] = 0;
            let met = with.iter().filter(|&&count| count > 0);
            partners.push(met.clone().count() as f64);
            common.extend(met.map(|&count| f64::from(count)));
        }
        Balance { share: range(&shares), partners: range(&partners), common: range(&common) }
    }
}

fn range(values: &[f64]) -> Range {
    if values.is_empty() {
        return Range::default();
    }
    Range {
        min: values.iter().copied().fold(f64::INFINITY, f64::min),
        mean: values.iter().sum::<f64>() / values.len() as f64,
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}
