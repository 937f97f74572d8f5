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
//!         Merged::NeedChunk(i) => merge.feed(i, read, damaged).await?,
//!         Merged::End => break,
//!     }
//! }
//! ```

use std::hint::select_unpredictable;

use super::memtable::{DeltaKind, Entry};
use super::run::{ChunkInfo, RunError, RunInfo, checked_entry, checked_key};
use crate::Key;

/// What a source has next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// An entry of this key.
    Key(Key),
    /// It can't tell before it is fed.
    NeedChunk,
    /// Nothing more.
    End,
}

/// A row of entries in the order of their keys.
pub trait Source {
    /// What is next; the same until [`Source::take`].
    fn peek(&self) -> Step;

    /// The entry whose key `peek` shows, and on to the next.
    fn take(&mut self) -> Entry;
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
        self.next.map_or(Step::End, |next| Step::Key(next.key))
    }

    fn take(&mut self) -> Entry {
        let taken = self.next.take().expect("there is an entry to take");
        self.next = self.rest.next();
        assert!(self.next.is_none_or(|next| taken.key < next.key), "rows are not sorted");
        taken
    }
}

/// A run, chunk by chunk. `B` is what holds the bytes of a chunk.
#[derive(Debug)]
pub struct RunSource<B> {
    info: RunInfo,
    /// Chunks that were fed, or skipped.
    fed: usize,
    /// Chunks from here on are not wanted.
    end: usize,
    /// Entries before it are not shown. Only the first chunk that is fed may have some.
    from: Option<Key>,
    bytes: Option<B>,
    /// The entry of the chunk that is shown,
    index: usize,
    /// of so many: none is shown when all were taken.
    entries: usize,
}

impl<B: AsRef<[u8]>> RunSource<B> {
    /// All of a run.
    pub fn new(info: RunInfo) -> RunSource<B> {
        let end = info.chunks.len();
        RunSource { info, fed: 0, end, from: None, bytes: None, index: 0, entries: 0 }
    }

    /// A run from `from` on, and without the chunks that lie behind `to`.
    pub fn within(info: RunInfo, from: &Key, to: &Key) -> RunSource<B> {
        let fed = if *from > info.last_key {
            info.chunks.len()
        } else {
            info.chunk_of(from).unwrap_or(0)
        };
        let end = info.chunks.partition_point(|chunk| chunk.first_key <= *to).max(fed);
        RunSource { fed, end, from: Some(*from), ..RunSource::new(info) }
    }

    /// The run.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// The chunk to be fed next, now or when the present one is used up.
    pub fn wants(&self) -> Option<&ChunkInfo> {
        self.info.chunks[..self.end].get(self.fed)
    }

    /// Takes the chunk that [`RunSource::wants`] named, once the one before is used up, and gives
    /// that one's bytes back.
    pub fn feed(&mut self, bytes: B) -> Result<Option<B>, RunError> {
        assert!(self.is_spent() && self.fed < self.end, "not hungry");
        let chunk = self.info.chunk(self.fed, bytes.as_ref())?;
        self.entries = chunk.len();
        self.index = self.from.take().map_or(0, |from| chunk.position(&from));
        self.fed += 1;
        Ok(self.bytes.replace(bytes))
    }

    /// The bytes of a chunk that is used up.
    pub fn take_spent(&mut self) -> Option<B> {
        if self.is_spent() { self.bytes.take() } else { None }
    }

    fn is_spent(&self) -> bool {
        self.index == self.entries
    }
}

impl<B: AsRef<[u8]>> Source for RunSource<B> {
    #[inline]
    fn peek(&self) -> Step {
        if !self.is_spent() {
            let bytes = self.bytes.as_ref().expect("a chunk is kept until it is spent");
            Step::Key(checked_key(bytes.as_ref(), self.index))
        } else if self.fed < self.end {
            Step::NeedChunk
        } else {
            Step::End
        }
    }

    #[inline]
    fn take(&mut self) -> Entry {
        assert!(!self.is_spent(), "no entry is shown");
        let bytes = self.bytes.as_ref().expect("a chunk is kept until it is spent");
        let entry = checked_entry(bytes.as_ref(), self.index);
        self.index += 1;
        entry
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
    #[inline]
    fn peek(&self) -> Step {
        match self {
            Input::Run(run) => run.peek(),
            Input::Rows(rows) => rows.peek(),
        }
    }

    #[inline]
    fn take(&mut self) -> Entry {
        match self {
            Input::Run(run) => run.take(),
            Input::Rows(rows) => rows.take(),
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
    /// An older source has this later change of the key that was given before: what was read is
    /// not what was written.
    Contradiction(Entry),
    /// Nothing more.
    End,
}

/// The merge of some sources: a tournament of their next keys. In it each key meets one other in
/// each round, and what has lost stays where it lost; so when the winner has been taken, only
/// the next key of its source has to play, against those that lost on its way up.
pub struct Merge<S> {
    sources: Vec<S>,
    /// The next key of each source.
    heads: Vec<Rank>,
    /// Who lost: the final at 1, the two games before it at 2 and 3, and so on; source `s` begins
    /// at `(s + sources) / 2`. Nobody has played before all heads are known.
    losers: Vec<u32>,
    /// The source whose head is to be found out before the next game; with all of those behind
    /// it, as long as nobody has played.
    unknown: usize,
    has_begun: bool,
    drop_gone: bool,
    /// The key that was taken last, and its sequence.
    last: Option<(Rank, u64)>,
}

/// A key as four numbers, the greatest first, and at the end the source that has it: in one
/// comparison the lesser key comes first, and of equal keys that of the newer source.
///
/// ```text
/// 0 group, object 127..96 | 1 object 95..32 | 2 object 31..0, stripe | 3 position, source
/// ```
///
/// Words of 64 bits, written and read as such: a processor that is to read 16 bytes at once
/// which were written as two words a moment ago waits until they have left for the cache.
#[derive(Clone, Copy, Debug)]
struct Rank([u64; 4]);

impl Rank {
    /// Behind every key.
    const END: Rank = Rank([u64::MAX; 4]);

    #[inline]
    fn new(key: &Key, source: u32) -> Rank {
        Rank([
            u64::from(key.group) << 32 | (key.object >> 96) as u64,
            (key.object >> 32) as u64,
            (key.object as u64) << 32 | u64::from(key.stripe),
            u64::from(key.position) << 32 | u64::from(source),
        ])
    }

    #[inline]
    fn is_end(&self) -> bool {
        // No position has 32 bits.
        self.0[3] == Rank::END.0[3]
    }

    /// Whether the keys are the same.
    #[inline]
    fn is_key_of(&self, other: &Rank) -> bool {
        // The second word first: it is the one that mostly differs.
        self.0[1] == other.0[1]
            && self.0[2] == other.0[2]
            && self.0[0] == other.0[0]
            && self.0[3] >> 32 == other.0[3] >> 32
    }

    /// Whether this comes first. Nothing here is worth a guess: which of two keys is less can't
    /// be foreseen. So there is no branch, but the borrow of a long subtraction.
    #[inline]
    fn is_before(&self, other: &Rank) -> bool {
        let mut borrow = false;
        for word in (0..4).rev() {
            let (rest, under) = self.0[word].overflowing_sub(other.0[word]);
            borrow = under | rest.overflowing_sub(u64::from(borrow)).1;
        }
        borrow
    }
}

const _: () = assert!(Key::BYTES == 4 + 16 + 4 + 2);

impl<S: Source> Merge<S> {
    /// A merge of sources, newest first. With `drop_gone`, entries of what is gone are left out:
    /// only right if the last source is the oldest there is.
    pub fn new(sources: Vec<S>, drop_gone: bool) -> Merge<S> {
        let count = sources.len();
        Merge {
            sources,
            heads: vec![Rank::END; count],
            losers: vec![0; count],
            unknown: 0,
            has_begun: false,
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
        if self.sources.is_empty() {
            return Merged::End;
        }
        loop {
            self.heads[self.unknown] = match self.sources[self.unknown].peek() {
                Step::Key(key) => Rank::new(&key, self.unknown as u32),
                Step::NeedChunk => return Merged::NeedChunk(self.unknown),
                Step::End => Rank::END,
            };
            let (winner, rank) = if self.has_begun {
                self.play(self.unknown)
            } else if self.unknown + 1 < self.sources.len() {
                self.unknown += 1;
                continue;
            } else {
                self.has_begun = true;
                let winner = self.play_all();
                (winner, self.heads[winner])
            };
            if rank.is_end() {
                // It ended, and so it will be found again.
                self.unknown = winner;
                return Merged::End;
            }
            let entry = self.sources[winner].take();
            self.unknown = winner;
            if let Some((last, newer)) = self.last.replace((rank, entry.delta.sequence)) {
                assert!(last.is_before(&rank), "a source is not sorted");
                if last.is_key_of(&rank) {
                    if entry.delta.sequence > newer {
                        return Merged::Contradiction(entry);
                    }
                    continue;
                }
            }
            if !(self.drop_gone && entry.delta.kind == DeltaKind::Gone) {
                return Merged::Entry(entry);
            }
        }
    }

    /// The games of a source whose head has changed. Who wins the last, and its head.
    #[inline]
    fn play(&mut self, source: usize) -> (usize, Rank) {
        let (mut winner, mut rank) = (source as u32, self.heads[source]);
        let mut game = (source + self.sources.len()) / 2;
        while game > 0 {
            let other = self.losers[game];
            let other_rank = self.heads[other as usize];
            let is_beaten = other_rank.is_before(&rank);
            self.losers[game] = select_unpredictable(is_beaten, winner, other);
            winner = select_unpredictable(is_beaten, other, winner);
            for (own, other) in rank.0.iter_mut().zip(other_rank.0) {
                *own = select_unpredictable(is_beaten, other, *own);
            }
            game /= 2;
        }
        (winner as usize, rank)
    }

    /// All games. Who wins the last.
    fn play_all(&mut self) -> usize {
        let count = self.sources.len();
        // The winner of each game; behind the games, the sources themselves.
        let mut winners = vec![0; 2 * count];
        for source in 0..count {
            winners[count + source] = source;
        }
        for game in (1..count).rev() {
            let (one, other) = (winners[2 * game], winners[2 * game + 1]);
            let is_first = self.heads[one].is_before(&self.heads[other]);
            let (winner, loser) = if is_first { (one, other) } else { (other, one) };
            winners[game] = winner;
            self.losers[game] = loser as u32;
        }
        winners[1]
    }
}

impl<B: AsRef<[u8]>, I: Iterator<Item = Entry>> Merge<Input<B, I>> {
    /// Gives a source the chunk that it needs; `damaged` says what it means if it is not that.
    pub async fn feed<E>(
        &mut self,
        source: usize,
        read: impl AsyncFnOnce(&ChunkInfo) -> Result<B, E>,
        damaged: impl FnOnce(&ChunkInfo) -> E,
    ) -> Result<(), E> {
        let Input::Run(run) = &mut self.sources[source] else {
            unreachable!("rows need no chunks");
        };
        drop(run.take_spent());
        let chunk = *run.wants().expect("it needs one");
        let bytes = read(&chunk).await?;
        run.feed(bytes).map_err(|_| damaged(&chunk))?;
        Ok(())
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
                Merged::Contradiction(entry) => panic!("{entry:?} is the older change"),
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
            for last in [0, 10, 60, 69, 130, 200, 300] {
                let to = Key { object: last, ..Key::MIN };
                let source = RunSource::within(info.clone(), &key, &to);
                let merge = Merge::new(vec![Input::Run(source)], false);
                let found = drain(merge, std::slice::from_ref(&chunks));
                let wanted: Vec<Entry> =
                    rows.iter().copied().filter(|row| row.key >= key).collect();
                assert!(wanted.starts_with(&found), "from {object} to {last}");
                let left = wanted[found.len()..].iter().all(|row| row.key > to);
                assert!(left, "from {object} to {last}: too few");
                let behind = found.iter().filter(|row| row.key > to).count();
                assert!(behind < 6, "from {object} to {last}: chunks too many");
            }
        }
    }

    #[test]
    fn a_bad_chunk_is_refused_and_the_right_one_still_taken() {
        let rows: Vec<Entry> = (1..=4).map(|i| entry(i, 1, DeltaKind::Live)).collect();
        let (info, chunks) = run(3, &rows, 2);
        let mut source = RunSource::new(info);
        assert!(source.feed(chunks[1].clone()).is_err());
        assert_eq!(source.feed(chunks[0].clone()), Ok(None));
        assert_eq!(source.take(), rows[0]);
        assert_eq!(source.take_spent(), None);
        assert_eq!(source.take(), rows[1]);
        assert_eq!(source.peek(), Step::NeedChunk);
        assert_eq!(source.feed(chunks[1].clone()), Ok(Some(chunks[0].clone())));
        assert_eq!(source.peek(), Step::Key(rows[2].key));
        assert_eq!(source.wants(), None);
    }

    #[test]
    fn numbers_compare_as_keys_do() {
        let mut draws = Draws::new(1, Domain::new("store.index.merge"), 1);
        let mut field = |most: u128| match draws.below(4) {
            0 => 0,
            1 => most,
            2 => 1,
            _ => (u128::from(draws.next_u64()) << 64 | u128::from(draws.next_u64())) & most,
        };
        let mut keys: Vec<Key> = (0..400)
            .map(|_| Key {
                group: field(u128::from(u32::MAX)) as u32,
                object: field(u128::MAX),
                stripe: field(u128::from(u32::MAX)) as u32,
                position: field(u128::from(u16::MAX)) as u16,
            })
            .collect();
        keys.extend([Key::MIN, Key::MAX]);
        for one in &keys {
            let rank = Rank::new(one, 3);
            assert!(rank.is_before(&Rank::END) && !Rank::END.is_before(&rank));
            assert!(Rank::END.is_end() && !rank.is_end());
            for other in &keys {
                for source in [2, 3, 4] {
                    let other_rank = Rank::new(other, source);
                    assert_eq!(rank.is_before(&other_rank), (one, 3) < (other, source));
                    assert_eq!(rank.is_key_of(&other_rank), one == other);
                }
            }
        }
    }

    #[test]
    fn an_older_run_must_not_know_better() {
        let rows = |sequence| Rows::new(std::iter::once(entry(1, sequence, DeltaKind::Live)));
        let mut merge = Merge::new(vec![rows(1), rows(2)], false);
        assert_eq!(merge.next(), Merged::Entry(entry(1, 1, DeltaKind::Live)));
        assert_eq!(merge.next(), Merged::Contradiction(entry(1, 2, DeltaKind::Live)));
        assert_eq!(merge.next(), Merged::End);
    }
}
