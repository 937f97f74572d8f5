//! The index as a restart builds it.
//!
//! What must always hold: each key comes once, in order, as it is after all runs and all that was
//! recovered behind them.
//!
//! The table is far larger than any cache, and keys come in no order of their fingerprints: one
//! insert after the other would wait for memory each time. So entries are first only appended to
//! their partitions, and sorted at the end. Then it shows whether two keys share a fingerprint,
//! when the keys have passed. With 25 million entries that is so once in 3,700 loads
//! (n^2 / 2 pairs in 2^60); all entries must then be pushed once more, and the loader picks up the
//! keys that are in question.

use std::collections::BTreeMap;

use super::Index;
use super::memtable::{DeltaKind, Entry};
use super::table::{TableBuilder, kept};
use crate::Key;

/// An index that takes entries.
pub struct Loader {
    index: Index,
    pass: Pass,
    last: Option<Key>,
}

enum Pass {
    First(TableBuilder),
    /// Fingerprints that several keys have, and whether one of them came already.
    Second(BTreeMap<u64, bool>),
}

/// What a loader has made.
pub enum Loaded {
    /// The index.
    Done(Index),
    /// Push the same entries once more: two keys share a fingerprint.
    Again(Loader),
}

impl Loader {
    /// A loader of about so many entries, into an index with this seed and ceiling.
    pub fn new(seed: u64, ceiling: u64, expected: u64) -> Loader {
        Loader::into_index(Index::new(seed, ceiling), expected)
    }

    pub(super) fn into_index(index: Index, expected: u64) -> Loader {
        assert!(index.is_empty(), "an index is loaded once");
        Loader { index, pass: Pass::First(TableBuilder::new(expected)), last: None }
    }

    /// Takes an entry of the runs: the next key of a merge of all of them.
    pub fn push(&mut self, entry: &Entry) {
        let (key, place) = (entry.key, entry.delta.place);
        assert!(self.last.is_none_or(|last| last < key), "keys come in order, each once");
        self.last = Some(key);
        // What is gone has no place.
        if entry.delta.kind == DeltaKind::Gone {
            return;
        }
        let fingerprint = self.index.fingerprint(&key);
        match &mut self.pass {
            Pass::First(table) => table.push(fingerprint, place),
            Pass::Second(twins) => match twins.get_mut(&kept(fingerprint)) {
                Some(came @ false) => {
                    *came = true;
                    self.index.table.insert(fingerprint, place);
                }
                Some(true) => {
                    self.index.collided.insert(key, place);
                }
                None => {}
            },
        }
    }

    /// Takes an entry that no run has yet: it goes to the memtable too, for the next spill.
    pub fn push_recent(&mut self, entry: &Entry) {
        self.push(entry);
        self.index.memtable.insert(entry.key, entry.delta);
    }

    /// The index, or the loader to push all entries to once more.
    pub fn finish(self) -> Loaded {
        let mut index = self.index;
        let Pass::First(builder) = self.pass else {
            return Loaded::Done(index);
        };
        let (table, twins) = builder.finish();
        index.table = table;
        if twins.is_empty() {
            return Loaded::Done(index);
        }
        let twins = twins.into_iter().map(|fingerprint| (fingerprint, false)).collect();
        Loaded::Again(Loader { index, pass: Pass::Second(twins), last: None })
    }
}
