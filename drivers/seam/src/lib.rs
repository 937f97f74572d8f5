//! The seams: everything that the outside world can do to Isotherm, as traits and plain types.
//!
//! Product code takes time, chance, disks and sleep from here and from nowhere else, so the
//! same code runs on real disks and in a simulator that replays from a seed. Each trait has a
//! real half and a seeded half:
//!
//! | seam            | real                              | seeded                         |
//! |-----------------|-----------------------------------|--------------------------------|
//! | [`Clock`]       | `host::HostClock`                 | `sim::SimClock`                |
//! | [`Entropy`]     | `host::OsEntropy`                 | `sim::SimEntropy`              |
//! | [`BlockDevice`] | `uring::UringDisk`, `block::File` | `sim::SimDisk`, `block::Hdd` … |
//! | [`Datagram`]    | `uring::Udp`                      | `sim::SimSocket`               |
//! | [`Park`]        | `uring::Ring`, `host::ThreadPark` | `sim::SimPark`                 |
//!
//! What must always hold: nothing in this crate reads a clock, opens a file or starts a thread.

mod bdev;
mod buf;
mod chance;
mod datagram;
mod key;
mod open;
mod park;
mod region;
mod units;
mod zone;

pub use bdev::{
    BlockDevice, Completion, DeviceInfo, Geometry, IoError, Misfit, Op, OpKind, Persist, Request,
};
pub use buf::{BufClaim, BufPool, IoBuf, LentBuf, PoolClass, PoolExhausted, PoolLayout, Quota};
pub use chance::{Domain, Draws, Entropy, draw};
pub use datagram::{Datagram, DatagramLimits, Ecn, Received, SendRefused, Transmit};
pub use key::{Key, KeyParseError};
pub use open::{Leaf, OpenCause, OpenError, OpenOptions};
pub use park::{Due, Park, Unpark};
pub use region::{PageBacking, Region, RegionError};
pub use units::{BlockSize, Clock, CoreId, DiskId, Lba, Mono, Nanos, Tag, Wall, ZoneId};
pub use zone::{ZoneError, ZoneGeometry, ZoneInfo, ZoneReport, ZoneState};
