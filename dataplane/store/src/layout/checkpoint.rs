//! A checkpoint: the state of the whole disk but for its shards, as the two meta extents hold it.
//!
//! ```text
//! checkpoint = parts of at most the longest payload, each in a record of kind Checkpoint whose
//! key is { group: part, object: number, stripe: parts, position: 0 }, whose epoch is the number
//! of the durable checkpoint before it, and whose expiry is the blocks of an extent; together:
//!
//!   0 version        2   20 extent blocks  4   40 next sequence    8   64 extent rows     4
//!   2 clean          1   24 extents        4   48 next incarnation 8   68 bytes of runs   4
//!   3 retired        1   28 payload max    4   56 written, s       4   72 bytes of profile 4
//!   4 disk uuid     16   32 number         8   60 formatted, s     4   76 CRC of the rest 4
//!  80 extent rows, 24 bytes each | runs | profile
//!
//! extent row: 0 incarnation 8 | 8 written blocks 4 | 12 state 1 | 13 stream 1 | 14 suspect 1
//!            15 zero 1 | 16 newest, s 4 | 20 verified, s 4
//! ```
//!
//! What must always hold: checkpoints go to the two meta extents in turn, and an extent that one
//! of them freed is used again only after the next. So the disk can be recovered from either of
//! the last two.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::crc32c;
use crate::{Key, Place};

/// Version of what is described above.
pub const CHECKPOINT_VERSION: u16 = 1;

/// What an extent is to the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    /// Holds checkpoints.
    Meta = 0,
    /// Empty.
    Free = 1,
    /// Empty, and named as one of the next to be opened: recovery looks there.
    Next = 2,
    /// Appended to.
    Open = 3,
    /// Full, or closed for another reason.
    Sealed = 4,
    /// Nothing in it counts any more; empty once the next checkpoint is durable.
    Dead = 5,
    /// Nothing in it counts, but it could not be emptied: what it held is still there.
    Offline = 6,
}

impl State {
    fn from_u8(byte: u8) -> Option<State> {
        use State::{Dead, Free, Meta, Next, Offline, Open, Sealed};
        [Meta, Free, Next, Open, Sealed, Dead, Offline].into_iter().find(|s| *s as u8 == byte)
    }
}

/// What is appended together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Stream {
    /// New shards and tombstones.
    Fresh = 0,
    /// New shards that expire at about the same time.
    Expiring = 1,
    /// Moved by the cleaner, not long after it was written.
    Warm = 2,
    /// Moved by the cleaner, old.
    Cold = 3,
    /// Chunks of index runs.
    Index = 4,
}

impl Stream {
    /// All of them.
    pub const ALL: [Stream; 5] =
        [Stream::Fresh, Stream::Expiring, Stream::Warm, Stream::Cold, Stream::Index];

    pub(super) fn from_u8(byte: u8) -> Option<Stream> {
        Stream::ALL.into_iter().find(|stream| *stream as u8 == byte)
    }
}

/// An extent in a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtentRow {
    /// Its present life; what it will be, for one that is next.
    pub incarnation: u64,
    /// Blocks that were written and are known to be durable.
    pub written: u32,
    /// What it is.
    pub state: State,
    /// What it holds.
    pub stream: Stream,
    /// A read of it failed: nothing more is appended in this life.
    pub suspect: bool,
    /// When its newest record was put, in seconds since 1970.
    pub newest_s: u32,
    /// When it was last read and checked as a whole; 0 is never.
    pub verified_s: u32,
}

/// The state of a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The disk.
    pub uuid: [u8; 16],
    /// Blocks of an extent, as far as they can be written.
    pub extent_blocks: u32,
    /// Longest payload of a record.
    pub payload_max: u32,
    /// One more than that of the checkpoint before.
    pub number: u64,
    /// The store was closed and nothing was written afterwards.
    pub clean: bool,
    /// The disk is being taken out of service: nothing new is put.
    pub retired: bool,
    /// Greater than every sequence in use.
    pub next_sequence: u64,
    /// Greater than every incarnation in use.
    pub next_incarnation: u64,
    /// When it was written, in seconds since 1970.
    pub written_s: u32,
    /// When the disk was formatted.
    pub formatted_s: u32,
    /// One row for each extent.
    pub extents: Vec<ExtentRow>,
    /// The runs of the index, as the index encodes them.
    pub runs: Vec<u8>,
    /// The calibration of the disk, as the scheduler encodes it.
    pub profile: Vec<u8>,
}

/// Why bytes are not a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Shorter or longer than it says.
    #[error("the checkpoint is not as long as it says")]
    Length,
    /// Written by a later version.
    #[error("the checkpoint is of version {0}, which this program does not know")]
    Version(u16),
    /// Damaged.
    #[error("the checkpoint's checksum is wrong")]
    Checksum,
    /// Sound, but its fields contradict each other.
    #[error("the checkpoint contradicts itself")]
    Contradiction,
}

/// Which part of which checkpoint a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Of the checkpoint.
    pub number: u64,
    /// Which part.
    pub part: u32,
    /// Of so many.
    pub parts: u32,
}

impl Part {
    /// As the key of its record.
    pub fn to_key(self) -> Key {
        Key { group: self.part, object: u128::from(self.number), stripe: self.parts, position: 0 }
    }

    /// The inverse; `None` if the key is none of a part.
    pub fn from_key(key: &Key) -> Option<Part> {
        let number = u64::try_from(key.object).ok()?;
        (key.position == 0 && key.group < key.stripe).then_some(Part {
            number,
            part: key.group,
            parts: key.stripe,
        })
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    version: U16,
    clean: u8,
    retired: u8,
    uuid: [u8; 16],
    extent_blocks: U32,
    extents: U32,
    payload_max: U32,
    number: U64,
    next_sequence: U64,
    next_incarnation: U64,
    written_s: U32,
    formatted_s: U32,
    rows: U32,
    runs_bytes: U32,
    profile_bytes: U32,
    crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Row {
    incarnation: U64,
    written: U32,
    state: u8,
    stream: u8,
    suspect: u8,
    zero: u8,
    newest_s: U32,
    verified_s: U32,
}

const _: () = assert!(size_of::<Header>() == 80);
const _: () = assert!(size_of::<Row>() == 24);

impl Checkpoint {
    /// Its encoded length.
    pub fn len_bytes(&self) -> usize {
        let rows = self.extents.len() * size_of::<Row>();
        size_of::<Header>() + rows + self.runs.len() + self.profile.len()
    }

    /// Encoded, to be cut into parts.
    pub fn encode(&self) -> Vec<u8> {
        let rows = self.extents.len();
        let mut out = vec![0; size_of::<Header>()];
        out.reserve(rows * size_of::<Row>() + self.runs.len() + self.profile.len());
        for row in &self.extents {
            let row = Row {
                incarnation: row.incarnation.into(),
                written: row.written.into(),
                state: row.state as u8,
                stream: row.stream as u8,
                suspect: u8::from(row.suspect),
                zero: 0,
                newest_s: row.newest_s.into(),
                verified_s: row.verified_s.into(),
            };
            out.extend_from_slice(row.as_bytes());
        }
        out.extend_from_slice(&self.runs);
        out.extend_from_slice(&self.profile);
        let size = |len: usize| U32::new(u32::try_from(len).expect("a checkpoint is small"));
        let header = Header {
            version: CHECKPOINT_VERSION.into(),
            clean: u8::from(self.clean),
            retired: u8::from(self.retired),
            uuid: self.uuid,
            extent_blocks: self.extent_blocks.into(),
            extents: size(rows),
            payload_max: self.payload_max.into(),
            number: self.number.into(),
            next_sequence: self.next_sequence.into(),
            next_incarnation: self.next_incarnation.into(),
            written_s: self.written_s.into(),
            formatted_s: self.formatted_s.into(),
            rows: size(rows),
            runs_bytes: size(self.runs.len()),
            profile_bytes: size(self.profile.len()),
            crc: crc32c(&out[size_of::<Header>()..]).into(),
        };
        out[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        assert_eq!(out.len(), self.len_bytes(), "as long as was reckoned");
        out
    }

    /// The inverse of [`Checkpoint::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| CheckpointError::Length)?;
        if header.version.get() != CHECKPOINT_VERSION {
            return Err(CheckpointError::Version(header.version.get()));
        }
        if crc32c(rest) != header.crc.get() {
            return Err(CheckpointError::Checksum);
        }
        let rows_bytes = header.rows.get() as usize * size_of::<Row>();
        let runs_bytes = header.runs_bytes.get() as usize;
        let profile_bytes = header.profile_bytes.get() as usize;
        if rest.len() != rows_bytes + runs_bytes + profile_bytes {
            return Err(CheckpointError::Length);
        }
        let (rows, rest) = rest.split_at(rows_bytes);
        let (runs, profile) = rest.split_at(runs_bytes);
        let extents = <[Row]>::ref_from_bytes(rows)
            .map_err(|_| CheckpointError::Length)?
            .iter()
            .map(|row| Checkpoint::row(row, header.extent_blocks.get()))
            .collect::<Option<Vec<ExtentRow>>>()
            .ok_or(CheckpointError::Contradiction)?;
        if header.extents != header.rows
            || extents.len() < 4
            || extents.len() > Place::EXTENTS_MAX as usize
            || !(4..=Place::EXTENT_BLOCKS_MAX).contains(&header.extent_blocks.get())
            || header.clean > 1
            || header.retired > 1
        {
            return Err(CheckpointError::Contradiction);
        }
        Ok(Checkpoint {
            uuid: header.uuid,
            extent_blocks: header.extent_blocks.get(),
            payload_max: header.payload_max.get(),
            number: header.number.get(),
            clean: header.clean == 1,
            retired: header.retired == 1,
            next_sequence: header.next_sequence.get(),
            next_incarnation: header.next_incarnation.get(),
            written_s: header.written_s.get(),
            formatted_s: header.formatted_s.get(),
            extents,
            runs: runs.to_vec(),
            profile: profile.to_vec(),
        })
    }

    fn row(row: &Row, extent_blocks: u32) -> Option<ExtentRow> {
        if row.written.get() > extent_blocks || row.suspect > 1 {
            return None;
        }
        Some(ExtentRow {
            incarnation: row.incarnation.get(),
            written: row.written.get(),
            state: State::from_u8(row.state)?,
            stream: Stream::from_u8(row.stream)?,
            suspect: row.suspect == 1,
            newest_s: row.newest_s.get(),
            verified_s: row.verified_s.get(),
        })
    }
}
