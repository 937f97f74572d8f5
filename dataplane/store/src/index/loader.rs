//! The index as a restart builds it.
//!
//! What must always hold: each key comes once, in order, as it is after all runs and all that was
//! recovered behind them. Entries are taken up in batches: the table is far larger than any
//! cache, and so the misses of a batch overlap.

use std::hint::black_box;

use super::Index;
use super::memtable::{DeltaKind, Entry};
use crate::Key;

const BATCH: usize = 64;

/// An index that takes entries.
pub struct Loader {
    index: Index,
    batch: Vec<Entry>,
    last: Option<Key>,
}

impl Loader {
    /// A loader of about so many entries, into an index with this seed and ceiling.
    pub fn new(seed: u64, ceiling: u64, expected: u64) -> Loader {
        Loader::into_index(Index::with_expected(seed, ceiling, expected))
    }

    pub(super) fn into_index(index: Index) -> Loader {
        Loader { index, batch: Vec::with_capacity(BATCH), last: None }
    }

    /// Takes an entry of the runs: the next key of a merge of all of them.
    pub fn push(&mut self, entry: &Entry) {
        assert!(self.last.is_none_or(|last| last < entry.key), "keys come in order, each once");
        self.last = Some(entry.key);
        // What is gone has no place.
        if entry.delta.kind == DeltaKind::Gone {
            return;
        }
        self.batch.push(*entry);
        if self.batch.len() == BATCH {
            self.take_up();
        }
    }

    /// Takes an entry that no run has yet: it goes to the memtable too, for the next spill.
    pub fn push_recent(&mut self, entry: &Entry) {
        self.push(entry);
        self.index.memtable.insert(entry.key, entry.delta);
    }

    /// The index.
    pub fn finish(mut self) -> Index {
        self.take_up();
        self.index
    }

    fn take_up(&mut self) {
        let index = &mut self.index;
        let fingerprints = self.batch.iter().map(|entry| index.fingerprint(&entry.key));
        black_box(index.table.warm(fingerprints));
        for entry in self.batch.drain(..) {
            index.place_new(entry.key, entry.delta.place);
        }
    }
}
