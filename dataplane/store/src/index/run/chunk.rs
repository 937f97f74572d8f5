//! Chunks of a run: entries as bytes. [`super`] draws them.
//!
//! What must always hold: entries ascend strictly; kind and place agree on what is a tombstone.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{RunError, VERSION, place_of};
use crate::Key;
use crate::index::memtable::{Delta, DeltaKind, Entry};

/// Bytes of a chunk, at most.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// Entries of a chunk, at most.
pub const CHUNK_ENTRIES_MAX: usize =
    (CHUNK_BYTES_MAX - size_of::<ChunkHead>()) / size_of::<EntryRow>();

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

const _: () = assert!(size_of::<ChunkHead>() == 24);
const _: () = assert!(size_of::<EntryRow>() == 48);
const _: () = assert!(std::mem::offset_of!(EntryRow, kind) == 26);
const _: () = assert!(std::mem::offset_of!(EntryRow, wall_s) == 28);
const _: () = assert!(std::mem::offset_of!(EntryRow, place) == 32);
const _: () = assert!(std::mem::offset_of!(EntryRow, sequence) == 40);
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
    #[inline]
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

    /// The place of the first entry whose key is not less than this one; [`ChunkReader::len`] if
    /// all are.
    pub fn position(&self, key: &Key) -> usize {
        let key = key.to_bytes();
        self.rows.partition_point(|row| row.key < key)
    }

    /// The entries.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry> + use<'a> {
        let reader = *self;
        (0..reader.len()).map(move |index| reader.get(index))
    }
}

/// The key of an entry of a chunk that was checked before.
#[inline]
pub(in crate::index) fn checked_key(bytes: &[u8], index: usize) -> Key {
    Key::from_bytes(&row(bytes, index).key)
}

/// An entry of a chunk that was checked before.
#[inline]
pub(in crate::index) fn checked_entry(bytes: &[u8], index: usize) -> Entry {
    row(bytes, index).entry(index).expect("it was checked")
}

#[inline]
fn row(bytes: &[u8], index: usize) -> &EntryRow {
    let at = size_of::<ChunkHead>() + index * size_of::<EntryRow>();
    EntryRow::ref_from_bytes(&bytes[at..at + size_of::<EntryRow>()]).expect("as long as a row")
}
