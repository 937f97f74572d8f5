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
pub use loader::Loader;
pub use memtable::{Delta, DeltaKind, Entry, Memtable};
pub use merge::{Input, Merge, Merged, Rows, RunSource, Source, Step};
pub use run::{
    CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, ChunkId, ChunkInfo, ChunkReader, ChunkWriter, ChunkWritten,
    RunError, RunInfo,
};
pub use table::Table;

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
        Index::with_expected(seed, ceiling, 0)
    }

    fn with_expected(seed: u64, ceiling: u64, expected: u64) -> Index {
        Index {
            seed,
            mask: u64::MAX,
            ceiling,
            table: Table::new(expected),
            collided: BTreeMap::new(),
            memtable: Memtable::default(),
        }
    }

    /// An index in which only the top bits of fingerprints differ, so that many are equal.
    #[cfg(test)]
    fn truncated(seed: u64, ceiling: u64, bits: u32) -> Index {
        Index { mask: !(u64::MAX >> bits), ..Index::new(seed, ceiling) }
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
