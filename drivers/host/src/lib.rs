//! The machine underneath: its clock, its chance, its cores and its disks.
//!
//! This crate holds the real halves of the seams that are neither disk nor network, finds the
//! disks, and decides whether one may be written. What must always hold: nothing here writes
//! to a disk, and what could not be read or had is said, never assumed.

mod clock;
mod entropy;
mod park;
mod tsc;

pub use clock::{ClockSource, Drift, HostClock};
pub use entropy::{EntropyError, OsEntropy};
pub use park::ThreadPark;
