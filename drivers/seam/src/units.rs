//! Units and ids. At a seam the unit is a type: a byte is never mistaken for a block, nor a
//! time for a length of time.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// Index of a logical block on one device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lba(pub u64);

impl Lba {
    /// The block `blocks` further on.
    #[must_use]
    pub fn offset(self, blocks: u64) -> Lba {
        Lba(self.0.checked_add(blocks).expect("an LBA stays below 2^64"))
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LBA {}", self.0)
    }
}

/// Size of a block: a power of two, 512 bytes to 1 GiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BlockSize(u32);

impl BlockSize {
    /// 512 bytes.
    pub const B512: BlockSize = BlockSize(512);
    /// 4096 bytes.
    pub const B4096: BlockSize = BlockSize(4096);

    /// `None` unless `bytes` is a power of two from 512 to 2^30.
    pub const fn new(bytes: u32) -> Option<BlockSize> {
        if bytes.is_power_of_two() && bytes >= 512 && bytes <= 1 << 30 {
            Some(BlockSize(bytes))
        } else {
            None
        }
    }

    /// In bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }

    /// log2 of the size in bytes.
    pub const fn shift(self) -> u32 {
        self.0.trailing_zeros()
    }

    /// Byte offset of a block of this size.
    pub const fn byte_offset(self, lba: Lba) -> u64 {
        lba.0 << self.shift()
    }

    /// The block that holds the byte at `offset_bytes`.
    pub const fn lba_of(self, offset_bytes: u64) -> Lba {
        Lba(offset_bytes >> self.shift())
    }

    /// Whether `bytes` is a whole number of blocks.
    pub const fn divides(self, bytes: u64) -> bool {
        bytes & (self.0 as u64 - 1) == 0
    }

    /// How many blocks `bytes` are; `bytes` is a whole number of them.
    pub fn blocks_in(self, bytes: u64) -> u64 {
        debug_assert!(self.divides(bytes));
        bytes >> self.shift()
    }
}

/// A length of time, in nanoseconds. Covers 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// No time at all.
    pub const ZERO: Nanos = Nanos(0);

    /// From microseconds.
    pub const fn from_micros(us: u64) -> Nanos {
        Nanos(us * 1_000)
    }

    /// From milliseconds.
    pub const fn from_millis(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    /// From whole seconds.
    pub const fn from_secs(s: u64) -> Nanos {
        Nanos(s * 1_000_000_000)
    }

    /// From a fraction of seconds; negative and NaN become zero.
    pub fn from_secs_f64(s: f64) -> Nanos {
        Nanos((s * 1e9).max(0.0) as u64)
    }

    /// From a fraction of milliseconds; negative and NaN become zero.
    pub fn from_millis_f64(ms: f64) -> Nanos {
        Nanos((ms * 1e6).max(0.0) as u64)
    }

    /// In seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// In milliseconds.
    pub fn as_millis_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The difference, or zero where `other` is longer.
    #[must_use]
    pub const fn saturating_sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, other: Nanos) -> Nanos {
        Nanos(self.0 + other.0)
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, other: Nanos) {
        self.0 += other.0;
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    fn sub(self, other: Nanos) -> Nanos {
        Nanos(self.0 - other.0)
    }
}

impl From<core::time::Duration> for Nanos {
    fn from(d: core::time::Duration) -> Nanos {
        Nanos(u64::try_from(d.as_nanos()).expect("shorter than 584 years"))
    }
}

impl From<Nanos> for core::time::Duration {
    fn from(n: Nanos) -> core::time::Duration {
        core::time::Duration::from_nanos(n.0)
    }
}

/// Nanoseconds since the process (or the simulation) started. The only time that orders
/// anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// The start.
    pub const ZERO: Mono = Mono(0);

    /// How long ago `earlier` was; zero where it lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Mono) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Nanos> for Mono {
    type Output = Mono;
    fn add(self, length: Nanos) -> Mono {
        Mono(self.0.saturating_add(length.0))
    }
}

/// Nanoseconds since 1970-01-01 UTC. It may jump either way; it is for people and orders
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Wall(pub i64);

/// Time as a seam. `host::HostClock` reads the processor, `sim::SimClock` is turned by hand.
pub trait Clock {
    /// Now. Never goes back.
    fn mono(&self) -> Mono;
    /// The calendar's time, for reports.
    fn wall(&self) -> Wall;
}

/// What the submitter of a request knows it by. The device only hands it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Tag(pub u64);

/// Index of a zone on one device.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ZoneId(pub u32);

/// A disk within one process, numbered from zero in the order of opening.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct DiskId(pub u32);

/// A core that runs a reactor: the operating system's number of that processor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CoreId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_size_is_a_power_of_two_in_range() {
        assert_eq!(BlockSize::new(4096), Some(BlockSize::B4096));
        for bad in [0, 1, 256, 513, 3 << 10, 1 << 31] {
            assert_eq!(BlockSize::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn blocks_and_bytes_convert_both_ways() {
        let size = BlockSize::B4096;
        assert_eq!(size.byte_offset(Lba(3)), 12_288);
        assert_eq!(size.lba_of(12_288 + 17), Lba(3));
        assert!(size.divides(8192) && !size.divides(8193));
        assert_eq!(size.blocks_in(8192), 2);
    }

    #[test]
    fn time_does_not_wrap() {
        assert_eq!(Mono(5).since(Mono(9)), Nanos::ZERO);
        assert_eq!(Mono(u64::MAX) + Nanos(1), Mono(u64::MAX));
        assert_eq!(Nanos::from_secs_f64(-1.0), Nanos::ZERO);
        assert_eq!(Nanos::from_millis_f64(1.5), Nanos(1_500_000));
    }
}
