//! The index of a disk that is being recovered: its runs, and what is more recent than all of them.

use std::collections::BTreeMap;

use super::ahead::{Ahead, AheadBytes};
use super::recover::RecoveryReport;
use super::scan::{OpenError, ScannedDisk};
use super::walk::{FoundRecord, What};
use crate::Key;
use crate::append::NO_KILLS;
use crate::extents::Extents;
use crate::index::{
    ChunkInfo, Delta, DeltaKind, Entry, Index, Input, Loaded, Loader, Merge, Merged, Rows, RunInfo,
    RunSource,
};
use crate::layout::ExtentRow;
use crate::store::Options;

impl ScannedDisk {
    /// Merges the runs, with what is more recent than all of them, into an index.
    pub(super) async fn load(
        &self,
        runs: &[RunInfo],
        recent: Recent,
        rows: &[ExtentRow],
        extents: &mut Extents,
        report: &mut RecoveryReport,
        options: &Options,
    ) -> Result<Index, OpenError> {
        let recent: BTreeMap<Key, Entry> = recent.winners();
        report.records_replayed = recent.len() as u64;
        let expected: u64 = runs.iter().map(|run| run.entries).sum();
        let seed = u64::from_le_bytes(self.uuid[..8].try_into().expect("8 bytes"));
        let mut loader = Loader::new(seed, options.entries_max, expected);
        let mut counts = true;
        let index = loop {
            let live = counts.then_some(&mut *extents);
            self.load_pass(runs, &recent, &mut loader, rows, live).await?;
            match loader.finish() {
                Loaded::Done(index) => break index,
                Loaded::Again(again) => loader = again,
            }
            counts = false;
        };
        report.run_entries = index.len().saturating_sub(recent.len() as u64);
        for chunk in runs.iter().flat_map(|run| &run.chunks) {
            extents.add_live(&chunk.place);
        }
        Ok(index)
    }

    /// Gives all entries to the loader; counts what is live where `extents` is given.
    async fn load_pass(
        &self,
        runs: &[RunInfo],
        recent: &BTreeMap<Key, Entry>,
        loader: &mut Loader,
        rows: &[ExtentRow],
        mut extents: Option<&mut Extents>,
    ) -> Result<(), OpenError> {
        let newest = Rows::new(recent.values().copied());
        let mut ahead: Vec<Ahead> = runs.iter().map(Ahead::new).collect();
        let mut sources: Vec<Input<AheadBytes, _>> = vec![Input::Rows(newest)];
        sources.extend(runs.iter().cloned().map(|run| Input::Run(RunSource::new(run))));
        let mut merge = Merge::new(sources, false);
        let mut next_recent = recent.keys().copied().peekable();
        loop {
            let entry = match merge.next() {
                Merged::End => return Ok(()),
                Merged::Contradiction(_) => return Err(OpenError::Index),
                Merged::NeedChunk(at) => {
                    // The first source is what is more recent than the runs.
                    let run = &mut ahead[at - 1];
                    let read = async |_: &ChunkInfo| self.next_chunk(run, rows).await;
                    merge.feed(at, read, |_| OpenError::Index).await?;
                    continue;
                }
                Merged::Entry(entry) => entry,
            };
            if entry.delta.kind != DeltaKind::Gone {
                let place = entry.delta.place;
                if !self.is_inside(&place, rows) {
                    return Err(OpenError::Index);
                }
                if let Some(extents) = &mut extents {
                    extents.add_live(&place);
                }
            }
            // Both rows of keys ascend, and each recent key comes out of the merge.
            match next_recent.next_if_eq(&entry.key) {
                Some(_) => loader.push_recent(&entry),
                None => loader.push(&entry),
            }
        }
    }
}

/// Committed records of extents that were read, by key.
#[derive(Default)]
pub(super) struct Recent {
    best: BTreeMap<Key, FoundRecord>,
}

impl Recent {
    pub(super) fn take(&mut self, records: Vec<FoundRecord>) {
        for record in records {
            let key = match &record.what {
                What::Shard(head) => head.key,
                What::Tomb(tomb) => tomb.key,
            };
            match self.best.entry(key) {
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(record);
                }
                std::collections::btree_map::Entry::Occupied(mut best) => {
                    if record.beats(best.get()) {
                        best.insert(record);
                    }
                }
            }
        }
    }

    fn winners(self) -> BTreeMap<Key, Entry> {
        self.best
            .into_iter()
            .map(|(key, record)| {
                let (kind, wall_s, flags) = match &record.what {
                    What::Shard(head) => {
                        let flags = if head.kills.is_empty() { NO_KILLS } else { 0 };
                        (DeltaKind::Live, head.put_s, flags)
                    }
                    What::Tomb(tomb) => (DeltaKind::Dead, tomb.deleted_s, 0),
                };
                let (place, sequence) = (record.place, record.sequence);
                (key, Entry { key, delta: Delta { kind, flags, wall_s, place, sequence } })
            })
            .collect()
    }
}

impl FoundRecord {
    /// Whether it counts rather than another record of the same key: the later change does, and
    /// of copies of one change the one that names where the other lies. Of copies of a tombstone one
    /// that is not held is the later one: it was written behind the release, and to hold it again
    /// is another change. Were the held one taken and held again without a word, a later scan might
    /// see the other.
    fn beats(&self, other: &FoundRecord) -> bool {
        if self.sequence != other.sequence {
            return self.sequence > other.sequence;
        }
        if let (What::Tomb(own), What::Tomb(other)) = (&self.what, &other.what)
            && own.held != other.held
        {
            return other.held;
        }
        let kills = match &self.what {
            What::Shard(head) => &head.kills,
            What::Tomb(tomb) => &tomb.kills,
        };
        kills
            .iter()
            .any(|kill| kill.extent == other.place.extent && kill.incarnation == other.incarnation)
    }
}
