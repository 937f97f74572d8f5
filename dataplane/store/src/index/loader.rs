//! The index as a restart builds it.
//!
//! What must always hold: each key comes once, in order, as it is after all runs and all that was
//! recovered behind them.
//!
//! The table is far larger than any cache, and keys come in no order of their fingerprints. So
//! entries are taken up in batches of 2^18, sorted by fingerprint: each goes over the table from
//! its start to its end, several entries to a page, and the misses of 64 entries overlap.

use std::hint::black_box;

use super::Index;
use super::memtable::{DeltaKind, Entry};
use crate::{Key, Place};

/// Entries that are sorted together: 16 MiB.
const BATCH: usize = 1 << 18;
/// Entries whose misses overlap.
const WARM: usize = 64;

/// An index that takes entries.
pub struct Loader {
    index: Index,
    batch: Vec<Row>,
    last: Option<Key>,
}

struct Row {
    fingerprint: u64,
    place: Place,
    key: Key,
}

impl Loader {
    /// A loader of about so many entries, into an index with this seed and ceiling.
    pub fn new(seed: u64, ceiling: u64, expected: u64) -> Loader {
        Loader::into_index(Index::with_expected(seed, ceiling, expected))
    }

    pub(super) fn into_index(index: Index) -> Loader {
        Loader { index, batch: Vec::new(), last: None }
    }

    /// Takes an entry of the runs: the next key of a merge of all of them.
    pub fn push(&mut self, entry: &Entry) {
        assert!(self.last.is_none_or(|last| last < entry.key), "keys come in order, each once");
        self.last = Some(entry.key);
        // What is gone has no place.
        if entry.delta.kind == DeltaKind::Gone {
            return;
        }
        if self.batch.capacity() == 0 {
            self.batch.reserve_exact(BATCH);
        }
        let (key, place) = (entry.key, entry.delta.place);
        self.batch.push(Row { fingerprint: self.index.fingerprint(&key), place, key });
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
        // Equal fingerprints stay in the order of keys: a load does the same each time.
        self.batch.sort_unstable_by_key(|row| (row.fingerprint, row.key));
        for rows in self.batch.chunks(WARM) {
            black_box(self.index.table.warm(rows.iter().map(|row| row.fingerprint)));
            for row in rows {
                self.index.place_new(row.fingerprint, row.key, row.place);
            }
        }
        self.batch.clear();
    }
}
