//! Sorted runs of entries, as bytes: what a restart loads the index from.
//!
//! A run is a row of chunks; each is the payload of one record, whose CRCs guard it, so there are
//! none here. All numbers are little-endian but for keys, whose bytes compare as keys do.
//!
//! ```text
//! chunk                                    entry
//!  0 version, 1   2    16 chunk     4       0 key    26    28 wall, s    4
//!  2 zero         2    20 zero      4      26 kind    1    32 place      8
//!  4 entries      4    24 entries,         27 flags   1    40 sequence   8
//!  8 run          8       48 each
//!
//! run, for the manifest                    chunk of a run
//!  0 version, 1   2    24 gone      8       0 first key   26
//!  2 level        1    32 first key 26     26 zero         2
//!  3 zero         1    58 last key  26     28 entries      4
//!  4 chunks       4    84 zero      4      32 place        8
//!  8 run          8    88 chunks,
//! 16 entries      8       40 each
//!
//! kinds: 1 live, 2 dead, 3 gone
//! ```
//!
//! What must always hold: entries ascend strictly, within a chunk and over the run; kind and
//! place agree on what is a tombstone; a chunk knows its run and its number there, so no other
//! can be taken for it. What may go wrong: any bytes may be handed in; all that does not hold is
//! a [`RunError`].

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::memtable::{Delta, DeltaKind, Entry};
use crate::{Key, Place};

/// Bytes of a chunk, at most.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Entries of a chunk, at most.
pub const CHUNK_ENTRIES_MAX: usize =
    (CHUNK_BYTES_MAX - size_of::<ChunkHead>()) / size_of::<EntryRow>();

const VERSION: u16 = 1;

/// Why bytes are not a chunk or not a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RunError {
    /// Fewer or more bytes than the entries take.
    #[error("{len_bytes} bytes are not the right length")]
    Length {
        /// How many there are.
        len_bytes: usize,
    },
    /// Written by another version.
    #[error("version {found} is not known here")]
    Version {
        /// What it says.
        found: u16,
    },
    /// Padding is not zero.
    #[error("padding is not zero")]
    Padding,
    /// A chunk of another run, or another chunk of this one.
    #[error("this is chunk {} of run {}", found.chunk, found.run)]
    Other {
        /// What it says it is.
        found: ChunkId,
    },
    /// No such kind of entry.
    #[error("entry {entry} has the unknown kind {found}")]
    Kind {
        /// Which entry.
        entry: usize,
        /// What it says.
        found: u8,
    },
    /// A place of more than 46 bits, or one that contradicts the kind.
    #[error("entry {entry} has no possible place")]
    Place {
        /// Which entry.
        entry: usize,
    },
    /// A key is not greater than the one before it.
    #[error("entry {entry} is out of order")]
    Unsorted {
        /// Which entry.
        entry: usize,
    },
    /// Nothing in it, or the parts do not add up to what the whole says.
    #[error("the number of entries is wrong")]
    Count,
    /// A chunk does not start or end where its run says.
    #[error("the keys are not those that the run says")]
    Keys,
}

/// Which chunk of which run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkId {
    /// The run.
    pub run: u64,
    /// Its number in the run, from 0.
    pub chunk: u32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct ChunkHead {
    version: U16,
    zero: U16,
    entries: U32,
    run: U64,
    chunk: U32,
    zero_too: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct EntryRow {
    key: [u8; Key::BYTES],
    kind: u8,
    flags: u8,
    wall_s: U32,
    place: U64,
    sequence: U64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct RunHead {
    version: U16,
    level: u8,
    zero: u8,
    chunks: U32,
    run: U64,
    entries: U64,
    gone: U64,
    first_key: [u8; Key::BYTES],
    last_key: [u8; Key::BYTES],
    zero_too: [u8; 4],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct ChunkRow {
    first_key: [u8; Key::BYTES],
    zero: [u8; 2],
    entries: U32,
    place: U64,
}

const _: () = assert!(size_of::<ChunkHead>() == 24);
const _: () = assert!(size_of::<EntryRow>() == 48);
const _: () = assert!(std::mem::offset_of!(EntryRow, kind) == 26);
const _: () = assert!(std::mem::offset_of!(EntryRow, wall_s) == 28);
const _: () = assert!(std::mem::offset_of!(EntryRow, place) == 32);
const _: () = assert!(std::mem::offset_of!(EntryRow, sequence) == 40);
const _: () = assert!(size_of::<RunHead>() == 88);
const _: () = assert!(std::mem::offset_of!(RunHead, first_key) == 32);
const _: () = assert!(std::mem::offset_of!(RunHead, last_key) == 58);
const _: () = assert!(size_of::<ChunkRow>() == 40);
const _: () = assert!(CHUNK_ENTRIES_MAX == 21_845 - 1);

impl DeltaKind {
    fn number(self) -> u8 {
        match self {
            DeltaKind::Live => 1,
            DeltaKind::Dead => 2,
            DeltaKind::Gone => 3,
        }
    }

    fn from_number(number: u8) -> Option<DeltaKind> {
        match number {
            1 => Some(DeltaKind::Live),
            2 => Some(DeltaKind::Dead),
            3 => Some(DeltaKind::Gone),
            _ => None,
        }
    }
}

/// The place of these bits, if they are one.
fn place_of(bits: u64) -> Option<Place> {
    let place = Place::unpack(bits);
    (place.pack() == bits).then_some(place)
}

impl EntryRow {
    fn new(entry: &Entry) -> EntryRow {
        entry.delta.assert_sound();
        EntryRow {
            key: entry.key.to_bytes(),
            kind: entry.delta.kind.number(),
            flags: entry.delta.flags,
            wall_s: U32::new(entry.delta.wall_s),
            place: U64::new(entry.delta.place.pack()),
            sequence: U64::new(entry.delta.sequence),
        }
    }

    /// The entry; `index` is only for the error.
    fn entry(&self, index: usize) -> Result<Entry, RunError> {
        let kind = DeltaKind::from_number(self.kind)
            .ok_or(RunError::Kind { entry: index, found: self.kind })?;
        let place = place_of(self.place.get()).ok_or(RunError::Place { entry: index })?;
        if kind != DeltaKind::Gone && place.dead != (kind == DeltaKind::Dead) {
            return Err(RunError::Place { entry: index });
        }
        let delta = Delta {
            kind,
            flags: self.flags,
            wall_s: self.wall_s.get(),
            place,
            sequence: self.sequence.get(),
        };
        Ok(Entry { key: Key::from_bytes(&self.key), delta })
    }
}

/// What a chunk was filled with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkWritten {
    /// Which one.
    pub id: ChunkId,
    /// Bytes of it, from the start of what was handed in.
    pub len_bytes: usize,
    /// Its entries,
    pub entries: u32,
    /// of which so many are gone.
    pub gone: u32,
    /// The first key.
    pub first_key: Key,
    /// The last key.
    pub last_key: Key,
}

/// Fills bytes with a chunk.
pub struct ChunkWriter<'a> {
    bytes: &'a mut [u8],
    id: ChunkId,
    entries: usize,
    gone: u32,
    /// First and last key so far.
    keys: Option<(Key, Key)>,
}

impl<'a> ChunkWriter<'a> {
    /// A chunk in the front of these bytes, which have room for at least one entry.
    pub fn new(bytes: &'a mut [u8], id: ChunkId) -> ChunkWriter<'a> {
        assert!(bytes.len() >= size_of::<ChunkHead>() + size_of::<EntryRow>());
        ChunkWriter { bytes, id, entries: 0, gone: 0, keys: None }
    }

    /// Whether there is room for another entry.
    pub fn has_room(&self) -> bool {
        let end = self.len_bytes() + size_of::<EntryRow>();
        end <= self.bytes.len().min(CHUNK_BYTES_MAX)
    }

    /// Appends an entry, greater than the one before it. There must be room.
    pub fn push(&mut self, entry: &Entry) {
        assert!(self.has_room(), "the chunk is full");
        let first = self.keys.map_or(entry.key, |(first, last)| {
            assert!(last < entry.key, "{} after {last}", entry.key);
            first
        });
        self.keys = Some((first, entry.key));
        let at = self.len_bytes();
        let row = EntryRow::new(entry);
        self.bytes[at..at + size_of::<EntryRow>()].copy_from_slice(row.as_bytes());
        self.entries += 1;
        self.gone += u32::from(entry.delta.kind == DeltaKind::Gone);
    }

    /// Writes the head. `None` if there was no entry.
    pub fn finish(self) -> Option<ChunkWritten> {
        let (first_key, last_key) = self.keys?;
        let entries = self.entries as u32;
        let len_bytes = self.len_bytes();
        let head = ChunkHead {
            version: U16::new(VERSION),
            zero: U16::ZERO,
            entries: U32::new(entries),
            run: U64::new(self.id.run),
            chunk: U32::new(self.id.chunk),
            zero_too: U32::ZERO,
        };
        self.bytes[..size_of::<ChunkHead>()].copy_from_slice(head.as_bytes());
        Some(ChunkWritten { id: self.id, len_bytes, entries, gone: self.gone, first_key, last_key })
    }

    fn len_bytes(&self) -> usize {
        size_of::<ChunkHead>() + self.entries * size_of::<EntryRow>()
    }
}

/// A chunk whose every entry was checked.
#[derive(Clone, Copy)]
pub struct ChunkReader<'a> {
    rows: &'a [EntryRow],
}

impl<'a> ChunkReader<'a> {
    /// Checks a chunk, which is to be this one. The bytes end with its last entry.
    pub fn new(bytes: &'a [u8], id: ChunkId) -> Result<ChunkReader<'a>, RunError> {
        let wrong_length = RunError::Length { len_bytes: bytes.len() };
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(wrong_length);
        }
        let (head, _) = ChunkHead::ref_from_prefix(bytes).map_err(|_| wrong_length)?;
        if head.version.get() != VERSION {
            return Err(RunError::Version { found: head.version.get() });
        }
        if head.zero != U16::ZERO || head.zero_too != U32::ZERO {
            return Err(RunError::Padding);
        }
        let found = ChunkId { run: head.run.get(), chunk: head.chunk.get() };
        if found != id {
            return Err(RunError::Other { found });
        }
        let reader = ChunkReader::unchecked(bytes).ok_or(wrong_length)?;
        if reader.rows.len() as u64 != u64::from(head.entries.get()) {
            return Err(wrong_length);
        }
        if reader.rows.is_empty() {
            return Err(RunError::Count);
        }
        let mut last: Option<&[u8; Key::BYTES]> = None;
        for (index, row) in reader.rows.iter().enumerate() {
            row.entry(index)?;
            if last.is_some_and(|last| *last >= row.key) {
                return Err(RunError::Unsorted { entry: index });
            }
            last = Some(&row.key);
        }
        Ok(reader)
    }

    /// The entries of bytes that went through [`ChunkReader::new`] before.
    fn unchecked(bytes: &'a [u8]) -> Option<ChunkReader<'a>> {
        let rows = bytes.get(size_of::<ChunkHead>()..)?;
        Some(ChunkReader { rows: <[EntryRow]>::ref_from_bytes(rows).ok()? })
    }

    /// Entries, at least one.
    #[expect(clippy::len_without_is_empty, reason = "no chunk is empty")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// An entry.
    pub fn get(&self, index: usize) -> Entry {
        self.rows[index].entry(index).expect("it was checked")
    }

    /// The entries.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry> + use<'a> {
        let reader = *self;
        (0..reader.len()).map(move |index| reader.get(index))
    }
}

/// Where a chunk is and what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkInfo {
    /// Its first key.
    pub first_key: Key,
    /// The record that holds it.
    pub place: Place,
    /// Its entries.
    pub entries: u32,
}

/// What the manifest says of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunInfo {
    /// Its number; never used again.
    pub id: u64,
    /// How many times its entries were merged.
    pub level: u8,
    /// Its entries,
    pub entries: u64,
    /// of which so many are gone.
    pub gone: u64,
    /// The first key.
    pub first_key: Key,
    /// The last key.
    pub last_key: Key,
    /// Its chunks, at least one.
    pub chunks: Vec<ChunkInfo>,
}

impl RunInfo {
    /// The run of these chunks, in order, each with the place of its record. `None` of none.
    pub fn new(id: u64, level: u8, chunks: &[(ChunkWritten, Place)]) -> Option<RunInfo> {
        let ((first, _), (last, _)) = (chunks.first()?, chunks.last()?);
        for (number, (chunk, _)) in chunks.iter().enumerate() {
            assert_eq!(chunk.id, ChunkId { run: id, chunk: number as u32 });
        }
        for pair in chunks.windows(2) {
            assert!(pair[0].0.last_key < pair[1].0.first_key, "chunks overlap");
        }
        Some(RunInfo {
            id,
            level,
            entries: chunks.iter().map(|(chunk, _)| u64::from(chunk.entries)).sum(),
            gone: chunks.iter().map(|(chunk, _)| u64::from(chunk.gone)).sum(),
            first_key: first.first_key,
            last_key: last.last_key,
            chunks: chunks
                .iter()
                .map(|&(ChunkWritten { first_key, entries, .. }, place)| ChunkInfo {
                    first_key,
                    place,
                    entries,
                })
                .collect(),
        })
    }

    /// Encoded size.
    pub fn len_bytes(&self) -> usize {
        size_of::<RunHead>() + self.chunks.len() * size_of::<ChunkRow>()
    }

    /// Appends its bytes.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let head = RunHead {
            version: U16::new(VERSION),
            level: self.level,
            zero: 0,
            chunks: U32::new(u32::try_from(self.chunks.len()).expect("chunks are few")),
            run: U64::new(self.id),
            entries: U64::new(self.entries),
            gone: U64::new(self.gone),
            first_key: self.first_key.to_bytes(),
            last_key: self.last_key.to_bytes(),
            zero_too: [0; 4],
        };
        bytes.extend_from_slice(head.as_bytes());
        for chunk in &self.chunks {
            let row = ChunkRow {
                first_key: chunk.first_key.to_bytes(),
                zero: [0; 2],
                entries: U32::new(chunk.entries),
                place: U64::new(chunk.place.pack()),
            };
            bytes.extend_from_slice(row.as_bytes());
        }
    }

    /// The run at the start of these bytes, and the bytes behind it.
    pub fn decode(bytes: &[u8]) -> Result<(RunInfo, &[u8]), RunError> {
        let wrong_length = RunError::Length { len_bytes: bytes.len() };
        let (head, rest) = RunHead::ref_from_prefix(bytes).map_err(|_| wrong_length)?;
        if head.version.get() != VERSION {
            return Err(RunError::Version { found: head.version.get() });
        }
        if head.zero != 0 || head.zero_too != [0; 4] {
            return Err(RunError::Padding);
        }
        let count = head.chunks.get() as usize;
        let (rows, rest) =
            <[ChunkRow]>::ref_from_prefix_with_elems(rest, count).map_err(|_| wrong_length)?;
        let (first_key, last_key) =
            (Key::from_bytes(&head.first_key), Key::from_bytes(&head.last_key));
        let mut chunks = Vec::with_capacity(rows.len());
        let mut entries = 0;
        for (index, row) in rows.iter().enumerate() {
            if row.zero != [0; 2] {
                return Err(RunError::Padding);
            }
            let place = place_of(row.place.get()).filter(|place| !place.dead);
            let place = place.ok_or(RunError::Place { entry: index })?;
            let chunk = ChunkInfo {
                first_key: Key::from_bytes(&row.first_key),
                place,
                entries: row.entries.get(),
            };
            if !(1..=CHUNK_ENTRIES_MAX).contains(&(chunk.entries as usize)) {
                return Err(RunError::Count);
            }
            if chunks.last().is_some_and(|last: &ChunkInfo| last.first_key >= chunk.first_key) {
                return Err(RunError::Unsorted { entry: index });
            }
            entries += u64::from(chunk.entries);
            chunks.push(chunk);
        }
        if entries == 0 || entries != head.entries.get() || head.gone.get() > entries {
            return Err(RunError::Count);
        }
        let (first, last) = (&chunks[0], &chunks[chunks.len() - 1]);
        // A chunk of one entry ends where it starts.
        let ends =
            if last.entries == 1 { last.first_key == last_key } else { last.first_key < last_key };
        if first.first_key != first_key || !ends {
            return Err(RunError::Keys);
        }
        let (id, level, gone) = (head.run.get(), head.level, head.gone.get());
        Ok((RunInfo { id, level, entries, gone, first_key, last_key, chunks }, rest))
    }

    /// Checks one of its chunks: as [`ChunkReader::new`] does, and that it is what the run says.
    pub fn chunk<'a>(&self, chunk: usize, bytes: &'a [u8]) -> Result<ChunkReader<'a>, RunError> {
        let info = &self.chunks[chunk];
        let reader = ChunkReader::new(bytes, ChunkId { run: self.id, chunk: chunk as u32 })?;
        if reader.len() != info.entries as usize {
            return Err(RunError::Count);
        }
        let (first, last) = (reader.get(0).key, reader.get(reader.len() - 1).key);
        let ends = match self.chunks.get(chunk + 1) {
            Some(next) => last < next.first_key,
            None => last == self.last_key,
        };
        if first != info.first_key || !ends {
            return Err(RunError::Keys);
        }
        Ok(reader)
    }

    /// The chunk in which a key would be, if the run may have it.
    pub fn chunk_of(&self, key: &Key) -> Option<usize> {
        if *key > self.last_key {
            return None;
        }
        self.chunks.partition_point(|chunk| chunk.first_key <= *key).checked_sub(1)
    }
}

/// The entry of a chunk that was checked with [`RunInfo::chunk`] before; `None` past the last.
pub(super) fn checked_entry(bytes: &[u8], index: usize) -> Option<Entry> {
    let reader = ChunkReader::unchecked(bytes).expect("it was checked");
    (index < reader.len()).then(|| reader.get(index))
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{Domain, Draws};

    use super::*;
    use crate::ExtentId;

    const ID: ChunkId = ChunkId { run: 0x0102_0304, chunk: 1 };

    fn entry(object: u128, kind: DeltaKind, draws: &mut Draws) -> Entry {
        let place = Place {
            extent: ExtentId(draws.below(1 << 20) as u32),
            block: draws.below(1 << 16) as u32,
            blocks: draws.below(512) as u16,
            dead: kind == DeltaKind::Dead,
        };
        let (flags, wall_s) = (draws.next_u64() as u8, draws.next_u64() as u32);
        let delta = Delta { kind, flags, wall_s, place, sequence: draws.next_u64() };
        Entry { key: Key { object, ..Key::MIN }, delta }
    }

    fn entries(count: u64, draws: &mut Draws) -> Vec<Entry> {
        let kinds = [DeltaKind::Live, DeltaKind::Dead, DeltaKind::Gone];
        let mut object = 0;
        (0..count)
            .map(|_| {
                object += 1 + u128::from(draws.below(3));
                entry(object, kinds[draws.below(3) as usize], draws)
            })
            .collect()
    }

    fn chunk(entries: &[Entry], id: ChunkId) -> (Vec<u8>, ChunkWritten) {
        let mut bytes = vec![0xaa; CHUNK_BYTES_MAX];
        let mut writer = ChunkWriter::new(&mut bytes, id);
        for entry in entries {
            writer.push(entry);
        }
        let written = writer.finish().expect("entries");
        bytes.truncate(written.len_bytes);
        (bytes, written)
    }

    /// A run of two chunks, and their bytes.
    fn run(draws: &mut Draws) -> (RunInfo, [Vec<u8>; 2]) {
        let all = entries(5, draws);
        let parts = [&all[..3], &all[3..]];
        let made = [0, 1].map(|i| chunk(parts[i], ChunkId { run: 7, chunk: i as u32 }));
        let place = |block| Place { extent: ExtentId(9), block, blocks: 2, dead: false };
        let chunks = [(made[0].1, place(4)), (made[1].1, place(6))];
        (RunInfo::new(7, 2, &chunks).expect("two chunks"), made.map(|(bytes, _)| bytes))
    }

    fn draws(seed: u64) -> Draws {
        println!("seed {seed}");
        Draws::new(seed, Domain::new("store.index.run"), 0)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_of_a_chunk() {
        let key = Key { group: 1, object: 2, stripe: 3, position: 4 };
        let place = Place { extent: ExtentId(5), block: 6, blocks: 7, dead: false };
        let (kind, flags) = (DeltaKind::Live, 8);
        let live = Delta { kind, flags, wall_s: 9, place, sequence: 10 };
        let (kind, place) = (DeltaKind::Dead, Place { dead: true, ..place });
        let dead = Delta { kind, place, sequence: 11, ..live };
        let next = Key { position: 5, ..key };
        let (bytes, written) =
            chunk(&[Entry { key, delta: live }, Entry { key: next, delta: dead }], ID);
        assert_eq!((written.entries, written.gone, written.len_bytes), (2, 0, 24 + 96));
        assert_eq!((written.first_key, written.last_key), (key, next));
        assert_eq!(
            hex(&bytes),
            concat!(
                "0100",
                "0000",
                "02000000",
                "0403020100000000",
                "01000000",
                "00000000",
                "00000001",
                "00000000000000000000000000000002",
                "00000003",
                "0004",
                "01",
                "08",
                "09000000",
                "0500600070000000",
                "0a00000000000000",
                "00000001",
                "00000000000000000000000000000002",
                "00000003",
                "0005",
                "02",
                "08",
                "09000000",
                "0500600070200000",
                "0b00000000000000",
            )
        );
    }

    #[test]
    fn the_bytes_of_a_run() {
        let (first_key, last_key) = (Key { group: 1, ..Key::MIN }, Key { group: 2, ..Key::MIN });
        let place = Place { extent: ExtentId(5), block: 6, blocks: 7, dead: false };
        let chunks = vec![ChunkInfo { first_key, place, entries: 3 }];
        let run = RunInfo { id: 8, level: 1, entries: 3, gone: 2, first_key, last_key, chunks };
        let mut bytes = Vec::new();
        run.encode(&mut bytes);
        assert_eq!(bytes.len(), run.len_bytes());
        assert_eq!(
            hex(&bytes),
            concat!(
                "0100",
                "01",
                "00",
                "01000000",
                "0800000000000000",
                "0300000000000000",
                "0200000000000000",
                "00000001",
                "00000000000000000000000000000000",
                "00000000",
                "0000",
                "00000002",
                "00000000000000000000000000000000",
                "00000000",
                "0000",
                "00000000",
                "00000001",
                "00000000000000000000000000000000",
                "00000000",
                "0000",
                "0000",
                "03000000",
                "0500600070000000",
            )
        );
        bytes.push(0x77);
        assert_eq!(RunInfo::decode(&bytes), Ok((run, &[0x77][..])));
    }

    #[test]
    fn what_is_written_is_read() {
        for seed in 0..20 {
            let draws = &mut draws(seed);
            let count = 1 + draws.below(300);
            let entries = entries(count, draws);
            let (bytes, written) = chunk(&entries, ID);
            let reader = ChunkReader::new(&bytes, ID).expect("a chunk");
            assert!(reader.iter().eq(entries.iter().copied()));
            assert_eq!(written.entries as usize, reader.len());
            let gone = entries.iter().filter(|e| e.delta.kind == DeltaKind::Gone).count();
            assert_eq!(written.gone as usize, gone);
        }
    }

    #[test]
    fn a_full_chunk_is_a_mebibyte() {
        let draws = &mut draws(1);
        let mut bytes = vec![0; CHUNK_BYTES_MAX + 4096];
        let mut writer = ChunkWriter::new(&mut bytes, ID);
        let mut object = 0;
        while writer.has_room() {
            object += 1;
            writer.push(&entry(object, DeltaKind::Live, draws));
        }
        let written = writer.finish().expect("entries");
        assert_eq!(written.entries as usize, CHUNK_ENTRIES_MAX);
        assert!(written.len_bytes > CHUNK_BYTES_MAX - 48 && written.len_bytes <= CHUNK_BYTES_MAX);
        assert!(ChunkReader::new(&bytes[..written.len_bytes], ID).is_ok());
        assert!(ChunkWriter::new(&mut bytes, ID).finish().is_none());
    }

    #[test]
    fn each_damage_has_its_error() {
        let draws = &mut draws(2);
        let kinds = [DeltaKind::Live, DeltaKind::Live, DeltaKind::Gone];
        let rows: Vec<Entry> = (0..3).map(|i| entry(i as u128, kinds[i], draws)).collect();
        let (good, _) = chunk(&rows, ID);
        let broken = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            ChunkReader::new(&bytes, ID).err()
        };
        let length = |len_bytes| Some(RunError::Length { len_bytes });
        assert_eq!(broken(&|_| ()), None);
        assert_eq!(broken(&|bytes| bytes.truncate(0)), length(0));
        assert_eq!(broken(&|bytes| bytes.truncate(100)), length(100));
        assert_eq!(broken(&|bytes| bytes.truncate(24 + 96)), length(24 + 96));
        assert_eq!(broken(&|bytes| bytes.resize(CHUNK_BYTES_MAX + 1, 0)), length((1 << 20) + 1));
        assert_eq!(broken(&|bytes| bytes[0] = 2), Some(RunError::Version { found: 2 }));
        assert_eq!(broken(&|bytes| bytes[2] = 1), Some(RunError::Padding));
        assert_eq!(broken(&|bytes| bytes[20] = 1), Some(RunError::Padding));
        let found = ChunkId { chunk: 0, ..ID };
        assert_eq!(broken(&|bytes| bytes[16] = 0), Some(RunError::Other { found }));
        let row = 24 + 48;
        let kind = Some(RunError::Kind { entry: 1, found: 4 });
        assert_eq!(broken(&|bytes| bytes[row + 26] = 4), kind);
        let place = Some(RunError::Place { entry: 1 });
        assert_eq!(broken(&|bytes| bytes[row + 26] = 2), place);
        assert_eq!(broken(&|bytes| bytes[row + 32 + 6] = 1), place);
        assert_eq!(broken(&|bytes| bytes[row + 19] = 0), Some(RunError::Unsorted { entry: 1 }));
        assert_eq!(
            broken(&|bytes| {
                bytes.truncate(24);
                bytes[4] = 0;
            }),
            Some(RunError::Count)
        );
    }

    #[test]
    fn a_chunk_is_held_against_its_run() {
        let (run, chunks) = run(&mut draws(3));
        for (number, bytes) in chunks.iter().enumerate() {
            let reader = run.chunk(number, bytes).expect("its chunk");
            assert_eq!(reader.len() as u32, run.chunks[number].entries);
            for entry in reader.iter() {
                assert_eq!(run.chunk_of(&entry.key), Some(number));
            }
            let number = number as u32;
            let found = ChunkId { run: 7, chunk: number };
            let other = run.chunk(1 - number as usize, bytes).err();
            assert_eq!(other, Some(RunError::Other { found }));
        }
        assert_eq!(run.chunk_of(&Key::MIN), None);
        assert_eq!(run.chunk_of(&Key::MAX), None);
        let mut shorter = run.clone();
        shorter.last_key = shorter.chunks[1].first_key;
        assert_eq!(shorter.chunk(1, &chunks[1]).err(), Some(RunError::Keys));
        shorter.chunks[0].entries = 2;
        assert_eq!(shorter.chunk(0, &chunks[0]).err(), Some(RunError::Count));
    }

    #[test]
    fn no_bytes_make_a_reader_panic() {
        let mut passed = [0; 2];
        for seed in 0..300 {
            let draws = &mut Draws::new(seed, Domain::new("store.index.run"), 1);
            let (info, [bytes, _]) = run(draws);
            let id = ChunkId { run: 7, chunk: 0 };
            let mut head = Vec::new();
            info.encode(&mut head);
            for _ in 0..50 {
                let mut chunk = mutated(&bytes, draws);
                if let Ok(reader) = ChunkReader::new(&chunk, id) {
                    passed[0] += 1;
                    assert!(reader.iter().map(|entry| entry.key).is_sorted(), "seed {seed}");
                }
                let _ = info.chunk(0, &chunk);
                chunk.fill_with(|| draws.next_u64() as u8);
                assert!(ChunkReader::new(&chunk, id).is_err(), "seed {seed}");

                let mut head = mutated(&head, draws);
                if let Ok((run, rest)) = RunInfo::decode(&head) {
                    passed[1] += 1;
                    let mut again = Vec::new();
                    run.encode(&mut again);
                    again.extend_from_slice(rest);
                    assert_eq!(again, head, "seed {seed}");
                }
                head.fill_with(|| draws.next_u64() as u8);
                assert!(RunInfo::decode(&head).is_err(), "seed {seed}");
            }
        }
        // Some changes do no harm that could be seen here: a time, a sequence, a place.
        assert!(passed.iter().all(|&count| count > 100), "{passed:?}");
    }

    /// A few bytes changed, or some cut off or added.
    fn mutated(bytes: &[u8], draws: &mut Draws) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..1 + draws.below(3) {
            let at = draws.below(bytes.len() as u64) as usize;
            match draws.below(8) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.push(draws.next_u64() as u8),
                2 => bytes[at] ^= 1 << draws.below(8),
                3 => bytes[at] = [0, 1, 0x7f, 0xff][draws.below(4) as usize],
                _ => bytes[at] = draws.next_u64() as u8,
            }
        }
        bytes
    }
}
