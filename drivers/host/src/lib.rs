//! The machine underneath: its clock, its chance, its cores and its disks.
//!
//! This crate holds the real halves of the seams that are neither disk nor network, finds the
//! disks, and decides whether one may be written. What must always hold: nothing here writes
//! to a disk, and what could not be read or had is said, never assumed.

mod clock;
mod disk;
mod entropy;
mod limits;
mod mounts;
mod park;
mod realtime;
mod root;
pub mod safety;
mod topology;
mod tsc;

pub use clock::{ClockSource, Drift, HostClock};
pub use disk::{
    AccessRange, DeviceNumber, Disk, DiskKind, NotADeviceNumber, Partition, Uses, WriteCache,
    ZoneModel, Zones, read_disks, read_disks_under,
};
pub use entropy::{EntropyError, OsEntropy};
pub use limits::{HugePages, Limits, UringPolicy};
pub use park::ThreadPark;
pub use realtime::{RealtimeRefused, set_ordinary, set_realtime};
pub use root::HostRoot;
pub use topology::{Core, PinError, Topology, pin, preemptions};
