//! The header: 40 bytes, as fio 3.33 has them on a little-endian machine.
//!
//! ```text
//!  0 magic     2  0xacca         24 seconds        4  when it was written
//!  2 kind      2                 28 nanoseconds    4
//!  4 interval  4  bytes          32 thread         2  which job
//!  8 seed      8  of the data    34 number         2  of the write, mod 2^16
//! 16 offset    8  on the device  36 crc32c         4  of all before it, not inverted
//! ```

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::digest::crc32c;

pub(crate) const MAGIC: u16 = 0xacca;
pub(crate) const HEADER_BYTES: usize = 40;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: U16,
    pub(crate) kind: U16,
    pub(crate) interval: U32,
    pub(crate) seed: U64,
    pub(crate) offset: U64,
    pub(crate) seconds: U32,
    pub(crate) nanoseconds: U32,
    pub(crate) thread: U16,
    pub(crate) number: U16,
    pub(crate) crc: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

/// What a header says of the write that it came with.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stamp {
    /// What the data was made from.
    pub seed: u64,
    /// When, in seconds and nanoseconds of any clock.
    pub time: (u32, u32),
    /// Which job of the run, from 1.
    pub thread: u16,
    /// Which write of the job; counted modulo 2^16.
    pub number: u16,
}

impl Header {
    pub(crate) fn new(kind: u16, interval: u32, offset: u64, stamp: &Stamp) -> Header {
        let mut header = Header {
            magic: U16::new(MAGIC),
            kind: U16::new(kind),
            interval: U32::new(interval),
            seed: U64::new(stamp.seed),
            offset: U64::new(offset),
            seconds: U32::new(stamp.time.0),
            nanoseconds: U32::new(stamp.time.1),
            thread: U16::new(stamp.thread),
            number: U16::new(stamp.number),
            crc: U32::ZERO,
        };
        header.crc = U32::new(header.reckoned_crc());
        header
    }

    pub(crate) fn reckoned_crc(&self) -> u32 {
        crc32c(&self.as_bytes()[..HEADER_BYTES - 4])
    }
}
