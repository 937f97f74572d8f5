//! Several sorted rows of entries as one, the newest change of each key.
//!
//! What must always hold: sources are in the order of age, newest first, and on equal keys the
//! newest source wins; its sequence is never lower than what it hides. No source is asked twice
//! for what it has given.
//!
//! Nothing here reads a disk. A source that needs its next chunk says so, the caller reads it,
//! feeds it and asks again:
//!
//! ```text
//! loop {
//!     match merge.next() {
//!         Merged::Entry(entry) => ..,
//!         Merged::NeedChunk(i) => merge.source_mut(i).feed(read(..).await)?,
//!         Merged::End => break,
//!     }
//! }
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::memtable::{DeltaKind, Entry};
use super::run::{ChunkInfo, RunError, RunInfo, checked_entry};
use crate::Key;

/// What a source has next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// This entry.
    Entry(Entry),
    /// It can't tell before it is fed.
    NeedChunk,
    /// Nothing more.
    End,
}

/// A row of entries in the order of their keys.
pub trait Source {
    /// What is next; the same until [`Source::advance`].
    fn peek(&self) -> Step;

    /// Goes past the entry that `peek` shows.
    fn advance(&mut self);
}

/// Entries that are in memory.
#[derive(Debug)]
pub struct Rows<I: Iterator<Item = Entry>> {
    next: Option<Entry>,
    rest: I,
}

impl<I: Iterator<Item = Entry>> Rows<I> {
    /// These entries, in the order of their keys.
    pub fn new(mut rest: I) -> Rows<I> {
        Rows { next: rest.next(), rest }
    }
}

impl<I: Iterator<Item = Entry>> Source for Rows<I> {
    fn peek(&self) -> Step {
        self.next.map_or(Step::End, Step::Entry)
    }

    fn advance(&mut self) {
        let passed = self.next.take().expect("there is an entry to pass");
        self.next = self.rest.next();
        assert!(self.next.is_none_or(|next| passed.key < next.key), "rows are not sorted");
    }
}

/// A run, chunk by chunk. `B` is what holds the bytes of a chunk.
#[derive(Debug)]
pub struct RunSource<B> {
    info: RunInfo,
    /// Chunks that were fed, or skipped.
    fed: usize,
    bytes: Option<B>,
    /// The entry of the chunk that is shown.
    index: usize,
    next: Option<Entry>,
}

impl<B: AsRef<[u8]>> RunSource<B> {
    /// All of a run.
    pub fn new(info: RunInfo) -> RunSource<B> {
        RunSource { info, fed: 0, bytes: None, index: 0, next: None }
    }

    /// A run from its chunk that may hold `key` on; entries of that chunk before `key` are passed.
    pub fn starting_at(info: RunInfo, key: &Key) -> RunSource<B> {
        let fed =
            if *key > info.last_key { info.chunks.len() } else { info.chunk_of(key).unwrap_or(0) };
        RunSource { fed, ..RunSource::new(info) }
    }

    /// The run.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// The chunk to be fed next, now or when the present one is used up.
    pub fn wants(&self) -> Option<&ChunkInfo> {
        self.info.chunks.get(self.fed)
    }

    /// Takes the chunk that [`RunSource::wants`] named, once the one before is used up, and gives
    /// that one's bytes back.
    pub fn feed(&mut self, bytes: B) -> Result<Option<B>, RunError> {
        assert!(self.next.is_none() && self.fed < self.info.chunks.len(), "not hungry");
        self.info.chunk(self.fed, bytes.as_ref())?;
        self.fed += 1;
        self.index = 0;
        self.next = checked_entry(bytes.as_ref(), 0);
        Ok(self.bytes.replace(bytes))
    }

    /// The bytes of a chunk that is used up.
    pub fn take_spent(&mut self) -> Option<B> {
        if self.next.is_none() { self.bytes.take() } else { None }
    }
}

impl<B: AsRef<[u8]>> Source for RunSource<B> {
    fn peek(&self) -> Step {
        match self.next {
            Some(entry) => Step::Entry(entry),
            None if self.fed < self.info.chunks.len() => Step::NeedChunk,
            None => Step::End,
        }
    }

    fn advance(&mut self) {
        assert!(self.next.is_some(), "there is an entry to pass");
        self.index += 1;
        let bytes = self.bytes.as_ref().expect("an entry is shown").as_ref();
        self.next = checked_entry(bytes, self.index);
    }
}

/// A source of either kind.
#[derive(Debug)]
pub enum Input<B, I: Iterator<Item = Entry>> {
    /// A run.
    Run(RunSource<B>),
    /// Entries in memory.
    Rows(Rows<I>),
}

impl<B: AsRef<[u8]>, I: Iterator<Item = Entry>> Source for Input<B, I> {
    fn peek(&self) -> Step {
        match self {
            Input::Run(run) => run.peek(),
            Input::Rows(rows) => rows.peek(),
        }
    }

    fn advance(&mut self) {
        match self {
            Input::Run(run) => run.advance(),
            Input::Rows(rows) => rows.advance(),
        }
    }
}

/// What a merge has next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merged {
    /// The newest change of the next key.
    Entry(Entry),
    /// This source must be fed first.
    NeedChunk(usize),
    /// Nothing more.
    End,
}

/// The merge of some sources.
pub struct Merge<S> {
    sources: Vec<S>,
    /// The least of all next keys. On equal keys the lower number, which is the newer source, is
    /// the least. Not in `heads`: most of the time the next one is of the same, largest source.
    least: Option<(Key, usize)>,
    /// The next keys of the other sources, but for those in `unknown` and those that have ended.
    heads: BinaryHeap<Reverse<(Key, usize)>>,
    /// Sources whose next key is to be found out.
    unknown: Vec<usize>,
    drop_gone: bool,
    last: Option<Key>,
}

impl<S: Source> Merge<S> {
    /// A merge of sources, newest first. With `drop_gone`, entries of what is gone are left out:
    /// only right if the last source is the oldest there is.
    pub fn new(sources: Vec<S>, drop_gone: bool) -> Merge<S> {
        let count = sources.len();
        Merge {
            sources,
            least: None,
            heads: BinaryHeap::with_capacity(count),
            unknown: (0..count).rev().collect(),
            drop_gone,
            last: None,
        }
    }

    /// A source, to be fed.
    pub fn source_mut(&mut self, source: usize) -> &mut S {
        &mut self.sources[source]
    }

    /// The sources, to take back what they hold.
    pub fn into_sources(self) -> Vec<S> {
        self.sources
    }

    /// The next entry. After [`Merged::NeedChunk`] nothing is lost: feed and ask again.
    #[expect(clippy::should_implement_trait, reason = "a merge that must be fed is no iterator")]
    pub fn next(&mut self) -> Merged {
        loop {
            while let Some(&source) = self.unknown.last() {
                match self.sources[source].peek() {
                    Step::Entry(entry) => self.add_head((entry.key, source)),
                    Step::NeedChunk => return Merged::NeedChunk(source),
                    Step::End => {}
                }
                self.unknown.pop();
            }
            let Some((key, newest)) = self.take_least() else {
                return Merged::End;
            };
            assert!(self.last.is_none_or(|last| last < key), "a source is not sorted");
            self.last = Some(key);
            let entry = self.pass(newest);
            let mut newer = entry;
            while let Some(&Reverse((other, older))) = self.heads.peek() {
                if other != key {
                    break;
                }
                self.heads.pop();
                let hidden = self.pass(older);
                assert!(
                    hidden.delta.sequence <= newer.delta.sequence,
                    "{key}: an older run has {:?}, a newer one {:?}",
                    hidden.delta,
                    newer.delta
                );
                newer = hidden;
            }
            if !(self.drop_gone && entry.delta.kind == DeltaKind::Gone) {
                return Merged::Entry(entry);
            }
        }
    }

    fn add_head(&mut self, head: (Key, usize)) {
        match self.least {
            Some(least) if least < head => self.heads.push(Reverse(head)),
            Some(least) => {
                self.heads.push(Reverse(least));
                self.least = Some(head);
            }
            None => match self.heads.peek_mut() {
                Some(mut first) if first.0 < head => {
                    self.least = Some(first.0);
                    *first = Reverse(head);
                }
                _ => self.least = Some(head),
            },
        }
    }

    fn take_least(&mut self) -> Option<(Key, usize)> {
        self.least.take().or_else(|| self.heads.pop().map(|head| head.0))
    }

    fn pass(&mut self, source: usize) -> Entry {
        let Step::Entry(entry) = self.sources[source].peek() else {
            unreachable!("a head is an entry");
        };
        self.sources[source].advance();
        self.unknown.push(source);
        entry
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use isotherm_seam::{Domain, Draws};

    use super::*;
    use crate::index::{ChunkId, ChunkWriter, Delta};
    use crate::{ExtentId, Place};

    fn entry(object: u128, sequence: u64, kind: DeltaKind) -> Entry {
        let dead = kind == DeltaKind::Dead;
        let place = Place { extent: ExtentId(1), block: sequence as u32, blocks: 1, dead };
        let key = Key { object, ..Key::MIN };
        Entry { key, delta: Delta { kind, flags: 0, wall_s: 0, place, sequence } }
    }

    /// A run in chunks of at most `most` entries.
    fn run(id: u64, rows: &[Entry], most: usize) -> (RunInfo, Vec<Vec<u8>>) {
        let (mut chunks, mut written) = (Vec::new(), Vec::new());
        for (number, rows) in rows.chunks(most).enumerate() {
            let mut bytes = vec![0; 24 + 48 * rows.len()];
            let id = ChunkId { run: id, chunk: number as u32 };
            let mut writer = ChunkWriter::new(&mut bytes, id);
            rows.iter().for_each(|row| writer.push(row));
            let place = Place { extent: ExtentId(0), block: number as u32, blocks: 1, dead: false };
            written.push((writer.finish().expect("rows"), place));
            chunks.push(bytes);
        }
        (RunInfo::new(id, 0, &written).expect("chunks"), chunks)
    }

    type AnyInput = Input<Vec<u8>, std::vec::IntoIter<Entry>>;

    /// All that a merge gives, fed from these chunks.
    fn drain(mut merge: Merge<AnyInput>, chunks: &[Vec<Vec<u8>>]) -> Vec<Entry> {
        let mut all = Vec::new();
        loop {
            match merge.next() {
                Merged::Entry(entry) => all.push(entry),
                Merged::End => return all,
                Merged::NeedChunk(source) => {
                    let Input::Run(run) = merge.source_mut(source) else { panic!("rows are fed") };
                    let wanted = run.wants().expect("it is hungry").place.block as usize;
                    run.feed(chunks[source][wanted].clone()).expect("a good chunk");
                }
            }
        }
    }

    #[test]
    fn a_merge_is_what_maps_laid_over_each_other_are() {
        for seed in 0..60 {
            println!("seed {seed}");
            let mut draws = Draws::new(seed, Domain::new("store.index.merge"), 0);
            let drop_gone = draws.happens(0.5);
            let count = 1 + draws.below(6) as usize;
            let mut model = BTreeMap::new();
            let (mut inputs, mut chunks) = (Vec::new(), Vec::new());
            // From the oldest to the newest; sequences rise with age.
            for age in 0..count {
                let kinds = [DeltaKind::Live, DeltaKind::Dead, DeltaKind::Gone];
                let rows: BTreeMap<u128, Entry> = (0..1 + draws.below(60))
                    .map(|_| {
                        let object = u128::from(draws.below(80));
                        let kind = kinds[draws.below(3) as usize];
                        (object, entry(object, age as u64, kind))
                    })
                    .collect();
                let rows: Vec<Entry> = rows.into_values().collect();
                model.extend(rows.iter().map(|row| (row.key, *row)));
                if draws.happens(0.3) {
                    chunks.insert(0, Vec::new());
                    inputs.insert(0, Input::Rows(Rows::new(rows.into_iter())));
                } else {
                    let (info, bytes) = run(age as u64, &rows, 1 + draws.below(9) as usize);
                    chunks.insert(0, bytes);
                    inputs.insert(0, Input::Run(RunSource::new(info)));
                }
            }
            if drop_gone {
                model.retain(|_, row| row.delta.kind != DeltaKind::Gone);
            }
            let merged = drain(Merge::new(inputs, drop_gone), &chunks);
            assert_eq!(merged, model.into_values().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_run_is_read_from_a_key_on() {
        let rows: Vec<Entry> = (1..=20).map(|i| entry(i * 10, 1, DeltaKind::Live)).collect();
        let (info, chunks) = run(3, &rows, 6);
        for object in [0, 9, 60, 61, 70, 195, 200, 201] {
            let key = Key { object, ..Key::MIN };
            let source = RunSource::starting_at(info.clone(), &key);
            let merge = Merge::new(vec![Input::Run(source)], false);
            let found = drain(merge, std::slice::from_ref(&chunks));
            let wanted: Vec<Entry> = rows.iter().copied().filter(|row| row.key >= key).collect();
            assert!(found.ends_with(&wanted), "from {object}");
            assert!(found.len() <= wanted.len() + 6, "from {object}: chunks too many");
        }
    }

    #[test]
    fn a_bad_chunk_is_refused_and_the_right_one_still_taken() {
        let rows: Vec<Entry> = (1..=4).map(|i| entry(i, 1, DeltaKind::Live)).collect();
        let (info, chunks) = run(3, &rows, 2);
        let mut source = RunSource::new(info);
        assert!(source.feed(chunks[1].clone()).is_err());
        assert_eq!(source.feed(chunks[0].clone()), Ok(None));
        source.advance();
        assert_eq!(source.take_spent(), None);
        source.advance();
        assert_eq!(source.peek(), Step::NeedChunk);
        assert_eq!(source.feed(chunks[1].clone()), Ok(Some(chunks[0].clone())));
        assert_eq!(source.peek(), Step::Entry(rows[2]));
        assert_eq!(source.wants(), None);
    }

    #[test]
    #[should_panic(expected = "an older run has")]
    fn an_older_run_must_not_know_better() {
        let rows = |sequence| Rows::new(std::iter::once(entry(1, sequence, DeltaKind::Live)));
        Merge::new(vec![rows(1), rows(2)], false).next();
    }
}
