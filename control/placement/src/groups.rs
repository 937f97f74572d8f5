//! Making groups: of a new cluster, and more of them for one that has grown.
//!
//! What must always hold: no node and no rack gets more members of a group than may be lost; old
//! groups stay as they are, so a map that grows moves nothing.
//!
//! How it chooses. The members of a group are chosen one by one, each the better of two random
//! disks: the one with the lower share, which is the groups that it is in over those that its
//! capacity calls for, plus how full or hot it is already. Random, so that each disk shares groups
//! with many others and all of them help when it is rebuilt; the better of two, as that brings
//! the fullest disk to within a few percent of the mean, where plain chance leaves it at half as
//! much again. About 100 groups a disk: fewer, and a rebuild has few helpers; many more, and some
//! group loses too much whenever enough disks fail at once, wherever they are.
//!
//! Members of a group are kept apart as far as the disks allow: on a node of their own each where
//! there are enough nodes, else as few on a node as can be, and the same for racks. Strictness
//! has a price where nodes differ: five nodes of ten disks and one of a single disk could keep
//! 4+2 apart only with that disk in every group. So more members on a node are taken, up to what
//! the code survives, before some disks get half more than their share.
//!
//! A cluster that grows by little gets more groups than its new disks would call for: each new
//! group can hold only so many new disks, and the rest of it are old ones. It stops where disks
//! would be in twice as many groups as wanted.

use isotherm_erasure::Scheme;
use isotherm_seam::Draws;

use crate::map::{ClusterMap, Disk, DiskNo, DiskState, Group, GroupId, Load, Node};
use crate::validate::{Domains, MapError};

/// How many groups there are to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupOptions {
    /// Groups that a disk of mean capacity is in.
    pub groups_per_disk: u32,
}

impl Default for GroupOptions {
    fn default() -> GroupOptions {
        GroupOptions { groups_per_disk: 100 }
    }
}

/// Why there are no groups for these disks.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuildError {
    /// Too few disks, nodes or racks to keep the members of a group apart.
    #[error(
        "{scheme} needs {cells} disks a group with at most {max} of them on a node or in a rack; \
         {disks} disks in use on {nodes} nodes in {racks} racks give {reach}: add nodes, or take \
         a codec with fewer cells or more parity"
    )]
    TooFewDomains {
        /// The codec.
        scheme: Scheme,
        /// Members of a group.
        cells: usize,
        /// Members on one node or in one rack at most: what the codec survives.
        max: usize,
        /// Disks in use.
        disks: usize,
        /// Nodes with such disks.
        nodes: usize,
        /// Racks with such nodes; a node without one is a rack of its own.
        racks: usize,
        /// How many members can be kept apart.
        reach: usize,
    },
    /// No groups a disk, or more groups than there are numbers.
    #[error("{0} groups a disk can't be made")]
    Groups(u32),
    /// The nodes or disks break a rule of the map.
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Groups a disk at most, over those wanted, before growth stops to make more than it must.
const CROWDED: f64 = 2.0;
/// How much more than its share a disk may get for the sake of strictness.
const STRETCH: f64 = 1.5;
/// Draws that look for a disk that fits before all disks are looked at.
const TRIES: usize = 8;

impl ClusterMap {
    /// The first map of a cluster. Nodes and disks are numbered by their places.
    ///
    /// # Errors
    /// If there are too few domains, or nodes or disks break a rule of the map.
    pub fn build(
        cluster: [u8; 16],
        scheme: Scheme,
        nodes: Vec<Node>,
        disks: Vec<Disk>,
        options: &GroupOptions,
        draws: &mut Draws,
    ) -> Result<ClusterMap, BuildError> {
        let (none, no_groups) = (Vec::new(), Vec::new());
        let empty = ClusterMap {
            cluster,
            version: 0,
            scheme,
            nodes: none,
            disks: Vec::new(),
            groups: no_groups,
        };
        empty.grow(nodes, disks, options, &|_| Load::default(), draws)
    }

    /// The next version of the map, with further nodes and disks, whose numbers follow those of
    /// the map, and with further groups that use the disks that are in none yet.
    ///
    /// `load` tells how full and hot the disks are: those that are get fewer of the new groups.
    ///
    /// # Errors
    /// If there are too few domains, or nodes or disks break a rule of the map.
    pub fn grow(
        &self,
        nodes: Vec<Node>,
        disks: Vec<Disk>,
        options: &GroupOptions,
        load: &dyn Fn(DiskNo) -> Load,
        draws: &mut Draws,
    ) -> Result<ClusterMap, BuildError> {
        let mut map = self.clone();
        map.version += 1;
        map.nodes.extend(nodes);
        map.disks.extend(disks);
        map.validate()?;
        Planner::new(&map, options, load)?.add_groups(&mut map.groups, draws)?;
        map.validate()?;
        Ok(map)
    }
}

/// A disk that groups may be made of.
struct Candidate {
    no: DiskNo,
    node: usize,
    rack: usize,
    capacity: f64,
    /// Groups that its capacity calls for.
    target: f64,
    /// Groups it is in.
    groups: f64,
    /// How full or hot it is.
    load: f64,
}

impl Candidate {
    fn share(&self) -> f64 {
        self.groups / self.target + self.load
    }
}

/// Members on one node and in one rack at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Limits {
    node: usize,
    rack: usize,
}

struct Planner {
    candidates: Vec<Candidate>,
    /// Node of each rack's members, in runs: see [`Planner::spread`].
    racks_of_nodes: Vec<usize>,
    racks: usize,
    cells: usize,
    limits: Limits,
    groups_per_disk: f64,
    groups_wanted: u32,
}

impl Planner {
    fn new(
        map: &ClusterMap,
        options: &GroupOptions,
        load: &dyn Fn(DiskNo) -> Load,
    ) -> Result<Planner, BuildError> {
        let domains = Domains::new(&map.nodes, &map.disks);
        let mut groups = vec![0u32; map.disks.len()];
        for member in map.groups.iter().flat_map(|group| &group.members) {
            groups[member.0 as usize] += 1;
        }
        let groups_per_disk = f64::from(options.groups_per_disk);
        if options.groups_per_disk == 0 {
            return Err(BuildError::Groups(0));
        }
        let of_use = || map.disks.iter().filter(|disk| disk.state == DiskState::In);
        let total: f64 = of_use().map(|disk| disk.capacity_bytes as f64).sum();
        let mean = total / of_use().count().max(1) as f64;
        let candidates: Vec<Candidate> = of_use()
            .map(|disk| Candidate {
                no: disk.no,
                node: domains.node(disk.no),
                rack: domains.rack(disk.no),
                capacity: disk.capacity_bytes as f64,
                target: groups_per_disk * disk.capacity_bytes as f64 / mean,
                groups: f64::from(groups[disk.no.0 as usize]),
                load: finite(load(disk.no).worst()),
            })
            .collect();
        let racks_of_nodes: Vec<usize> =
            (0..map.nodes.len()).map(|node| domains.rack_of_node(node)).collect();
        let mut planner = Planner {
            candidates,
            racks: racks_of_nodes.iter().max().map_or(0, |&rack| rack + 1),
            racks_of_nodes,
            cells: map.scheme.cells(),
            limits: Limits { node: 0, rack: 0 },
            groups_per_disk,
            groups_wanted: options.groups_per_disk,
        };
        planner.limits = planner.strictest(map.scheme)?;
        Ok(planner)
    }

    /// Members of one group that can be kept apart, if each candidate were a member `part` times
    /// on average and never more than once.
    fn spread(&self, limits: Limits, part: impl Fn(&Candidate) -> f64) -> f64 {
        let mut of_node = vec![0.0f64; self.racks_of_nodes.len()];
        for candidate in &self.candidates {
            of_node[candidate.node] += part(candidate).min(1.0);
        }
        let mut of_rack = vec![0.0f64; self.racks];
        for (node, members) in of_node.iter().enumerate() {
            of_rack[self.racks_of_nodes[node]] += members.min(limits.node as f64);
        }
        of_rack.iter().map(|members| members.min(limits.rack as f64)).sum()
    }

    /// How much more than its share a disk gets at most under these limits, `None` where no
    /// group fits at all.
    fn stretch(&self, limits: Limits) -> Option<f64> {
        let cells = self.cells as f64;
        // Nodes within racks are a nested constraint: if members can be kept apart at all, then
        // choosing them one by one never ends in a corner.
        if self.spread(limits, |_| 1.0) < cells {
            return None;
        }
        let total: f64 = self.candidates.iter().map(|c| c.capacity).sum();
        let members_at = |factor: f64| self.spread(limits, |c| factor * cells * c.capacity / total);
        let (mut low, mut high) = (1.0, 1.0);
        while members_at(high) < cells * (1.0 - 1e-9) {
            (low, high) = (high, high * 2.0);
            if high > 1e12 {
                return Some(high);
            }
        }
        for _ in 0..40 {
            let middle = (low + high) / 2.0;
            if members_at(middle) < cells * (1.0 - 1e-9) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some(high)
    }

    /// The strictest limits that don't overload some disks; else the ones that do so least.
    fn strictest(&self, scheme: Scheme) -> Result<Limits, BuildError> {
        let max = scheme.tolerated_losses();
        let loosest = Limits { node: max, rack: max };
        let Some(least) = self.stretch(loosest) else {
            let count = |of: &dyn Fn(&Candidate) -> usize| {
                let mut all: Vec<usize> = self.candidates.iter().map(of).collect();
                all.sort_unstable();
                all.dedup();
                all.len()
            };
            return Err(BuildError::TooFewDomains {
                scheme,
                cells: self.cells,
                max,
                disks: self.candidates.len(),
                nodes: count(&|c| c.node),
                racks: count(&|c| c.rack),
                reach: self.spread(loosest, |_| 1.0) as usize,
            });
        };
        let bearable = STRETCH.max(least * 1.01);
        let fits = |limits| self.stretch(limits).is_some_and(|stretch| stretch <= bearable);
        let node = (1..=max).find(|&node| fits(Limits { node, rack: max })).unwrap_or(max);
        let rack = (1..=max).find(|&rack| fits(Limits { node, rack })).unwrap_or(max);
        Ok(Limits { node, rack })
    }

    /// How many groups to add.
    fn missing_groups(&self, present: usize) -> Result<u32, BuildError> {
        let cells = self.cells as f64;
        let unused = |c: &Candidate| f64::from(u8::from(c.groups == 0.0));
        let wanted: f64 = self.candidates.iter().map(|c| unused(c) * c.target).sum();
        if wanted == 0.0 {
            return Ok(0);
        }
        // Each new group holds no more unused disks than can be kept apart.
        let room = self.spread(self.limits, unused).min(cells);
        let used: f64 = self.candidates.iter().map(|c| c.groups).sum();
        let all = CROWDED * self.groups_per_disk * self.candidates.len() as f64;
        let groups = (wanted / room).min((all - used) / cells).max(wanted / cells).ceil();
        // Numbers of groups are u32, and so many that the map would not fit in memory are a slip.
        if groups + present as f64 > f64::from(u32::MAX) {
            return Err(BuildError::Groups(self.groups_wanted));
        }
        Ok(groups as u32)
    }

    fn add_groups(mut self, list: &mut Vec<Group>, draws: &mut Draws) -> Result<(), BuildError> {
        let count = self.missing_groups(list.len())?;
        let by_capacity = Wheel::new(self.candidates.iter().map(|c| c.capacity));
        // In a cluster that grows, one of the two is a disk that lags behind the others.
        let used = self.candidates.iter().filter(|c| c.groups > 0.0);
        let (groups, target) = used.fold((0.0, 0.0), |(g, t), c| (g + c.groups, t + c.target));
        let level = if target > 0.0 { groups / target } else { 0.0 };
        let lag = |c: &Candidate| c.target * (level - c.groups / c.target).max(0.0);
        let by_lag = Wheel::new(self.candidates.iter().map(lag));
        let mut group = Members::new(self.racks_of_nodes.len(), self.racks);
        for _ in 0..count {
            group.clear();
            while group.chosen.len() < self.cells {
                let member = self.choose(&group, &by_lag, &by_capacity, draws);
                group.add(member, &self.candidates[member]);
                self.candidates[member].groups += 1.0;
            }
            let mut members: Vec<DiskNo> =
                group.chosen.iter().map(|&at| self.candidates[at].no).collect();
            // Disks that lag were chosen first: no disk is to have the data cells of all groups.
            for at in (1..members.len()).rev() {
                members.swap(at, draws.below(at as u64 + 1) as usize);
            }
            let since = vec![1; members.len()];
            list.push(Group { id: GroupId(list.len() as u32), epoch: 1, members, since });
        }
        Ok(())
    }

    /// The next member: the better of two that fit.
    fn choose(
        &self,
        group: &Members,
        by_lag: &Wheel,
        by_capacity: &Wheel,
        draws: &mut Draws,
    ) -> usize {
        let fits = |at: &usize| group.takes(*at, &self.candidates[*at], self.limits);
        let mut look = |wheel: &Wheel| (0..TRIES).map_while(|_| wheel.turn(draws)).find(fits);
        let lagging = look(by_lag).or_else(|| look(by_capacity));
        let (first, second) = match (lagging, look(by_capacity)) {
            (Some(first), Some(second)) => (first, second),
            _ => {
                let all: Vec<usize> = (0..self.candidates.len()).filter(fits).collect();
                let mut one = || all[draws.below(all.len() as u64) as usize];
                (one(), one())
            }
        };
        let share = |at: usize| self.candidates[at].share();
        if share(second) < share(first) { second } else { first }
    }
}

/// The group that is being made.
struct Members {
    chosen: Vec<usize>,
    on_node: Vec<usize>,
    in_rack: Vec<usize>,
    touched: Vec<(usize, usize)>,
}

impl Members {
    fn new(nodes: usize, racks: usize) -> Members {
        Members {
            chosen: Vec::new(),
            on_node: vec![0; nodes],
            in_rack: vec![0; racks],
            touched: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.chosen.clear();
        for (node, rack) in self.touched.drain(..) {
            self.on_node[node] = 0;
            self.in_rack[rack] = 0;
        }
    }

    fn takes(&self, at: usize, candidate: &Candidate, limits: Limits) -> bool {
        self.on_node[candidate.node] < limits.node
            && self.in_rack[candidate.rack] < limits.rack
            && !self.chosen.contains(&at)
    }

    fn add(&mut self, at: usize, candidate: &Candidate) {
        self.chosen.push(at);
        self.on_node[candidate.node] += 1;
        self.in_rack[candidate.rack] += 1;
        self.touched.push((candidate.node, candidate.rack));
    }
}

/// Draws an index with the likelihood of its weight.
struct Wheel {
    /// Sums of the weights up to and with each.
    sums: Vec<f64>,
}

impl Wheel {
    fn new(weights: impl Iterator<Item = f64>) -> Wheel {
        let mut sum = 0.0;
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Wheel { sums: sums.collect() }
    }

    /// `None` where no weight is above zero.
    fn turn(&self, draws: &mut Draws) -> Option<usize> {
        let total = self.sums.last().copied().filter(|&total| total > 0.0)?;
        let drawn = draws.next_f64() * total;
        Some(self.sums.partition_point(|&sum| sum <= drawn).min(self.sums.len() - 1))
    }
}

/// A load that was measured as nonsense counts as none.
fn finite(load: f64) -> f64 {
    if load.is_finite() { load.max(0.0) } else { 0.0 }
}
