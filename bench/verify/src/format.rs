//! Sealing a buffer before it is written, and checking it after it was read.

use std::fmt;

use zerocopy::{FromBytes, IntoBytes};

use crate::digest::{DIGEST_BYTES_MAX, digest};
use crate::header::{HEADER_BYTES, Header, MAGIC};
use crate::{Kind, Pattern, Stamp};

/// How the blocks of a job are sealed and checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Format {
    kind: Kind,
    /// Bytes from one header to the next; of the whole buffer if none.
    interval: Option<u32>,
    /// Bytes from the start of an interval to its header.
    offset: u32,
    pattern: Option<Pattern>,
}

/// Why there can be no such format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misfit {
    /// Header, digest and a byte of data need room.
    #[error("{kind} needs {needed} bytes in each interval, and there are {bytes}")]
    TooShort {
        /// Of what kind.
        kind: &'static str,
        /// How long an interval is.
        bytes: u32,
        /// How long it must be.
        needed: u32,
    },
    /// The header would overlap itself, or lie outside.
    #[error(
        "a header of {size} bytes does not fit at {offset} of {bytes} without overlapping its place at 0"
    )]
    Offset {
        /// Where it is to be.
        offset: u32,
        /// Its length.
        size: u32,
        /// How long an interval is.
        bytes: u32,
    },
    /// There is nothing to compare with.
    #[error("{kind} needs a pattern")]
    NoPattern {
        /// Of what kind.
        kind: &'static str,
    },
}

/// What is wrong with a block, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blemish {
    /// The start of the interval, in bytes of the device.
    pub offset: u64,
    /// Its length.
    pub bytes: u32,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Flaw {
    /// Nothing that begins like a header.
    #[error("no header: it begins with {found:#06x}")]
    Magic {
        /// The two bytes.
        found: u16,
    },
    /// The header is not as it was written.
    #[error("the header's checksum is {found:#010x}, and its bytes give {wanted:#010x}")]
    HeaderCrc {
        /// What it says.
        found: u32,
        /// What it is.
        wanted: u32,
    },
    /// It was written with another interval.
    #[error("an interval of {found} bytes where {wanted} are expected")]
    Interval {
        /// What the header says.
        found: u32,
        /// What the job says.
        wanted: u32,
    },
    /// It belongs elsewhere.
    #[error("it was written for byte {found}")]
    Offset {
        /// Where it belongs.
        found: u64,
    },
    /// An older write, or one of somebody else.
    #[error("it is of write {found} where {wanted} was the last (modulo 2^16)")]
    Number {
        /// What the header says.
        found: u16,
        /// The last one.
        wanted: u16,
    },
    /// It was sealed in another way.
    #[error("it is of kind {found} of the list of fio, not {wanted}")]
    Kind {
        /// What the header says.
        found: u16,
        /// What the job says.
        wanted: u16,
    },
    /// The data are not what was written.
    #[error("{kind} of the data is {}, and {} was written", Hex(found), Hex(wanted))]
    Digest {
        /// Of what kind.
        kind: &'static str,
        /// Of what was read.
        found: Vec<u8>,
        /// As it was written.
        wanted: Vec<u8>,
    },
    /// A byte is not of the pattern.
    #[error("byte {at} is {found:#04x}, and the pattern has {wanted:#04x}")]
    Pattern {
        /// From the start of the interval.
        at: u32,
        /// What was read.
        found: u8,
        /// What was written.
        wanted: u8,
    },
}

impl fmt::Display for Blemish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at byte {}: {}", self.bytes, self.offset, self.flaw)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(16).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        if self.0.len() > 16 { f.write_str("...") } else { Ok(()) }
    }
}

impl Format {
    /// A format for requests of which the shortest has `shortest` bytes.
    pub fn new(
        kind: Kind,
        interval: Option<u32>,
        offset: u32,
        pattern: Option<Pattern>,
        shortest: u32,
    ) -> Result<Format, Misfit> {
        let bytes = interval.map_or(shortest, |interval| interval.min(shortest));
        if kind.needs_pattern() && pattern.is_none() {
            return Err(Misfit::NoPattern { kind: kind.word() });
        }
        let format = Format { kind, interval, offset, pattern };
        let size = format.front() as u32;
        if kind.has_header() && bytes <= size {
            return Err(Misfit::TooShort { kind: kind.word(), bytes, needed: size + 1 });
        }
        let apart = offset == 0 || (offset >= size && bytes.saturating_sub(size) >= offset);
        if kind.has_header() && !apart {
            return Err(Misfit::Offset { offset, size, bytes });
        }
        Ok(format)
    }

    /// How blocks are checked.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether its pattern stands for all data, so that a buffer need not be filled before.
    pub fn fills(&self) -> bool {
        self.pattern.is_some()
    }

    /// Header and digest.
    fn front(&self) -> usize {
        if self.kind.has_header() { HEADER_BYTES + self.kind.digest_bytes() } else { 0 }
    }

    /// Bytes from one header of a buffer of `len` bytes to the next.
    fn step(&self, len: usize) -> usize {
        match self.interval {
            Some(interval) if (interval as usize) <= len && interval > 0 => interval as usize,
            _ => len,
        }
    }

    /// Makes `buf`, which holds the data and goes to `at` of the device, one that can be checked.
    pub fn seal(&self, at: u64, stamp: &Stamp, buf: &mut [u8]) {
        if self.kind == Kind::Null {
            return;
        }
        if let Some(pattern) = &self.pattern {
            pattern.lay(at, buf);
        }
        if !self.kind.has_header() {
            return;
        }
        let (front, step) = (self.front(), self.step(buf.len()));
        for (index, interval) in buf.chunks_mut(step).enumerate() {
            if interval.len() <= front {
                // fio leaves a rest without room as it is.
                break;
            }
            let offset = at + (index * step) as u64;
            let header = Header::new(self.kind.code(), step as u32, offset, stamp);
            let (head, data) = interval.split_at_mut(front);
            head[..HEADER_BYTES].copy_from_slice(header.as_bytes());
            digest(self.kind, data, &mut head[HEADER_BYTES..]);
            self.swap(interval, front);
        }
    }

    /// Header and data of an interval change places, or change back.
    fn swap(&self, interval: &mut [u8], front: usize) {
        let offset = self.offset as usize;
        if offset > 0 {
            let (head, rest) = interval.split_at_mut(offset);
            head[..front].swap_with_slice(&mut rest[..front]);
        }
    }

    /// Checks `buf`, which was read from `at` of the device, and puts it back to how it was before
    /// a header's offset was applied. `number` is that of the last write there, if it is known.
    pub fn check(&self, at: u64, number: Option<u16>, buf: &mut [u8]) -> Result<(), Blemish> {
        if self.kind == Kind::Null {
            return Ok(());
        }
        let (front, step) = (self.front(), self.step(buf.len()));
        for (index, interval) in buf.chunks_mut(step).enumerate() {
            if interval.len() <= front {
                break;
            }
            self.swap(interval, front);
            let within = index * step;
            let offset = at + within as u64;
            let flaw = self.flaw(at, within, step as u32, number, interval);
            if let Err(flaw) = flaw {
                return Err(Blemish { offset, bytes: interval.len() as u32, flaw });
            }
        }
        Ok(())
    }

    fn flaw(
        &self,
        at: u64,
        within: usize,
        step: u32,
        number: Option<u16>,
        interval: &[u8],
    ) -> Result<(), Flaw> {
        let (head, data) = interval.split_at(self.front());
        if self.kind.has_header() {
            self.header_flaw(head, at + within as u64, step, number)?;
            let mut found = [0; DIGEST_BYTES_MAX];
            let found = &mut found[..self.kind.digest_bytes()];
            digest(self.kind, data, found);
            let wanted = &head[HEADER_BYTES..];
            if found != wanted {
                let (found, wanted) = (found.to_vec(), wanted.to_vec());
                return Err(Flaw::Digest { kind: self.kind.word(), found, wanted });
            }
        }
        // A digest says as much as the pattern under it.
        let patterned = matches!(self.kind, Kind::Meta | Kind::PatternHeader | Kind::Pattern);
        let odd = self.pattern.as_ref().filter(|_| patterned);
        match odd.and_then(|pattern| pattern.odd(at, within + head.len(), data)) {
            Some((byte, found, wanted)) => {
                Err(Flaw::Pattern { at: (head.len() + byte) as u32, found, wanted })
            }
            None => Ok(()),
        }
    }

    fn header_flaw(
        &self,
        head: &[u8],
        offset: u64,
        step: u32,
        number: Option<u16>,
    ) -> Result<(), Flaw> {
        let (header, _) = Header::read_from_prefix(head).expect("it is long enough");
        if header.magic.get() != MAGIC {
            return Err(Flaw::Magic { found: header.magic.get() });
        }
        let (found, wanted) = (header.crc.get(), header.reckoned_crc());
        if found != wanted {
            return Err(Flaw::HeaderCrc { found, wanted });
        }
        if header.interval.get() != step {
            return Err(Flaw::Interval { found: header.interval.get(), wanted: step });
        }
        if header.offset.get() != offset {
            return Err(Flaw::Offset { found: header.offset.get() });
        }
        // The two words for CRC-32C make the same digest.
        let same = |code| if code == Kind::Crc32cIntel.code() { Kind::Crc32c.code() } else { code };
        let (found, wanted) = (header.kind.get(), self.kind.code());
        if same(found) != same(wanted) {
            return Err(Flaw::Kind { found, wanted });
        }
        match number {
            Some(wanted) if header.number.get() != wanted => {
                Err(Flaw::Number { found: header.number.get(), wanted })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { seed: 7, time: (1, 2), thread: 1, number: 9 };
    const AT: u64 = 3 << 20;

    fn data(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 31 % 251) as u8).collect()
    }

    fn formats() -> Vec<Format> {
        let pattern = || Pattern::new(b"0123456789abcdef".to_vec(), vec![4]);
        let mut all = Vec::new();
        for &(_, kind) in Kind::ALL {
            for (interval, offset) in [(None, 0), (Some(1024), 0), (Some(1024), 200)] {
                for pattern in [None, Some(pattern())] {
                    if pattern.is_some() || !kind.needs_pattern() {
                        all.push(Format::new(kind, interval, offset, pattern, 4096).unwrap());
                    }
                }
            }
        }
        all
    }

    #[test]
    fn what_was_sealed_is_accepted_where_it_belongs_and_nowhere_else() {
        for format in formats() {
            let mut buf = data(4096);
            format.seal(AT, &STAMP, &mut buf);
            format
                .check(AT, Some(9), &mut buf.clone())
                .unwrap_or_else(|b| panic!("{format:?}: {b}"));
            if format.kind().has_header() {
                let flaw = format.check(AT + 4096, None, &mut buf.clone()).unwrap_err().flaw;
                assert_eq!(flaw, Flaw::Offset { found: AT }, "{format:?}");
                let flaw = format.check(AT, Some(8), &mut buf).unwrap_err().flaw;
                assert_eq!(flaw, Flaw::Number { found: 9, wanted: 8 });
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_found_wherever_it_is() {
        for format in formats().iter().filter(|format| format.kind() != Kind::Null) {
            let mut sealed = data(4096);
            format.seal(AT, &STAMP, &mut sealed);
            for byte in (0..4096).step_by(37) {
                let mut buf = sealed.clone();
                buf[byte] ^= 4;
                let found = format.check(AT, None, &mut buf);
                // Time, thread, seed and number are covered by the header's own checksum. The
                // data of `meta` are nobody's, and of SHA-512 only the ends are kept.
                let blind = matches!(format.kind(), Kind::Meta | Kind::Sha512) && found.is_ok();
                let covered = format.fills() && format.kind() == Kind::Meta;
                assert!(found.is_err() || (blind && !covered), "{format:?} at {byte}");
            }
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        let new = |kind, interval, offset| Format::new(kind, interval, offset, None, 4096);
        assert!(matches!(new(Kind::Pattern, None, 0), Err(Misfit::NoPattern { .. })));
        assert!(matches!(
            new(Kind::Sha512, Some(168), 0),
            Err(Misfit::TooShort { needed: 169, .. })
        ));
        assert!(matches!(new(Kind::Md5, None, 55), Err(Misfit::Offset { .. })));
        assert!(matches!(new(Kind::Md5, None, 4041), Err(Misfit::Offset { .. })));
        assert!(new(Kind::Md5, None, 4040).is_ok());
    }
}
