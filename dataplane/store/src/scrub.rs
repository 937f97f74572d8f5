//! Scrub: what nobody asks for is read, so that a loss is found while it can be repaired.
//!
//! What must always hold: a scrub changes nothing but the note of when an extent was last read
//! as a whole. What it finds damaged it names by key, so that it can be repaired from other
//! disks; where a record can't tell its key any more, the index on the disk can.
//!
//! What is read next is what is most at risk: seconds since it was last read, times its
//! *exposure*, which is 1 for what has its full redundancy and more for groups that have lost
//! some of it. An extent holds shards of nearly every group, so those groups are read shard by
//! shard instead.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::api::GetError;
use crate::core::Core;
use crate::index::{DeltaKind, Entry};
use crate::layout::{Kind, State as ExtentState};
use crate::recovery::{Cursor, Piece, WalkError};
use crate::sched::Class;
use crate::store::Store;
use crate::{BLOCK_BYTES, ExtentId, Key, Place};

/// What may be read next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ScrubTarget {
    /// A whole extent.
    Extent(ExtentId),
    /// The shards of a group.
    Group(u32),
}

/// What is most at risk: the greatest product of seconds since it was read and its exposure.
pub fn most_at_risk(
    targets: impl Iterator<Item = (ScrubTarget, u32, f64)>,
    now_s: u32,
) -> Option<ScrubTarget> {
    targets
        .map(|(target, verified_s, exposure)| {
            (f64::from(now_s.saturating_sub(verified_s)) * exposure, target)
        })
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
        .map(|(_, target)| target)
}

/// What a step of the scrub found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScrubReport {
    /// What was read; `None` if there is nothing to read.
    pub target: Option<ScrubTarget>,
    /// Bytes that were read.
    pub bytes: u64,
    /// Live records that are whole.
    pub sound: u64,
    /// Shards that are damaged: put them again from other disks, or delete them.
    pub damaged: Vec<Key>,
}

impl Store {
    /// Says how exposed a group is: 1 with its full redundancy, more when it has lost some.
    pub fn set_exposure(&self, group: u32, exposure: f64) {
        let state = &mut *self.core.state.borrow_mut();
        if exposure > 1.0 {
            state.scrub.exposures.entry(group).or_insert((exposure, 0)).0 = exposure;
        } else {
            state.scrub.exposures.remove(&group);
        }
    }

    /// Reads what is most at risk, in the class of scrubs, which has its share of disk time.
    /// When the extent was last read is kept with the next checkpoint.
    pub async fn scrub_step(&self) -> Result<ScrubReport, GetError> {
        self.core.scrub_step().await
    }
}

/// What the scrub remembers while the store is open.
#[derive(Default)]
pub(crate) struct ScrubState {
    /// By group: its exposure, and when all its shards were last read.
    exposures: std::collections::BTreeMap<u32, (f64, u32)>,
}

impl Core {
    async fn scrub_step(self: &Rc<Core>) -> Result<ScrubReport, GetError> {
        let target = {
            let state = self.state.borrow();
            let extents = state.extents.ids().filter_map(|id| {
                let row = state.extents.row(id);
                let may = row.state == ExtentState::Sealed && state.extents.live_bytes_of(id) > 0;
                may.then_some((ScrubTarget::Extent(id), row.verified_s, 1.0))
            });
            let groups = state.scrub.exposures.iter().map(|(group, (exposure, verified_s))| {
                (ScrubTarget::Group(*group), *verified_s, *exposure)
            });
            most_at_risk(extents.chain(groups), self.world.wall_s())
        };
        match target {
            None => Ok(ScrubReport::default()),
            Some(ScrubTarget::Extent(extent)) => self.scrub_extent(extent).await,
            Some(ScrubTarget::Group(group)) => self.scrub_group(group).await,
        }
    }

    /// Reads an extent from end to end.
    pub(crate) async fn scrub_extent(
        self: &Rc<Core>,
        extent: ExtentId,
    ) -> Result<ScrubReport, GetError> {
        let _pin = self.pin(extent);
        let row = *self.state.borrow().extents.row(extent);
        let medium = self.medium.for_class(Class::Scrub);
        let walker = self.walker(&medium);
        let target = Some(ScrubTarget::Extent(extent));
        let mut report = ScrubReport { target, ..ScrubReport::default() };
        let mut cursor = Cursor::new(extent, row.incarnation, row.written);
        let mut sound = BTreeSet::new();
        let mut harmed = 0;
        loop {
            let found = match walker.next(&mut cursor).await {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(WalkError::Io(error)) => return Err(GetError::Io(error)),
                Err(WalkError::Buffer(why)) => return Err(GetError::Buffer(why)),
            };
            report.bytes += u64::from(found.blocks) * BLOCK_BYTES as u64;
            let place = |dead| Place { extent, block: found.at, blocks: found.blocks as u16, dead };
            let state = self.state.borrow();
            match &found.what {
                Piece::Bad | Piece::Junk => harmed += 1,
                Piece::Record { kind: Kind::Data, head, whole, .. } => {
                    if *whole && state.index.is_at(&head.key, place(false)) {
                        report.sound += 1;
                        sound.insert(head.key);
                    }
                    harmed += u32::from(!whole);
                }
                Piece::Record { whole, .. } => harmed += u32::from(!whole),
                Piece::Tombs(tombs) => {
                    for tomb in tombs {
                        if state.index.is_at(&tomb.key, place(true)) {
                            sound.insert(tomb.key);
                        }
                    }
                }
                Piece::Head(_) | Piece::Mark(_) => {}
            }
        }
        if harmed > 0 {
            // The index has the keys of what should be there.
            let expected = self.keys_in(extent).await?;
            let state = self.state.borrow();
            report.damaged = expected
                .into_iter()
                .filter(|entry| {
                    !sound.contains(&entry.key) && state.index.is_at(&entry.key, entry.delta.place)
                })
                .map(|entry| entry.key)
                .collect();
        }
        let state = &mut *self.state.borrow_mut();
        let same_life = state.extents.row(extent).incarnation == row.incarnation;
        if same_life {
            let now_s = self.world.wall_s();
            let row = state.extents.row_mut(extent);
            row.verified_s = now_s;
            row.suspect |= !report.damaged.is_empty();
        }
        self.count(|counters| {
            counters.scrubbed += 1;
            counters.damaged += report.damaged.len() as u64;
        });
        Ok(report)
    }

    /// Reads the shards of a group one by one.
    async fn scrub_group(self: &Rc<Core>, group: u32) -> Result<ScrubReport, GetError> {
        let target = Some(ScrubTarget::Group(group));
        let mut report = ScrubReport { target, ..ScrubReport::default() };
        let to = Key { group, ..Key::MAX };
        let mut from = Some(Key { group, ..Key::MIN });
        while let Some(start) = from {
            let page = self.list(start, to, 256).await?;
            for entry in page.entries.iter().filter(|entry| !entry.is_tombstone) {
                match self.get_as(Class::Scrub, &entry.key).await {
                    Ok(shard) => {
                        report.sound += 1;
                        report.bytes += shard.len() as u64;
                    }
                    // Deleted meanwhile.
                    Err(GetError::NotFound | GetError::Deleted) => {}
                    Err(GetError::Io(_) | GetError::Damaged { .. }) => {
                        report.damaged.push(entry.key);
                    }
                    Err(error) => return Err(error),
                }
            }
            from = page.next;
        }
        let now_s = self.world.wall_s();
        if let Some(own) = self.state.borrow_mut().scrub.exposures.get_mut(&group) {
            own.1 = now_s;
        }
        Ok(report)
    }

    /// What the index says lies in an extent.
    async fn keys_in(self: &Rc<Core>, extent: ExtentId) -> Result<Vec<Entry>, GetError> {
        let mut found = Vec::new();
        self.each_entry(Key::MIN, Key::MAX, |entry| {
            if entry.delta.kind != DeltaKind::Gone && entry.delta.place.extent == extent {
                found.push(entry);
            }
            true
        })
        .await?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_times_exposure_decides() {
        let extent = |id, verified_s| (ScrubTarget::Extent(ExtentId(id)), verified_s, 1.0);
        let group = |id, verified_s, exposure| (ScrubTarget::Group(id), verified_s, exposure);
        let pick = |targets: &[_]| most_at_risk(targets.iter().copied(), 1000);
        assert_eq!(pick(&[]), None);
        assert_eq!(pick(&[extent(1, 500), extent(2, 100)]), Some(ScrubTarget::Extent(ExtentId(2))));
        // Read a short while ago, but with little left to lose.
        assert_eq!(pick(&[extent(1, 100), group(7, 800, 5.0)]), Some(ScrubTarget::Group(7)));
        assert_eq!(
            pick(&[extent(1, 100), group(7, 900, 5.0)]),
            Some(ScrubTarget::Extent(ExtentId(1)))
        );
    }
}
