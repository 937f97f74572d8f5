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

mod chunk;
#[cfg(test)]
mod tests;

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Key, Place};
pub use chunk::{
    CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, ChunkId, ChunkReader, ChunkWriter, ChunkWritten,
};
pub(super) use chunk::{checked_entry, checked_key};

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

const _: () = assert!(size_of::<RunHead>() == 88);
const _: () = assert!(std::mem::offset_of!(RunHead, first_key) == 32);
const _: () = assert!(std::mem::offset_of!(RunHead, last_key) == 58);
const _: () = assert!(size_of::<ChunkRow>() == 40);

/// The place of these bits, if they are one.
fn place_of(bits: u64) -> Option<Place> {
    let place = Place::unpack(bits);
    (place.pack() == bits).then_some(place)
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
