//! Emulated disks for any program: devices of a spec, offered as files through FUSE.
//!
//! A file of the mount is a disk. What is asked of it goes to the device of its spec, and is
//! answered when the device says so: with `hdd:` in the spec, when the modelled drive would. A
//! loop device over such a file is a real block device that behaves like a hard disk.
//!
//! ```text
//! any program ─> kernel ─> Files (FUSE's thread) ─ Ask ─> Counter (one thread) ─> BlockDevice
//!                  ^                                         │ reply, a lead early
//!                  └─────────────────────────────────────────┘
//! ```
//!
//! What must always hold: every ask is answered once, also when the mount ends; nothing but the
//! files named in the specs is written; the way through the kernel is measured before anybody is
//! served, and an answer is given that much earlier, so that the program sees the modelled time.

mod ask;
mod counter;
mod files;
mod lead;
mod mount;
mod tally;

pub use mount::{Serve, ServeError, ServeOptions, Served, serve};
pub use tally::DiskTally;
