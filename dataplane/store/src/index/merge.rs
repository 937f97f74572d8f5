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
    /// The next key of each source but those in `unknown` and those that have ended. On equal
    /// keys the lower number, which is the newer source, is first.
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
                    Step::Entry(entry) => self.heads.push(Reverse((entry.key, source))),
                    Step::NeedChunk => return Merged::NeedChunk(source),
                    Step::End => {}
                }
                self.unknown.pop();
            }
            let Some(Reverse((key, newest))) = self.heads.pop() else {
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

    fn pass(&mut self, source: usize) -> Entry {
        let Step::Entry(entry) = self.sources[source].peek() else {
            unreachable!("a head is an entry");
        };
        self.sources[source].advance();
        self.unknown.push(source);
        entry
    }
}
