//! Block devices that need no ring: for tests, for measurements, and for where io_uring is
//! refused. One file each; all pass one conformance test; they stack by a [`Spec`] string.
//!
//! | kind     | what it is                                                    |
//! |----------|---------------------------------------------------------------|
//! | `null`   | completes at the next poll and moves no data                  |
//! | `memory` | a disk in memory                                              |
//! | `file`   | a file or block device by pread and pwrite on threads         |
//! | `hdd`    | a mechanical disk, by the clock, over any other               |
//! | `delay`  | a layer that adds latency                                     |
//! | `fault`  | a layer that does what disks do wrong                         |
//! | `zoned`  | a layer that keeps the rules of host-managed zones            |
//!
//! What must always hold: each driver keeps the contract of [`isotherm_seam::BlockDevice`], and
//! a layer passes on whatever freedom the contract leaves to the device below it.

mod backing;
pub mod conformance;
pub mod delay;
pub mod fault;
pub mod file;
pub mod hdd;
mod held;
mod memory;
mod null;
mod parts;
mod prefetch;
mod shape;
mod slots;
pub mod spec;
mod syscall;
pub mod zoned;

pub use delay::Delay;
pub use fault::Fault;
pub use file::File;
pub use memory::Memory;
pub use null::Null;
pub use shape::Shape;
pub use spec::{OpenContext, Spec};
pub use zoned::Zoned;
