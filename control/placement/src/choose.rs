//! Which group a put goes to.
//!
//! The better of two random groups: the load of the whole fleet evens out although each choice
//! looks at two groups only, and although what is known of the load is a round old. *Better* is
//! the lower sum of the squares of the members' loads: the square minds a hot or full member more
//! than a mean would, and unlike the worst member alone it still sees the empty disks in a group
//! that also has full ones, so a fleet that has grown evens out.

use isotherm_seam::Draws;

use crate::map::{ClusterMap, DiskNo, Group, GroupId, Load};

/// Draws that look for a group before all groups are looked at.
const TRIES: usize = 16;

/// The groups that a put may go to, the best class of them only. It holds for one version of the
/// map and one opinion of which disks are sick: where much is sick, keep it between puts instead
/// of having it found anew by each.
#[derive(Clone, Debug)]
pub struct Choices {
    groups: Vec<GroupId>,
    sick: usize,
}

impl Choices {
    /// How many sick members each of these groups has.
    #[must_use]
    pub fn sick_members(&self) -> usize {
        self.sick
    }

    /// How many groups there are to choose from.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The better of two of them; `None` where there is none. `map` is the one they are of.
    pub fn choose(
        &self,
        map: &ClusterMap,
        draws: &mut Draws,
        load: &dyn Fn(DiskNo) -> Load,
    ) -> Option<GroupId> {
        if self.groups.is_empty() {
            return None;
        }
        let mut one = || self.groups[draws.below(self.groups.len() as u64) as usize];
        let (first, second) = (one(), one());
        Some(map.better(first, second, load))
    }
}

impl ClusterMap {
    /// A group for a put: the better of two random ones whose members all take puts. Groups
    /// without a sick member come first, then those with one, and so on up to `sick_max`; `None`
    /// where no group has as few. A put to a group with a sick member goes on without that cell
    /// and leaves a note for repair.
    ///
    /// `sick` tells of a disk that it can't take its cell now: unreachable, fenced, full, or so
    /// slow that a put should not wait for it.
    pub fn choose_group(
        &self,
        draws: &mut Draws,
        sick: &dyn Fn(DiskNo) -> bool,
        load: &dyn Fn(DiskNo) -> Load,
        sick_max: usize,
    ) -> Option<GroupId> {
        if self.groups.is_empty() {
            return None;
        }
        // Mostly nearly all groups are fine, and a few draws find two of them.
        let mut first = None;
        for _ in 0..TRIES {
            let group = &self.groups[draws.below(self.groups.len() as u64) as usize];
            if !self.is_open(group) || group.members.iter().any(|&disk| sick(disk)) {
                continue;
            }
            match first {
                None => first = Some(group.id),
                Some(first) => return Some(self.better(first, group.id, load)),
            }
        }
        self.choices(sick, sick_max).choose(self, draws, load)
    }

    /// All groups that [`choose_group`](ClusterMap::choose_group) may choose from: those with the
    /// fewest sick members, if these are no more than `sick_max`.
    #[must_use]
    pub fn choices(&self, sick: &dyn Fn(DiskNo) -> bool, sick_max: usize) -> Choices {
        let mut choices = Choices { groups: Vec::new(), sick: sick_max };
        for group in &self.groups {
            let mut members = group.members.iter();
            let ill = members.by_ref().filter(|&&disk| sick(disk)).take(choices.sick + 1).count();
            if ill > choices.sick || !self.is_open(group) {
                continue;
            }
            if ill < choices.sick {
                choices.groups.clear();
                choices.sick = ill;
            }
            choices.groups.push(group.id);
        }
        choices
    }

    fn better(&self, a: GroupId, b: GroupId, load: &dyn Fn(DiskNo) -> Load) -> GroupId {
        let cost = |id: GroupId| {
            let group: &Group = &self.groups[id.0 as usize];
            group.members.iter().map(|&disk| load(disk).worst().powi(2)).sum::<f64>()
        };
        if cost(b) < cost(a) { b } else { a }
    }
}
