//! What a disk of another machine answers.
//!
//! ```text
//!  0       20      28    54      55     56      60      68          76      80     84     128
//!  | front | wait  | key | codec | doubt | bytes | epoch | sequence  | put_s | from | zeros |
//! ```
//!
//! The kind is 0x80 plus the outcome: 0 is well, each cause of failure has its number. The
//! numbers are never used again for something else.
//!
//! What must always hold: a caller can act on what it reads: whether to try another disk, to wait
//! and how long, to repair, or to give up.

use isotherm_seam::{Key, Nanos};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::envelope::FRONT_BYTES;
use crate::{Envelope, HEADER_BYTES, HeaderBytes, WireError};

/// An answer, but for its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The version of the request.
    pub version: u8,
    /// What the disk says of its own memory.
    pub doubt: Doubt,
    /// How it went.
    pub outcome: Result<Given, Failure>,
}

/// Whether a disk may have lost what it had acknowledged, tombstones above all. It lasts until a
/// repair has compared all that the disk holds with other members.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
pub enum Doubt {
    /// Nothing speaks for it.
    #[default]
    None = 0,
    /// It was not stopped in good order. A disk that keeps its promises has lost nothing; of one
    /// that doesn't, the last writes may be gone without a trace.
    Unclean = 1,
    /// It found harm: places where something was that it can't read or that is not what it was.
    Harmed = 2,
}

impl Doubt {
    /// As reports have it.
    pub fn word(self) -> &'static str {
        match self {
            Doubt::None => "none",
            Doubt::Unclean => "unclean",
            Doubt::Harmed => "harmed",
        }
    }

    /// From its number. One that only a later version knows is not taken for less.
    pub fn from_number(number: u8) -> Doubt {
        match number {
            0 => Doubt::None,
            1 => Doubt::Unclean,
            _ => Doubt::Harmed,
        }
    }
}

/// What is given. Which one comes is the request's to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Given {
    /// Of a put, get, stat, verify: what the record says of itself.
    pub shard: ShardInfo,
    /// Of a range get: the first byte of the payload that the body holds.
    pub from: u32,
    /// Of a listing: where to go on.
    pub next: Option<Key>,
    /// Of a status: how long a read would wait for the disk, to the microsecond.
    pub expected: Nanos,
}

/// What the record of a shard says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardInfo {
    /// Its name.
    pub key: Key,
    /// As put.
    pub epoch: u64,
    /// As put.
    pub codec: u8,
    /// Length of the whole payload.
    pub len_bytes: u32,
    /// Its number among all changes of its disk.
    pub sequence: u64,
    /// When it was put, in seconds since 1970.
    pub put_s: u32,
}

/// Why it failed. The number is what stands on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// Never put, or deleted long ago.
    #[error("no such shard")]
    NotFound,
    /// Deleted, and the tombstone is still kept.
    #[error("the shard was deleted")]
    Deleted,
    /// The range ends beyond the payload.
    #[error("the range is beyond the payload")]
    OutOfRange,
    /// The medium can't be read there. Repair it from others.
    #[error("the disk can't read the shard")]
    Io,
    /// What is there is not what was put. Repair it from others.
    #[error("the shard is damaged")]
    Damaged,
    /// The queue is so long that the deadline can't be met.
    #[error("busy: about {} ms", expected.as_millis_f64())]
    Busy {
        /// The expected wait, to the microsecond.
        expected: Nanos,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    Late,
    /// No room.
    #[error("the disk is full")]
    Full,
    /// The index has as many entries as its ceiling allows.
    #[error("the index of the disk is full")]
    IndexFull,
    /// The body is not what was sent.
    #[error("the payload does not have its CRC")]
    Mismatch,
    /// Longer than a shard may be on this disk.
    #[error("longer than a shard may be there")]
    TooLong,
    /// The disk takes no more writes after an error. Its data can be read.
    #[error("the disk no longer takes writes after an error")]
    Fenced,
    /// The disk is being taken out of service.
    #[error("the disk is being retired")]
    Retired,
    /// No buffer is free. Later.
    #[error("the node has no buffer free")]
    NoBuffer,
    /// No such disk on this core of this node: the cluster map is old, or wrong.
    #[error("no such disk there")]
    WrongDisk,
    /// The disk is there and not open: it is being opened, or could not be.
    #[error("the disk is not open")]
    NotOpen,
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// A request that makes no sense.
    #[error("the request can't be understood")]
    BadRequest,
}

const ANSWER: u8 = 0x80;
const FLAG_NEXT: u16 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Fields {
    wait_us: U64,
    key: [u8; Key::BYTES],
    codec: u8,
    doubt: u8,
    len_bytes: U32,
    epoch: U64,
    sequence: U64,
    put_s: U32,
    from: U32,
    next: [u8; Key::BYTES],
    pad_end: [u8; 18],
}

const _: () = assert!(FRONT_BYTES + size_of::<Fields>() == HEADER_BYTES);

impl Failure {
    /// Every failure with its number on the wire.
    pub const ALL: [(u8, Failure); 18] = [
        (1, Failure::NotFound),
        (2, Failure::Deleted),
        (3, Failure::OutOfRange),
        (4, Failure::Io),
        (5, Failure::Damaged),
        (6, Failure::Busy { expected: Nanos::ZERO }),
        (7, Failure::Late),
        (8, Failure::Full),
        (9, Failure::IndexFull),
        (10, Failure::Mismatch),
        (11, Failure::TooLong),
        (12, Failure::Fenced),
        (13, Failure::Retired),
        (14, Failure::NoBuffer),
        (15, Failure::WrongDisk),
        (16, Failure::NotOpen),
        (17, Failure::Stopping),
        (18, Failure::BadRequest),
    ];

    fn number(self) -> u8 {
        let same =
            |other: &Failure| core::mem::discriminant(other) == core::mem::discriminant(&self);
        Failure::ALL.iter().find(|(_, other)| same(other)).expect("each has a number").0
    }

    fn from_number(number: u8, wait_us: u64) -> Option<Failure> {
        match Failure::ALL.iter().find(|(other, _)| *other == number)?.1 {
            Failure::Busy { .. } => {
                Some(Failure::Busy { expected: Nanos(wait_us.saturating_mul(1000)) })
            }
            failure => Some(failure),
        }
    }
}

impl Answer {
    /// A good answer.
    pub fn ok(version: u8, given: Given) -> Answer {
        Answer { version, doubt: Doubt::None, outcome: Ok(given) }
    }

    /// A failure.
    pub fn failed(version: u8, failure: Failure) -> Answer {
        Answer { version, doubt: Doubt::None, outcome: Err(failure) }
    }

    /// The same from a disk of such doubt.
    pub fn doubted(self, doubt: Doubt) -> Answer {
        Answer { doubt, ..self }
    }

    /// The header of this answer with a body of this length and CRC.
    pub fn encode(&self, body_bytes: u32, body_crc: u32) -> HeaderBytes {
        let mut fields = Fields::new_zeroed();
        fields.doubt = self.doubt as u8;
        let mut flags = 0;
        let kind = match &self.outcome {
            Ok(Given { shard, from, next, expected }) => {
                fields.wait_us = U64::new(expected.0.div_ceil(1000));
                fields.key = shard.key.to_bytes();
                fields.codec = shard.codec;
                fields.len_bytes = U32::new(shard.len_bytes);
                fields.epoch = U64::new(shard.epoch);
                fields.sequence = U64::new(shard.sequence);
                fields.put_s = U32::new(shard.put_s);
                fields.from = U32::new(*from);
                if let Some(next) = next {
                    flags = FLAG_NEXT;
                    fields.next = next.to_bytes();
                }
                ANSWER
            }
            Err(failure) => {
                assert!(body_bytes == 0, "a failure has no body");
                if let Failure::Busy { expected } = failure {
                    fields.wait_us = U64::new(expected.0.div_ceil(1000));
                }
                ANSWER | failure.number()
            }
        };
        let mut header = [0; HEADER_BYTES];
        header[FRONT_BYTES..].copy_from_slice(fields.as_bytes());
        Envelope { version: self.version, kind, flags, body_bytes, body_crc }.write(&mut header);
        header
    }

    /// Reads an answer. Checks the header, not the body.
    pub fn decode(header: &HeaderBytes) -> Result<(Answer, Envelope), WireError> {
        let envelope = Envelope::read(header)?;
        let fields = Fields::read_from_bytes(&header[FRONT_BYTES..]).expect("the rest of a header");
        let version = envelope.version;
        let outcome = match envelope.kind {
            ANSWER => {
                let shard = ShardInfo {
                    key: Key::from_bytes(&fields.key),
                    epoch: fields.epoch.get(),
                    codec: fields.codec,
                    len_bytes: fields.len_bytes.get(),
                    sequence: fields.sequence.get(),
                    put_s: fields.put_s.get(),
                };
                let has_next = envelope.flags & FLAG_NEXT != 0;
                let next = has_next.then(|| Key::from_bytes(&fields.next));
                let expected = Nanos(fields.wait_us.get().saturating_mul(1000));
                Ok(Given { shard, from: fields.from.get(), next, expected })
            }
            kind if kind & ANSWER != 0 => {
                let failure = Failure::from_number(kind & !ANSWER, fields.wait_us.get())
                    .ok_or(WireError::Kind { kind })?;
                if envelope.body_bytes != 0 {
                    return Err(WireError::Field { name: "body bytes" });
                }
                Err(failure)
            }
            kind => return Err(WireError::Kind { kind }),
        };
        if envelope.flags & !FLAG_NEXT != 0 || envelope.flags != 0 && outcome.is_err() {
            return Err(WireError::Field { name: "flags" });
        }
        let doubt = Doubt::from_number(fields.doubt);
        Ok((Answer { version, doubt, outcome }, envelope))
    }
}
