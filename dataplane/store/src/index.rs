//! Where each shard is.
//!
//! What must always hold: the table, with the side map, has the present place of every shard and
//! of every kept tombstone; the memtable only has, besides, the full keys of what changed since
//! the last spill. What may go wrong: two keys have one fingerprint. The first holds the table's
//! entry, others are in the side map with their full keys; a lookup of a key that is not here may
//! so find another's place, and the record there tells.
//!
//! | file            | what it holds                                                        |
//! |-----------------|----------------------------------------------------------------------|
//! | `table.rs`      | [`Table`]: twelve bytes from a fingerprint to a place                |
//! | `memtable.rs`   | [`Memtable`]: what changed since the last spill                      |
//! | `run.rs`        | runs of sorted entries, as bytes                                     |
//! | `merge.rs`      | [`Merge`]: several sorted rows as one                                |
//! | `compaction.rs` | [`plan`]: which runs to merge                                        |
//! | `loader.rs`     | [`Loader`]: the index after a restart                                |

mod compaction;
mod loader;
mod memtable;
mod merge;
mod run;
mod table;

use std::collections::BTreeMap;

pub use compaction::{FAN_IN, Plan, plan};
pub use loader::{Loaded, Loader};
pub use memtable::{Delta, DeltaKind, Entry, Memtable};
pub use merge::{Input, Merge, Merged, Rows, RunSource, Source, Step};
pub use run::{
    CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, ChunkId, ChunkInfo, ChunkReader, ChunkWriter, ChunkWritten,
    RunError, RunInfo,
};
pub use table::{Table, TableBuilder};

use crate::{Key, Place};

/// Memory of an entry of the side map, about.
const COLLIDED_BYTES: usize = (size_of::<Key>() + size_of::<Place>()) * 4 / 3;

/// What a lookup found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// This key, changed lately: what became of it is known without a read.
    Memory(Delta),
    /// A key with the same fingerprint lies here; most probably this one. The record tells.
    Table(Place),
    /// This key lies here; another one holds the table's entry.
    Collided(Place),
    /// This key is not here.
    Absent,
}

impl Found {
    /// Where to read; with [`Found::Table`] the key there must be compared.
    pub fn place(&self) -> Option<Place> {
        match self {
            Found::Memory(delta) => delta.held(),
            Found::Table(place) | Found::Collided(place) => Some(*place),
            Found::Absent => None,
        }
    }
}

/// The index of a disk.
#[derive(Debug)]
pub struct Index {
    seed: u64,
    /// Bits of a fingerprint that count: all of them but in tests.
    mask: u64,
    ceiling: u64,
    table: Table,
    collided: BTreeMap<Key, Place>,
    memtable: Memtable,
}

impl Index {
    /// An empty index. No other disk has the same seed.
    pub fn new(seed: u64, ceiling: u64) -> Index {
        Index {
            seed,
            mask: u64::MAX,
            ceiling,
            table: Table::new(0),
            collided: BTreeMap::new(),
            memtable: Memtable::default(),
        }
    }

    /// An index in which only the top bits of fingerprints differ, so that many are equal.
    #[cfg(test)]
    fn truncated(seed: u64, ceiling: u64, bits: u32) -> Index {
        let mask = !u64::MAX.checked_shr(bits).unwrap_or(0);
        Index { mask, ..Index::new(seed, ceiling) }
    }

    /// Shards and kept tombstones.
    pub fn len(&self) -> u64 {
        self.table.len() + self.collided.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys that share their fingerprint with another.
    pub fn collided_len(&self) -> usize {
        self.collided.len()
    }

    /// How many new keys may still be put. The ceiling is kept by whoever asks before a put;
    /// what is under way when it is reached, tombstones and relocations are never refused.
    pub fn room(&self) -> u64 {
        self.ceiling.saturating_sub(self.len())
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> u64 {
        self.table.bytes() + self.memtable.bytes() + (self.collided.len() * COLLIDED_BYTES) as u64
    }

    /// Where a key is.
    pub fn lookup(&self, key: &Key) -> Found {
        if let Some(delta) = self.memtable.get(key) {
            return Found::Memory(*delta);
        }
        if let Some(place) = self.collided.get(key) {
            return Found::Collided(*place);
        }
        self.table.get(self.fingerprint(key)).map_or(Found::Absent, Found::Table)
    }

    /// Where a key is, if it is anywhere: the same as [`Index::lookup`] says, without a look at
    /// what is known of it. Another key with the same fingerprint may lie there instead.
    #[inline]
    pub fn place_of(&self, key: &Key) -> Option<Place> {
        if !self.collided.is_empty()
            && let Some(place) = self.collided.get(key)
        {
            return Some(*place);
        }
        self.table.get(self.fingerprint(key))
    }

    /// Whether a key is at a place for sure: its whole name is known to be there.
    pub fn is_known_at(&self, key: &Key, place: Place) -> bool {
        match self.lookup(key) {
            Found::Memory(delta) => delta.held().is_some_and(|held| held.is_at(&place)),
            Found::Collided(held) => held.is_at(&place),
            Found::Table(_) | Found::Absent => false,
        }
    }

    /// A shard or a tombstone is there now. `replaced` is where this key was: known from a
    /// lookup whose answer, if it was [`Found::Table`], was compared with the record.
    pub fn apply_put(&mut self, key: Key, delta: Delta, replaced: Option<Place>) {
        assert!(delta.kind != DeltaKind::Gone, "what is gone is not put");
        if let Some(known) = self.memtable.get(&key) {
            let agree = match (known.held(), replaced) {
                (Some(held), Some(replaced)) => held.is_at(&replaced),
                (None, None) => true,
                _ => false,
            };
            assert!(agree, "{key}: {known:?} is known, {replaced:?} is said to be replaced");
        }
        match replaced {
            Some(from) => {
                let moved = self.move_place(&key, from, delta.place);
                assert!(moved, "{key} is not at {from:?}, which it is said to replace");
            }
            None => self.place_new(key, delta.place),
        }
        self.memtable.insert(key, delta);
    }

    /// The key is at `from` no longer, and nowhere else: its tombstone was dropped, or its record
    /// was lost. False, and nothing changes, if it is not at `from`.
    pub fn apply_remove(&mut self, key: Key, from: Place, sequence: u64, wall_s: u32) -> bool {
        if !self.is_at(&key, from) {
            return false;
        }
        if self.collided.remove(&key).is_none() {
            self.table.remove(self.fingerprint(&key));
        }
        let kind = DeltaKind::Gone;
        self.memtable.insert(key, Delta { kind, flags: 0, wall_s, place: from, sequence });
        true
    }

    /// The record of a key was copied from `from` to where `to` says, with its old sequence.
    /// False, and nothing changes, if the key is no longer at `from`.
    pub fn relocate(&mut self, key: Key, from: Place, to: Delta) -> bool {
        assert!(to.kind != DeltaKind::Gone, "what is gone is not moved");
        if !self.is_at(&key, from) {
            return false;
        }
        let moved = self.move_place(&key, from, to.place);
        assert!(moved, "it was there");
        self.memtable.insert(key, to);
        true
    }

    /// Whether a key is at a place. Right without reading the record if a record of this key is
    /// or was at the place.
    pub fn is_at(&self, key: &Key, place: Place) -> bool {
        if let Some(delta) = self.memtable.get(key) {
            return delta.held().is_some_and(|held| held.is_at(&place));
        }
        self.lookup(key).place().is_some_and(|held| held.is_at(&place))
    }

    /// What changed since the last spill.
    pub fn memtable(&self) -> &Memtable {
        &self.memtable
    }

    /// Begins a spill: see [`Memtable::freeze`].
    pub fn freeze(&mut self) {
        self.memtable.freeze();
    }

    /// Ends a spill that is durable: see [`Memtable::spilled`].
    pub fn spilled(&mut self) {
        self.memtable.spilled();
    }

    /// Ends a spill that failed: see [`Memtable::thaw`].
    pub fn thaw(&mut self) {
        self.memtable.thaw();
    }

    fn fingerprint(&self, key: &Key) -> u64 {
        key.fingerprint(self.seed) & self.mask
    }

    /// Enters a key that is not here.
    fn place_new(&mut self, key: Key, place: Place) {
        let fingerprint = self.fingerprint(&key);
        if self.table.insert_new(fingerprint, place).is_err() {
            let old = self.collided.insert(key, place);
            assert!(old.is_none(), "{key} is here already");
        }
    }

    fn move_place(&mut self, key: &Key, from: Place, to: Place) -> bool {
        match self.collided.get_mut(key) {
            Some(held) if held.is_at(&from) => {
                *held = to;
                true
            }
            Some(_) => false,
            None => self.table.replace_if(self.fingerprint(key), from, to),
        }
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{Domain, Draws};

    use super::*;
    use crate::ExtentId;

    /// An index beside a map of where each key is, with the records that "lie on the disk".
    struct Pair {
        index: Index,
        model: BTreeMap<Key, Delta>,
        /// Whose record lies where: what a read would tell.
        records: BTreeMap<u64, Key>,
        /// The runs that were spilled, oldest first.
        runs: Vec<BTreeMap<Key, Delta>>,
        next: u32,
    }

    impl Pair {
        fn new(index: Index) -> Pair {
            let (model, records) = (BTreeMap::new(), BTreeMap::new());
            Pair { index, model, records, runs: Vec::new(), next: 0 }
        }

        /// A change at a new place.
        fn delta(&mut self, key: Key, kind: DeltaKind) -> Delta {
            self.next += 1;
            let dead = kind == DeltaKind::Dead;
            let place = Place {
                extent: ExtentId(self.next >> 10),
                block: self.next & 1023,
                blocks: 1,
                dead,
            };
            self.records.insert(place.pack(), key);
            let (flags, wall_s) = (self.next as u8, self.next);
            Delta { kind, flags, wall_s, place, sequence: u64::from(self.next) }
        }

        /// What the store does: a lookup whose place is compared with the record's key.
        fn find(&self, key: &Key) -> Option<Place> {
            let found = self.index.lookup(key);
            // A key that is gone may still find another's place.
            let gone = matches!(found, Found::Memory(delta) if delta.held().is_none());
            assert!(gone || found.place() == self.index.place_of(key), "{key}");
            let place = found.place()?;
            let owner = self.records[&place.pack()];
            match found {
                Found::Table(_) => (owner == *key).then_some(place),
                _ => {
                    assert_eq!(owner, *key, "an exact answer is for another key");
                    Some(place)
                }
            }
        }

        fn check(&self) {
            assert_eq!(self.index.len(), self.model.len() as u64);
            for (key, delta) in &self.model {
                assert_eq!(self.find(key), Some(delta.place), "{key}");
                assert_eq!(self.index.place_of(key), Some(delta.place), "{key}");
                assert!(self.index.is_at(key, delta.place));
            }
        }

        fn step(&mut self, key: Key, draws: &mut Draws) {
            let old = self.model.get(&key).copied();
            assert_eq!(self.find(&key), old.map(|old| old.place), "{key}");
            match draws.below(6) {
                0..=2 => {
                    let kind = if draws.happens(0.7) { DeltaKind::Live } else { DeltaKind::Dead };
                    let delta = self.delta(key, kind);
                    self.index.apply_put(key, delta, old.map(|old| old.place));
                    self.model.insert(key, delta);
                }
                3 => {
                    let delta = self.delta(key, DeltaKind::Live);
                    let Some(old) = old else { return };
                    // A place where the key was once, or is not yet, changes nothing.
                    assert!(!self.index.apply_remove(key, delta.place, delta.sequence, 0));
                    assert!(self.index.apply_remove(key, old.place, delta.sequence, 0));
                    self.model.remove(&key);
                }
                4 => {
                    let moved = self.delta(key, old.map_or(DeltaKind::Live, |old| old.kind));
                    let Some(old) = old else { return };
                    let to = Delta { place: moved.place, ..old };
                    assert!(!self.index.relocate(key, moved.place, to));
                    assert!(self.index.relocate(key, old.place, to));
                    assert!(!self.index.relocate(key, old.place, to));
                    self.model.insert(key, to);
                }
                _ if draws.happens(0.05) => self.spill(draws),
                _ => {}
            }
        }

        fn spill(&mut self, draws: &mut Draws) {
            self.index.freeze();
            if draws.happens(0.2) {
                return self.index.thaw();
            }
            let run = self.index.memtable().frozen().map(|entry| (entry.key, entry.delta));
            self.runs.push(run.collect());
            self.index.spilled();
        }

        /// The index that a restart makes of the runs and of what is in the memtable.
        fn restart(&mut self, mut loader: Loader) {
            let rows = |map: &BTreeMap<Key, Delta>| {
                let rows: Vec<Entry> =
                    map.iter().map(|(&key, &delta)| Entry { key, delta }).collect();
                Rows::new(rows.into_iter())
            };
            let recent: BTreeMap<Key, Delta> =
                self.index.memtable().active().map(|entry| (entry.key, entry.delta)).collect();
            let mut sources = vec![rows(&recent)];
            sources.extend(self.runs.iter().rev().map(rows));
            let mut merge = Merge::new(sources, false);
            let mut all = Vec::new();
            while let Merged::Entry(entry) = merge.next() {
                all.push(entry);
            }
            for pass in 0.. {
                assert!(pass < 2, "two passes do");
                for entry in &all {
                    if recent.contains_key(&entry.key) {
                        loader.push_recent(entry);
                    } else {
                        loader.push(entry);
                    }
                }
                match loader.finish() {
                    Loaded::Done(index) => {
                        self.index = index;
                        break;
                    }
                    Loaded::Again(again) => loader = again,
                }
            }
            let again: BTreeMap<Key, Delta> =
                self.index.memtable().active().map(|entry| (entry.key, entry.delta)).collect();
            assert_eq!(again, recent);
        }
    }

    fn key(n: u64) -> Key {
        Key {
            group: n as u32 & 3,
            object: u128::from(n >> 4),
            stripe: n as u32 >> 2 & 3,
            position: 0,
        }
    }

    #[test]
    fn an_index_is_a_map_however_few_fingerprints_there_are() {
        for (seed, bits) in [0, 1, 3, 8, 12, 14, 20, 64].into_iter().cycle().take(24).enumerate() {
            let seed = seed as u64;
            println!("seed {seed}, {bits} bits");
            let mut draws = Draws::new(seed, Domain::new("store.index"), 0);
            let empty = || Index::truncated(seed, 1000, bits);
            let mut pair = Pair::new(empty());
            let names = 1 + draws.below(400);
            for step in 0..6_000 {
                let key = key(draws.below(names));
                pair.step(key, &mut draws);
                if step % 1_000 == 999 {
                    pair.check();
                    pair.restart(Loader::into_index(empty(), names));
                    pair.check();
                }
            }
            if bits < 3 {
                assert!(pair.index.collided_len() > 0 || pair.model.len() < 9);
            } else if bits == 64 {
                assert_eq!(pair.index.collided_len(), 0);
            }
            assert_eq!(pair.index.room(), 1000 - pair.model.len() as u64);
        }
    }

    #[test]
    fn the_ceiling_binds_who_asks() {
        let mut pair = Pair::new(Index::new(1, 2));
        for n in 0..3 {
            let delta = pair.delta(key(n), DeltaKind::Live);
            pair.index.apply_put(key(n), delta, None);
        }
        assert_eq!((pair.index.len(), pair.index.room()), (3, 0));
        let (old, dead) = (pair.index.lookup(&key(0)), pair.delta(key(0), DeltaKind::Dead));
        pair.index.apply_put(key(0), dead, old.place());
        assert_eq!(pair.index.lookup(&key(0)), Found::Memory(dead));
        assert_eq!(pair.index.len(), 3);
    }

    #[test]
    #[should_panic(expected = "said to be replaced")]
    fn a_put_that_forgets_what_it_replaces() {
        let mut pair = Pair::new(Index::new(1, 2));
        for _ in 0..2 {
            let delta = pair.delta(key(1), DeltaKind::Live);
            pair.index.apply_put(key(1), delta, None);
        }
    }
}
