//! What changed since the last spill, with full keys.
//!
//! What must always hold: the newest change of a key is the one that is found; a change stays
//! readable until the run that holds it is durable. So there are two maps: the *active* one takes
//! changes, the *frozen* one is being written as a run.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::{Key, Place};

/// What became of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DeltaKind {
    /// A shard is there.
    Live,
    /// A tombstone is there.
    Dead,
    /// Nothing is there any more, not even a tombstone: hides what older runs say.
    Gone,
}

/// The last change of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delta {
    /// What became of it.
    pub kind: DeltaKind,
    /// The store's own; the index only keeps them.
    pub flags: u8,
    /// When it was put or deleted, in seconds since 1970.
    pub wall_s: u32,
    /// Where its record lies; of what is gone, where it last lay.
    pub place: Place,
    /// The number of the change among all of this disk. A relocation keeps it.
    pub sequence: u64,
}

impl Delta {
    /// Where the key is, unless it is gone.
    pub fn held(&self) -> Option<Place> {
        (self.kind != DeltaKind::Gone).then_some(self.place)
    }

    /// Asserts that kind and place agree on whether this is a tombstone.
    pub(super) fn assert_sound(&self) {
        let agree = match self.kind {
            DeltaKind::Live => !self.place.dead,
            DeltaKind::Dead => self.place.dead,
            DeltaKind::Gone => true,
        };
        assert!(agree, "the kind and the place of {self:?} contradict each other");
    }
}

/// A key with its last change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its last change.
    pub delta: Delta,
}

/// The changes since the last spill.
#[derive(Debug, Default)]
pub struct Memtable {
    active: BTreeMap<Key, Delta>,
    frozen: BTreeMap<Key, Delta>,
}

impl Memtable {
    /// Memory of an entry, about: key and change in a tree whose nodes are three quarters full.
    pub const ENTRY_BYTES: usize = (size_of::<Key>() + size_of::<Delta>()) * 4 / 3;

    /// The last change of a key.
    pub fn get(&self, key: &Key) -> Option<&Delta> {
        self.active.get(key).or_else(|| self.frozen.get(key))
    }

    /// Notes a change.
    pub fn insert(&mut self, key: Key, delta: Delta) {
        delta.assert_sound();
        if let Some(old) = self.get(&key) {
            assert!(old.sequence <= delta.sequence, "{key}: {old:?} is newer than {delta:?}");
        }
        self.active.insert(key, delta);
    }

    /// The first entry at or after `from`.
    pub fn first_from(&self, from: Key) -> Option<Entry> {
        let range = (Bound::Included(from), Bound::Unbounded);
        let active = self.active.range(range).next();
        let frozen = self.frozen.range(range).next();
        let (&key, &delta) = match (active, frozen) {
            // On one key the active entry is the newer.
            (Some(active), Some(frozen)) => {
                if frozen.0 < active.0 {
                    frozen
                } else {
                    active
                }
            }
            (active, frozen) => active.or(frozen)?,
        };
        Some(Entry { key, delta })
    }

    /// Makes all that is active frozen. What was frozen must have been spilled.
    pub fn freeze(&mut self) {
        assert!(self.frozen.is_empty(), "the last spill is not done");
        std::mem::swap(&mut self.active, &mut self.frozen);
    }

    /// What is frozen, in the order of keys.
    pub fn frozen(&self) -> impl ExactSizeIterator<Item = Entry> + '_ {
        self.frozen.iter().map(|(&key, &delta)| Entry { key, delta })
    }

    /// What is active, in the order of keys.
    pub fn active(&self) -> impl ExactSizeIterator<Item = Entry> + '_ {
        self.active.iter().map(|(&key, &delta)| Entry { key, delta })
    }

    /// The run with all that was frozen is durable: forget it here.
    pub fn spilled(&mut self) {
        self.frozen.clear();
    }

    /// The spill failed: what was frozen is active again, under what changed meanwhile.
    pub fn thaw(&mut self) {
        let newer = std::mem::replace(&mut self.active, std::mem::take(&mut self.frozen));
        self.active.extend(newer);
    }

    /// Entries that are active.
    pub fn active_len(&self) -> usize {
        self.active.len()
    }

    /// Entries that are frozen.
    pub fn frozen_len(&self) -> usize {
        self.frozen.len()
    }

    /// Bytes of memory in use, about.
    pub fn bytes(&self) -> u64 {
        ((self.active.len() + self.frozen.len()) * Memtable::ENTRY_BYTES) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ExtentId;

    fn key(object: u128) -> Key {
        Key { object, ..Key::MIN }
    }

    fn delta(kind: DeltaKind, sequence: u64) -> Delta {
        let dead = kind == DeltaKind::Dead;
        let place = Place { extent: ExtentId(1), block: sequence as u32, blocks: 1, dead };
        Delta { kind, flags: 0, wall_s: 0, place, sequence }
    }

    #[test]
    fn the_newest_change_is_found_while_the_older_is_written() {
        let mut table = Memtable::default();
        table.insert(key(1), delta(DeltaKind::Live, 1));
        table.insert(key(2), delta(DeltaKind::Live, 2));
        table.freeze();
        table.insert(key(2), delta(DeltaKind::Dead, 3));
        table.insert(key(3), delta(DeltaKind::Gone, 4));
        assert_eq!(table.get(&key(1)).map(|d| d.sequence), Some(1));
        assert_eq!(table.get(&key(2)).map(|d| d.sequence), Some(3));
        assert_eq!(table.get(&key(3)).and_then(Delta::held), None);
        assert_eq!(table.frozen().map(|e| e.delta.sequence).collect::<Vec<_>>(), [1, 2]);

        let mut seen = Vec::new();
        let mut from = Some(Key::MIN);
        while let Some(entry) = from.and_then(|from| table.first_from(from)) {
            seen.push(entry.delta.sequence);
            from = entry.key.successor();
        }
        assert_eq!(seen, [1, 3, 4]);

        table.thaw();
        assert_eq!((table.active_len(), table.frozen_len()), (3, 0));
        assert_eq!(table.get(&key(2)).map(|d| d.sequence), Some(3));
        table.freeze();
        table.spilled();
        assert_eq!(table.get(&key(1)), None);
    }

    #[test]
    #[should_panic(expected = "is newer than")]
    fn a_change_does_not_go_back_in_time() {
        let mut table = Memtable::default();
        table.insert(key(1), delta(DeltaKind::Live, 2));
        table.freeze();
        table.insert(key(1), delta(DeltaKind::Live, 1));
    }

    #[test]
    #[should_panic(expected = "contradict")]
    fn a_tombstone_says_so_twice() {
        let live = delta(DeltaKind::Live, 2);
        Memtable::default().insert(key(1), Delta { kind: DeltaKind::Dead, ..live });
    }
}
