//! Workloads: what a measurement asks of a disk, without any disk.
//!
//! - [`Parsed`]: fio's job files and flags, read into [`Job`]s by one table of options.
//! - [`Addresses`]: which block comes next. [`Arrivals`]: when it comes.
//! - [`Content`]: the bytes that a write leaves behind, so that a reader can check them.
//!
//! What must always hold: the same job and the same seed give the same requests, in the same
//! order, at the same times. Nothing here opens a device, reads a clock or draws from the
//! operating system; a job file is the only thing that is read.

mod address;
mod arrival;
mod content;
mod fast;
mod job;
mod jobfile;
mod option;
mod parse;
mod quantity;
mod shuffle;

pub use address::{AddressPlan, Addresses, Direction};
pub use arrival::Arrivals;
pub use content::{Content, Mismatch};
pub use fast::FastRng;
pub use job::{ArrivalProcess, Engine, Extent, Job, Pattern};
pub use option::{Kind, OPTIONS, OptionRow, Word, find as find_option};
pub use parse::{Environment, Message, ParseCause, ParseError, Parsed, Place};
pub use quantity::Expected;
pub use shuffle::Shuffle;
