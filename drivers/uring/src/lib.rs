//! One io_uring per core: block devices, UDP sockets and the core's sleep on the same ring.
//!
//! [`Ring::new`] sets a ring up for the calling thread with whatever this kernel has and this
//! user may; [`Ring::open`] opens a file or block device on it, [`Ring::udp`] a socket; [`Ring`] is also what the core
//! sleeps on ([`isotherm_seam::Park`]). What could not be had is said in the notes of the ring
//! and of each disk. Needs Linux 5.13; is fast from 6.6 on.
//!
//! How a loop that wants speed is written:
//!
//! ```text
//! loop {
//!     submit what there is to submit
//!     if every device says Due::Event (or Idle):  ring.park(now, next timer)
//!     poll every device; handle what came
//! }
//! ```
//!
//! `park` hands everything over and sleeps in one system call, and returns at once if something
//! is done already, so polling first would only add a call. A core that must not sleep leaves
//! `park` out: then the first `poll` hands everything over.

mod alarm;
mod disk;
mod geometry;
mod helper;
mod medium;
mod open;
mod outcome;
mod probe;
mod qpair;
mod queue_limits;
mod raw;
mod ring;
mod setup;
mod sys;
mod udp;
mod wake;
mod watch;
mod zones;

pub use disk::UringDisk;
pub use ring::{Ring, RingConfig};
pub use udp::Udp;
