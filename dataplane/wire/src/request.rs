//! What is asked of a disk of another machine.
//!
//! ```text
//!  0       20     36    62      63      64     65    68      72      80      84      88         92
//!  | front | disk | key | codec | class | when | pad | exp_s | epoch | from  | until | deadline | limit |
//!  96       122   128
//!  | key to | pad |
//! ```
//!
//! `class` and reservations came with version 2; in version 1 the class is zero, which is the
//! foreground. `when` came later in version 2: who does not know it takes it for zero.
//!
//! What must always hold: a decoded request is one that its sender could have meant. Every field
//! that a kind does not use is zero, so a later version may give it a meaning.

use std::ops::Range;

use isotherm_seam::Key;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::envelope::FRONT_BYTES;
use crate::{Envelope, HEADER_BYTES, HeaderBytes, VERSION, WireError};

/// A disk by the number that its format gave it, wherever it is plugged in.
pub type DiskUuid = [u8; 16];

/// Cells of a stripe whose CRCs come with a put.
const CELLS_MAX: u32 = 256;

/// Entries in one page of a listing, at most.
pub const LIST_LIMIT_MAX: u32 = 4096;

/// A request, but for its body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The version in which it is written, and in which it is answered.
    pub version: u8,
    /// Whose work it is; the disk serves the lower classes first.
    pub class: Class,
    /// How long its sender waits for the answer, in microseconds from now; 0 is for ever.
    pub deadline_us: u32,
    /// Of which disk.
    pub disk: DiskUuid,
    /// What.
    pub ask: Ask,
}

/// Whose work a request is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum Class {
    /// Somebody waits for it.
    #[default]
    Foreground = 0,
    /// Repair of what can lose no more.
    Critical = 1,
    /// Repair.
    Repair = 2,
    /// Moves for balance.
    Rebalance = 3,
    /// Verification.
    Scrub = 4,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Whether the peer is there.
    Ping,
    /// Keep a shard; its payload is the body, behind `cells` CRCs of 4 bytes.
    Put {
        /// The shard's name.
        key: Key,
        /// The epoch of its group.
        epoch: u64,
        /// How its stripe is coded.
        codec: u8,
        /// When it will probably be deleted, in seconds since 1970; 0 where nobody knows.
        expires_s: u32,
        /// So many CRC32C, one for each cell of the stripe, come before the payload.
        cells: u32,
    },
    /// Give a shard back.
    Get {
        /// The shard's name.
        key: Key,
        /// Which bytes of the payload; `None` for all.
        range: Option<Range<u32>>,
    },
    /// Remove a shard.
    Delete {
        /// The shard's name.
        key: Key,
        /// The epoch of its group.
        epoch: u64,
        /// Keep the tombstone until it is released.
        hold: bool,
    },
    /// The tombstone need no longer be kept.
    Release {
        /// The shard's name.
        key: Key,
    },
    /// What a shard says of itself, from the index and one read.
    Stat {
        /// The shard's name.
        key: Key,
    },
    /// Read a shard whole, check it, and answer as [`Ask::Stat`] does.
    Verify {
        /// The shard's name.
        key: Key,
    },
    /// What is there, in the order of keys.
    List {
        /// From this key on.
        from: Key,
        /// Up to this key, which belongs to it.
        to: Key,
        /// So many entries at most; no more than [`LIST_LIMIT_MAX`].
        limit: u32,
    },
    /// Read and check what is most at risk, one extent or group; the answer lists what is
    /// damaged.
    Scrub,
    /// How the disk is.
    Status,
    /// All that the disk holds was compared with other members: it need not be doubted any more.
    Vouch {
        /// The number of the doubt, from the answer to a status.
        number: u64,
    },
    /// Give a shard back, if and when the disk's claim of it is granted: see
    /// [`crate::Told::Claim`].
    Reserve {
        /// The shard's name.
        key: Key,
        /// Which bytes of the payload; `None` for all.
        range: Option<Range<u32>>,
        /// By which both sides call it on this connection; not used by another one of it.
        number: u64,
        /// So many of those at which the read is reserved will be asked to serve it,
        needed: u16,
        /// of so many.
        holders: u16,
        /// Which claims of it need no grant.
        begins: Begins,
    },
}

/// When a reserved read begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begins {
    /// When its claim is granted.
    Granted,
    /// By itself if the arm can come to it at once, and says [`crate::Told::Begun`]. If not it says
    /// [`crate::Told::Waits`], and is like any other from then on.
    AtOnce,
    /// When it is claimed: the claim only tells that it begins.
    Claimed,
}

mod kind {
    pub(super) const PING: u8 = 1;
    pub(super) const PUT: u8 = 2;
    pub(super) const GET: u8 = 3;
    pub(super) const DELETE: u8 = 4;
    pub(super) const RELEASE: u8 = 5;
    pub(super) const STAT: u8 = 6;
    pub(super) const VERIFY: u8 = 7;
    pub(super) const LIST: u8 = 8;
    pub(super) const SCRUB: u8 = 9;
    pub(super) const STATUS: u8 = 10;
    pub(super) const VOUCH: u8 = 11;
    pub(super) const RESERVE: u8 = 12;
}

const FLAG_RANGE: u16 = 1;
const FLAG_HOLD: u16 = 2;
const FLAG_TIED: u16 = 4;

/// `when` of [`Begins::AtOnce`].
const AT_ONCE: u8 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
struct Fields {
    disk: DiskUuid,
    key: [u8; Key::BYTES],
    codec: u8,
    class: u8,
    when: u8,
    pad: [u8; 3],
    expires_s: U32,
    epoch: U64,
    from: U32,
    until: U32,
    deadline_us: U32,
    limit: U32,
    key_to: [u8; Key::BYTES],
    pad_end: [u8; 6],
}

const _: () = assert!(FRONT_BYTES + size_of::<Fields>() == HEADER_BYTES);

impl Request {
    /// A request in the newest version, in the foreground, without a deadline.
    pub fn new(disk: DiskUuid, ask: Ask) -> Request {
        Request { version: VERSION, class: Class::Foreground, deadline_us: 0, disk, ask }
    }

    /// The header of this request with a body of this length and CRC.
    pub fn encode(&self, body_bytes: u32, body_crc: u32) -> HeaderBytes {
        let mut fields = Fields::new_zeroed();
        fields.disk = self.disk;
        fields.deadline_us = U32::new(self.deadline_us);
        if self.version >= 2 {
            fields.class = self.class as u8;
        }
        let mut flags = 0;
        let kind = match &self.ask {
            Ask::Ping => kind::PING,
            Ask::Put { key, epoch, codec, expires_s, cells } => {
                fields.key = key.to_bytes();
                fields.epoch = U64::new(*epoch);
                fields.codec = *codec;
                fields.expires_s = U32::new(*expires_s);
                fields.limit = U32::new(*cells);
                assert!(*cells <= CELLS_MAX && cells * 4 <= body_bytes, "the CRCs are in the body");
                kind::PUT
            }
            Ask::Get { key, range } => {
                fields.key = key.to_bytes();
                if let Some(range) = range {
                    flags = FLAG_RANGE;
                    fields.from = U32::new(range.start);
                    fields.until = U32::new(range.end);
                }
                kind::GET
            }
            Ask::Delete { key, epoch, hold } => {
                fields.key = key.to_bytes();
                fields.epoch = U64::new(*epoch);
                flags = if *hold { FLAG_HOLD } else { 0 };
                kind::DELETE
            }
            Ask::Release { key } => {
                fields.key = key.to_bytes();
                kind::RELEASE
            }
            Ask::Stat { key } => {
                fields.key = key.to_bytes();
                kind::STAT
            }
            Ask::Verify { key } => {
                fields.key = key.to_bytes();
                kind::VERIFY
            }
            Ask::List { from, to, limit } => {
                fields.key = from.to_bytes();
                fields.key_to = to.to_bytes();
                fields.limit = U32::new(*limit);
                kind::LIST
            }
            Ask::Scrub => kind::SCRUB,
            Ask::Status => kind::STATUS,
            Ask::Vouch { number } => {
                fields.epoch = U64::new(*number);
                kind::VOUCH
            }
            Ask::Reserve { key, range, number, needed, holders, begins } => {
                assert!(self.version >= 2, "version 1 knows no reservations");
                fields.key = key.to_bytes();
                fields.epoch = U64::new(*number);
                fields.limit = U32::new(u32::from(*holders) << 16 | u32::from(*needed));
                if let Some(range) = range {
                    flags = FLAG_RANGE;
                    fields.from = U32::new(range.start);
                    fields.until = U32::new(range.end);
                }
                match begins {
                    Begins::Granted => {}
                    Begins::AtOnce => fields.when = AT_ONCE,
                    Begins::Claimed => flags |= FLAG_TIED,
                }
                kind::RESERVE
            }
        };
        let mut header = [0; HEADER_BYTES];
        header[FRONT_BYTES..].copy_from_slice(fields.as_bytes());
        Envelope { version: self.version, kind, flags, body_bytes, body_crc }.write(&mut header);
        header
    }

    /// Reads a request. Checks the header, not the body.
    pub fn decode(header: &HeaderBytes) -> Result<(Request, Envelope), WireError> {
        let envelope = Envelope::read(header)?;
        let field = |name| WireError::Field { name };
        let fields = Fields::read_from_bytes(&header[FRONT_BYTES..]).expect("the rest of a header");
        let class = match envelope.version {
            1 => Class::Foreground,
            _ => Class::from_number(fields.class).ok_or(field("class"))?,
        };
        let key = Key::from_bytes(&fields.key);
        let has_body = envelope.kind == kind::PUT;
        if !has_body && envelope.body_bytes != 0 {
            return Err(field("body bytes"));
        }
        let allowed = match envelope.kind {
            kind::GET => FLAG_RANGE,
            kind::RESERVE => FLAG_RANGE | FLAG_TIED,
            kind::DELETE => FLAG_HOLD,
            _ => 0,
        };
        if envelope.flags & !allowed != 0 {
            return Err(field("flags"));
        }
        let ask = match envelope.kind {
            kind::PING => Ask::Ping,
            kind::PUT => {
                let cells = fields.limit.get();
                if cells > CELLS_MAX || cells * 4 > envelope.body_bytes {
                    return Err(field("cells"));
                }
                Ask::Put {
                    key,
                    epoch: fields.epoch.get(),
                    codec: fields.codec,
                    expires_s: fields.expires_s.get(),
                    cells,
                }
            }
            kind::GET => Ask::Get { key, range: range(&fields, &envelope)? },
            kind::RESERVE if envelope.version >= 2 => {
                let limit = fields.limit.get();
                let (needed, holders) = (limit as u16, (limit >> 16) as u16);
                if needed == 0 || needed > holders {
                    return Err(field("needed"));
                }
                let range = range(&fields, &envelope)?;
                let begins = match (envelope.flags & FLAG_TIED != 0, fields.when) {
                    (false, 0) => Begins::Granted,
                    (false, AT_ONCE) => Begins::AtOnce,
                    (true, 0) => Begins::Claimed,
                    _ => return Err(field("when")),
                };
                Ask::Reserve { key, range, number: fields.epoch.get(), needed, holders, begins }
            }
            kind::DELETE => Ask::Delete {
                key,
                epoch: fields.epoch.get(),
                hold: envelope.flags & FLAG_HOLD != 0,
            },
            kind::RELEASE => Ask::Release { key },
            kind::STAT => Ask::Stat { key },
            kind::VERIFY => Ask::Verify { key },
            kind::LIST => {
                let limit = fields.limit.get();
                if limit == 0 || limit > LIST_LIMIT_MAX {
                    return Err(field("limit"));
                }
                Ask::List { from: key, to: Key::from_bytes(&fields.key_to), limit }
            }
            kind::SCRUB => Ask::Scrub,
            kind::STATUS => Ask::Status,
            kind::VOUCH => Ask::Vouch { number: fields.epoch.get() },
            kind => return Err(WireError::Kind { kind }),
        };
        let deadline_us = fields.deadline_us.get();
        let version = envelope.version;
        Ok((Request { version, class, deadline_us, disk: fields.disk, ask }, envelope))
    }
}

fn range(fields: &Fields, envelope: &Envelope) -> Result<Option<Range<u32>>, WireError> {
    let range = fields.from.get()..fields.until.get();
    let has_range = envelope.flags & FLAG_RANGE != 0;
    if range.start > range.end || !has_range && range != (0..0) {
        return Err(WireError::Field { name: "range" });
    }
    Ok(has_range.then_some(range))
}

impl Class {
    /// Every class, the most urgent first.
    pub const ALL: [Class; 5] =
        [Class::Foreground, Class::Critical, Class::Repair, Class::Rebalance, Class::Scrub];

    fn from_number(number: u8) -> Option<Class> {
        Class::ALL.into_iter().find(|class| *class as u8 == number)
    }
}
