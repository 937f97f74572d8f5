//! The block device seam: one disk, or a layer over one, as its core sees it.
//!
//! # Contract
//!
//! Every driver and every layer keeps these, and `block`'s conformance test checks each of
//! them; the simulator uses all the freedom that they leave.
//!
//! 1. **One owner.** A device belongs to one core and is polled by it. No call blocks, except
//!    `drop`.
//! 2. **Ownership.** The buffer moves with the request and comes back with the completion, also
//!    on error. While a request is in flight the device owns the buffer. Dropping the device
//!    waits for the kernel or leaks the buffers; it never frees them under the kernel.
//! 3. **Completion.** Each accepted request completes exactly once, in any order. A bad request
//!    (out of range, misaligned, unsupported) is accepted and completes with an error; nothing
//!    of it reaches the medium.
//! 4. **Back-pressure.** A full queue hands the request back unchanged; submit again after a
//!    completion. `poll` appends to `done` only within its spare capacity and never makes it
//!    grow.
//! 5. **Durability.** A completed write is durable when a later flush has completed, or if it was
//!    [`Persist::Fua`]. A flush covers just those writes that completed before it was submitted.
//! 6. **Crash.** After a crash each unflushed *physical* sector is independently old, new, or
//!    unreadable. A write is atomic per physical sector and not beyond.
//! 7. **No overlap.** The caller has at most one write in flight over any block, and no read over
//!    a block that is being written if it cares what it reads: such a read returns old or new
//!    bytes for each logical block, or, where the page cache is between
//!    ([`DeviceInfo::direct`] is `Some(false)`), any mix of them.
//! 8. **Errors.** A failed read leaves the buffer unspecified. A failed write leaves its range
//!    unknown: old, new or unreadable, per physical sector.
//! 9. **Transfers are whole.** A driver continues a short transfer itself; success means all of it.
//! 10. **Alignment.** Requests are whole logical blocks; the buffer starts on `buf_align`. Writes
//!     that are not whole physical blocks are allowed where logical < physical, and endanger
//!     their neighbours in a crash: product code does not make them.
//! 11. **Zones.** On a device with zones a write to a sequential zone starts at its write pointer,
//!     which moves when the write *is submitted*: so several may be in flight, in order. A write that
//!     fails leaves the pointer unknown until the next report.
//! 12. **Discard.** Blocks read as anything afterwards, until written again.
//! 13. **Time.** Devices that model time move only when told the time: `now` never goes back. Others
//!     ignore it. With [`BlockDevice::due`] the caller knows how long it may sleep.

use std::path::PathBuf;

use crate::{BlockSize, Due, IoBuf, Lba, Mono, Tag, ZoneError, ZoneGeometry, ZoneId};

/// One disk, or a layer over one. The contract stands in this module's documentation.
pub trait BlockDevice {
    /// Size, units, limits. Does not change while the device is open.
    fn geometry(&self) -> &Geometry;

    /// What runs underneath, for results and messages.
    fn info(&self) -> DeviceInfo;

    /// Takes a request, or hands it back when the queue is full.
    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request>;

    /// Moves submitted requests on and appends what has completed to `done`, within its spare
    /// capacity. Returns how many were appended. Never blocks.
    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize;

    /// When the next poll can be of use.
    fn due(&self) -> Due;

    /// Requests taken and not yet returned by `poll`.
    fn inflight(&self) -> usize;
}

/// Size, units and limits of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// The unit of addresses and lengths.
    pub logical: BlockSize,
    /// The unit that survives or dies as a whole in a crash. At least `logical`.
    pub physical: BlockSize,
    /// Size of the device in logical blocks.
    pub blocks: u64,
    /// Longest read or write, in bytes.
    pub io_bytes_max: u32,
    /// Buffers start on a multiple of this, in bytes; a power of two.
    pub buf_align: u32,
    /// Requests it takes before it hands one back.
    pub depth_max: u32,
    /// Completed writes may be lost until a flush.
    pub volatile_cache: bool,
    /// Whether [`Op::Discard`] does something.
    pub discard: bool,
    /// The zones, where it must be written zone by zone.
    pub zones: Option<ZoneGeometry>,
}

impl Geometry {
    /// Size in bytes.
    pub fn capacity_bytes(&self) -> u64 {
        self.logical.byte_offset(Lba(self.blocks))
    }

    /// Whether a request keeps to size, units and limits. It does not look at write pointers:
    /// those are the device's state.
    #[inline]
    pub fn check(&self, op: &Op) -> Result<(), Misfit> {
        match op {
            Op::Read { lba, buf } | Op::Write { lba, buf, .. } => {
                let len = buf.len() as u64;
                if len == 0 || !self.logical.divides(len) {
                    return Err(Misfit::Misaligned);
                }
                // A mask, not a division, which would cost more than all the rest.
                debug_assert!(self.buf_align.is_power_of_two());
                if buf.as_ptr() as usize & (self.buf_align as usize - 1) != 0 {
                    return Err(Misfit::Misaligned);
                }
                if len > u64::from(self.io_bytes_max) {
                    return Err(Misfit::TooLong);
                }
                self.check_range(*lba, self.logical.blocks_in(len))
            }
            Op::Flush => Ok(()),
            Op::Discard { lba, blocks } => {
                if *blocks == 0 {
                    return Err(Misfit::Misaligned);
                }
                self.check_range(*lba, *blocks)
            }
            Op::ZoneReport { zone, buf } => {
                if buf.len() < crate::ZoneReport::ENTRY_BYTES {
                    return Err(Misfit::Misaligned);
                }
                self.check_zone(*zone)
            }
            Op::ZoneReset { zone } | Op::ZoneFinish { zone } => self.check_zone(*zone),
        }
    }

    #[inline]
    fn check_range(&self, lba: Lba, blocks: u64) -> Result<(), Misfit> {
        match lba.0.checked_add(blocks) {
            Some(end) if end <= self.blocks => Ok(()),
            _ => Err(Misfit::OutOfRange),
        }
    }

    fn check_zone(&self, zone: ZoneId) -> Result<(), Misfit> {
        match &self.zones {
            None => Err(Misfit::Unsupported),
            Some(zones) if zone.0 < zones.zones => Ok(()),
            Some(_) => Err(Misfit::OutOfRange),
        }
    }
}

/// Why a request does not fit a device: the caller's mistake, not the medium's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misfit {
    /// Beyond the end.
    #[error("beyond the end of the device")]
    OutOfRange,
    /// Not whole logical blocks, or a buffer that does not start where it must.
    #[error("not a whole number of logical blocks, or a misaligned buffer")]
    Misaligned,
    /// Longer than the device takes in one request.
    #[error("longer than the device takes in one request")]
    TooLong,
    /// This device has no such operation.
    #[error("the device has no such operation")]
    Unsupported,
}

/// What runs underneath a device, for results and messages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceInfo {
    /// A short name for tables: the file or device name, or the kind.
    pub name: String,
    /// The chain of drivers from the top, such as `hdd:exos-x24 > file`.
    pub driver: String,
    /// The file or device at the bottom, where there is one.
    pub path: Option<PathBuf>,
    /// Whether the page cache is bypassed; `None` where there is no kernel underneath.
    pub direct: Option<bool>,
    /// What was wanted and could not be had, one sentence each, for people.
    pub notes: Vec<String>,
}

impl DeviceInfo {
    /// The same device seen through one more layer.
    #[must_use]
    pub fn under(mut self, layer: &str) -> DeviceInfo {
        self.driver = format!("{layer} > {}", self.driver);
        self
    }
}

/// A request on its way to a device.
#[derive(Debug)]
pub struct Request {
    /// Comes back with the completion.
    pub tag: Tag,
    /// What to do, with the buffer.
    pub op: Op,
}

/// What a device can be asked to do. Lengths of transfers are the buffer's.
#[derive(Debug)]
pub enum Op {
    /// Fill the buffer from `lba` on.
    Read {
        /// First block.
        lba: Lba,
        /// Filled from the device.
        buf: IoBuf,
    },
    /// Write the buffer at `lba`.
    Write {
        /// First block.
        lba: Lba,
        /// What to write; not changed.
        buf: IoBuf,
        /// When it must be durable.
        persist: Persist,
    },
    /// Make all writes that have completed durable.
    Flush,
    /// The content of these blocks is no longer needed.
    Discard {
        /// First block.
        lba: Lba,
        /// How many.
        blocks: u64,
    },
    /// Report zones from `zone` on, as many as the buffer holds ([`crate::ZoneReport`]); the
    /// buffer's length is set to what was written.
    ZoneReport {
        /// The first zone to report.
        zone: ZoneId,
        /// Filled with entries.
        buf: IoBuf,
    },
    /// Empty a zone: its write pointer returns to its start.
    ZoneReset {
        /// Which.
        zone: ZoneId,
    },
    /// Make a zone full as it stands.
    ZoneFinish {
        /// Which.
        zone: ZoneId,
    },
}

/// The kind of an operation, without its data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OpKind {
    /// [`Op::Read`].
    Read,
    /// [`Op::Write`].
    Write,
    /// [`Op::Flush`].
    Flush,
    /// [`Op::Discard`].
    Discard,
    /// [`Op::ZoneReport`].
    ZoneReport,
    /// [`Op::ZoneReset`].
    ZoneReset,
    /// [`Op::ZoneFinish`].
    ZoneFinish,
}

/// When a write must be durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Persist {
    /// When a later flush completes.
    Flush,
    /// When it completes itself (force unit access).
    Fua,
}

impl Op {
    /// Its kind.
    #[inline]
    pub fn kind(&self) -> OpKind {
        match self {
            Op::Read { .. } => OpKind::Read,
            Op::Write { .. } => OpKind::Write,
            Op::Flush => OpKind::Flush,
            Op::Discard { .. } => OpKind::Discard,
            Op::ZoneReport { .. } => OpKind::ZoneReport,
            Op::ZoneReset { .. } => OpKind::ZoneReset,
            Op::ZoneFinish { .. } => OpKind::ZoneFinish,
        }
    }

    /// The buffer, for the way back.
    #[inline]
    pub fn into_buf(self) -> Option<IoBuf> {
        match self {
            Op::Read { buf, .. } | Op::Write { buf, .. } | Op::ZoneReport { buf, .. } => Some(buf),
            Op::Flush | Op::Discard { .. } | Op::ZoneReset { .. } | Op::ZoneFinish { .. } => None,
        }
    }
}

impl Request {
    /// This request as completed with `result`.
    #[inline]
    pub fn complete(self, result: Result<(), IoError>) -> Completion {
        Completion { tag: self.tag, buf: self.op.into_buf(), result }
    }
}

/// A request that is done.
#[derive(Debug)]
pub struct Completion {
    /// The request's.
    pub tag: Tag,
    /// The request's buffer, where it had one.
    pub buf: Option<IoBuf>,
    /// How it went.
    pub result: Result<(), IoError>,
}

/// Why a request failed. Each cause is one that a caller can act on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IoError {
    /// The medium can't be read or written at this block (EIO, a latent sector error).
    #[error("unreadable or unwritable sector at {lba}")]
    Media {
        /// The first block known to be bad, or the first of the request where the device does
        /// not say.
        lba: Lba,
    },
    /// The caller's mistake.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// A rule of zones.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// The device is gone or no longer answers: nothing further will succeed.
    #[error("the device is gone")]
    Gone,
    /// The device or its file may not be written.
    #[error("write-protected")]
    ReadOnly,
    /// No room underneath (a sparse file on a full filesystem).
    #[error("no space left underneath")]
    NoSpace,
    /// The device did not answer in time.
    #[error("the device did not answer in time")]
    TimedOut,
    /// Any other answer of the operating system.
    #[error("{}", std::io::Error::from_raw_os_error(*errno))]
    Os {
        /// The errno.
        errno: i32,
    },
}

impl IoError {
    /// What an errno of a read, write or flush at `lba` stands for.
    pub fn from_errno(errno: i32, lba: Lba) -> IoError {
        match errno {
            // EIO, EILSEQ (protection), ENODATA and EREMOTEIO (medium and target errors).
            5 | 84 | 61 | 121 => IoError::Media { lba },
            // ENXIO, ENODEV, ESHUTDOWN, ENOLINK: the path or the device went away.
            6 | 19 | 108 | 67 => IoError::Gone,
            // EPERM, EROFS, EBADF: a write through a handle opened for reading.
            1 | 30 | 9 => IoError::ReadOnly,
            // ENOSPC, EDQUOT.
            28 | 122 => IoError::NoSpace,
            // ETIMEDOUT, ETIME.
            110 | 62 => IoError::TimedOut,
            // EOPNOTSUPP, ENOTTY.
            95 | 25 => IoError::Misfit(Misfit::Unsupported),
            // EINVAL: alignment is all that is left to be invalid after `Geometry::check`.
            22 => IoError::Misfit(Misfit::Misaligned),
            _ => IoError::Os { errno },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BufPool, PoolLayout};

    fn geometry() -> Geometry {
        Geometry {
            logical: BlockSize::B512,
            physical: BlockSize::B4096,
            blocks: 100,
            io_bytes_max: 8192,
            buf_align: 4096,
            depth_max: 1,
            volatile_cache: true,
            discard: false,
            zones: None,
        }
    }

    #[test]
    fn check_tells_each_misfit() {
        let pool = BufPool::new(&PoolLayout::uniform(16_384, 1)).unwrap();
        let geometry = geometry();
        let read = |lba, len| {
            let op = Op::Read { lba: Lba(lba), buf: pool.alloc(len).unwrap() };
            geometry.check(&op)
        };
        assert_eq!(read(0, 512), Ok(()));
        assert_eq!(read(99, 512), Ok(()));
        assert_eq!(read(99, 1024), Err(Misfit::OutOfRange));
        assert_eq!(read(u64::MAX, 512), Err(Misfit::OutOfRange));
        assert_eq!(read(0, 100), Err(Misfit::Misaligned));
        assert_eq!(read(0, 0), Err(Misfit::Misaligned));
        assert_eq!(read(0, 12_288), Err(Misfit::TooLong));
        assert_eq!(geometry.check(&Op::ZoneReset { zone: ZoneId(0) }), Err(Misfit::Unsupported));
        assert_eq!(
            geometry.check(&Op::Discard { lba: Lba(1), blocks: 100 }),
            Err(Misfit::OutOfRange)
        );
    }

    #[test]
    fn a_request_and_a_completion_stay_within_a_cache_line() {
        assert!(size_of::<Request>() <= 64, "{}", size_of::<Request>());
        assert!(size_of::<Completion>() <= 64, "{}", size_of::<Completion>());
    }

    #[test]
    fn errors_say_where() {
        let error = IoError::from_errno(5, Lba(77));
        assert_eq!(error.to_string(), "unreadable or unwritable sector at LBA 77");
        assert_eq!(IoError::from_errno(19, Lba(0)), IoError::Gone);
    }
}
