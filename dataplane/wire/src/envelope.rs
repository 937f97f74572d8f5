//! The front of every header that crosses machines: what it is, whether it is whole, and how
//! long the body behind it is.
//!
//! ```text
//!  0       4         5      6       8            12           16         20                 128
//!  | magic | version | kind | flags | header CRC | body bytes | body CRC | the kind's fields |
//! ```
//!
//! All numbers are little-endian. The CRCs are CRC32C; that of the header is taken over all 128
//! bytes with its own field zero.
//!
//! What must always hold: a header that was cut, changed or made by something else is refused
//! before any field of it is believed; the length of a body is bounded before a byte of it is
//! read.

use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of every header.
pub const HEADER_BYTES: usize = 128;

/// The longest body: a shard of 1 MiB, the CRCs of the cells of its stripe, and some air.
pub const BODY_BYTES_MAX: usize = (1 << 20) + 4096;

/// The version that this build speaks.
pub const VERSION: u8 = 2;

/// The oldest version that it understands.
pub const VERSION_LEAST: u8 = 1;

const _: () = assert!(VERSION_LEAST + 1 >= VERSION, "one version back is understood, no more");

/// The first four bytes of every header.
pub const MAGIC: [u8; 4] = *b"Isth";

/// The bytes of a header.
pub type HeaderBytes = [u8; HEADER_BYTES];

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct Front {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u8,
    pub(crate) kind: u8,
    pub(crate) flags: U16,
    pub(crate) header_crc: U32,
    pub(crate) body_bytes: U32,
    pub(crate) body_crc: U32,
}

pub(crate) const FRONT_BYTES: usize = 20;
const _: () = assert!(size_of::<Front>() == FRONT_BYTES);

/// What the front of a header says, once the header is known to be whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The version of the sender.
    pub version: u8,
    /// What the header is: docs/WIRE.md has the numbers.
    pub kind: u8,
    /// The kind's flags.
    pub flags: u16,
    /// Length of the body that follows.
    pub body_bytes: u32,
    /// CRC32C of the body.
    pub body_crc: u32,
}

/// Why bytes are not a message of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// Something else speaks here.
    #[error("this is no message of Isotherm's")]
    Magic,
    /// The header was changed on the way, or is cut.
    #[error("the header does not have its checksum")]
    HeaderCrc,
    /// The peer is older or newer than this build can talk to.
    #[error("version {version}; this build understands {VERSION_LEAST} to {VERSION}")]
    Version {
        /// The peer's.
        version: u8,
    },
    /// The body is longer than any may be.
    #[error("a body of {body_bytes} bytes; at most {BODY_BYTES_MAX} are allowed")]
    BodyTooLong {
        /// As announced.
        body_bytes: u32,
    },
    /// A body that was changed on the way, or is cut.
    #[error("the body does not have its length or checksum")]
    Body,
    /// A kind that this build does not know.
    #[error("a message of unknown kind {kind}")]
    Kind {
        /// As sent.
        kind: u8,
    },
    /// A field that can't be.
    #[error("a message whose field `{name}` can't be")]
    Field {
        /// Which field.
        name: &'static str,
    },
}

impl Envelope {
    /// Reads the front of a header and checks the whole of it.
    pub fn read(header: &HeaderBytes) -> Result<Envelope, WireError> {
        let (front, _) =
            Front::read_from_prefix(header).expect("a header is longer than its front");
        if front.magic != MAGIC {
            return Err(WireError::Magic);
        }
        if front.header_crc.get() != header_crc(header) {
            return Err(WireError::HeaderCrc);
        }
        if !(VERSION_LEAST..=VERSION).contains(&front.version) {
            return Err(WireError::Version { version: front.version });
        }
        let body_bytes = front.body_bytes.get();
        if body_bytes as usize > BODY_BYTES_MAX {
            return Err(WireError::BodyTooLong { body_bytes });
        }
        Ok(Envelope {
            version: front.version,
            kind: front.kind,
            flags: front.flags.get(),
            body_bytes,
            body_crc: front.body_crc.get(),
        })
    }

    /// Writes the front of a header whose other fields are already there, and seals it.
    pub fn write(&self, header: &mut HeaderBytes) {
        assert!(self.body_bytes as usize <= BODY_BYTES_MAX, "a body that its reader would refuse");
        let front = Front {
            magic: MAGIC,
            version: self.version,
            kind: self.kind,
            flags: U16::new(self.flags),
            header_crc: U32::new(0),
            body_bytes: U32::new(self.body_bytes),
            body_crc: U32::new(self.body_crc),
        };
        header[..FRONT_BYTES].copy_from_slice(front.as_bytes());
        let crc = header_crc(header);
        header[8..12].copy_from_slice(&crc.to_le_bytes());
    }
}

/// CRC32C of a header with its own CRC taken for zero.
fn header_crc(header: &HeaderBytes) -> u32 {
    let mut copy = *header;
    copy[8..12].fill(0);
    crc32c(&copy)
}

/// CRC32C (Castagnoli).
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// CRC32C of pieces in order.
pub fn crc32c_of<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    pieces.for_each(|piece| digest.update(piece));
    digest.finalize() as u32
}

/// CRC32C of two pieces in a row from that of each; `b_bytes` is the length of the second.
///
/// The first is multiplied by x^(8 b_bytes) modulo the polynomial: one multiplication for each bit
/// of the length, so 0.1 us for a cell of 64 KiB.
pub fn crc32c_combine(a: u32, b: u32, b_bytes: u64) -> u32 {
    let mut shifted = a;
    let mut left = b_bytes;
    while left != 0 {
        let bit = left.trailing_zeros() as usize;
        shifted = multiply(POWERS[bit], shifted);
        left &= left - 1;
    }
    shifted ^ b
}

/// The polynomial of CRC32C without its highest term; bit 31 is x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^(8 * 2^i) modulo the polynomial.
const POWERS: [u32; 64] = {
    let mut powers = [0; 64];
    let mut power = 1 << (31 - 8);
    let mut i = 0;
    while i < 64 {
        powers[i] = power;
        power = multiply(power, power);
        i += 1;
    }
    powers
};

/// The product of two polynomials modulo that of CRC32C.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, 1u32 << 31);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        // Times x: the highest term, bit 0, is taken off.
        b = b >> 1 ^ (POLYNOMIAL & (b & 1).wrapping_neg());
        bit >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> HeaderBytes {
        let mut header = [7; HEADER_BYTES];
        let front =
            Envelope { version: VERSION, kind: 3, flags: 5, body_bytes: 4096, body_crc: 99 };
        front.write(&mut header);
        header
    }

    #[test]
    fn what_was_written_is_read() {
        let front = Envelope::read(&sealed()).unwrap();
        assert_eq!(
            front,
            Envelope { version: VERSION, kind: 3, flags: 5, body_bytes: 4096, body_crc: 99 }
        );
    }

    #[test]
    fn checksums_of_pieces_make_that_of_the_whole() {
        let bytes: Vec<u8> = (0..70_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for cut in [0, 1, 7, 4096, 65_536, 69_999, 70_000] {
            let (a, b) = bytes.split_at(cut);
            let whole = crc32c_combine(crc32c(a), crc32c(b), b.len() as u64);
            assert_eq!(whole, crc32c(&bytes), "cut at {cut}");
        }
        for len in [3 << 20, 1 << 40, u64::MAX] {
            let algorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;
            let expected = crc_fast::checksum_combine(algorithm, 0x1234_5678, 0x9abc_def0, len);
            assert_eq!(u64::from(crc32c_combine(0x1234_5678, 0x9abc_def0, len)), expected);
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        for bit in 0..HEADER_BYTES * 8 {
            let mut header = sealed();
            header[bit / 8] ^= 1 << (bit % 8);
            let error = Envelope::read(&header).unwrap_err();
            let expected = if bit < 32 { WireError::Magic } else { WireError::HeaderCrc };
            assert_eq!(error, expected, "bit {bit}");
        }
    }

    #[test]
    fn strangers_and_long_bodies_are_refused() {
        let write = |version, body_bytes: u32| {
            let mut header = sealed();
            header[4] = version;
            header[12..16].copy_from_slice(&body_bytes.to_le_bytes());
            let crc = header_crc(&header);
            header[8..12].copy_from_slice(&crc.to_le_bytes());
            Envelope::read(&header)
        };
        assert!(write(VERSION_LEAST, 0).is_ok());
        assert!(write(VERSION, BODY_BYTES_MAX as u32).is_ok());
        for version in [0, VERSION_LEAST - 1, VERSION + 1, 255] {
            assert_eq!(write(version, 0), Err(WireError::Version { version }));
        }
        let body_bytes = BODY_BYTES_MAX as u32 + 1;
        assert_eq!(write(VERSION, body_bytes), Err(WireError::BodyTooLong { body_bytes }));
    }
}
