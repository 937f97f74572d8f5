//! The load runner: jobs on disks, measured as fio measures them.
//!
//! [`run`] takes jobs ([`isotherm_workload::Parsed`]) and gives a [`Report`], which prints as
//! fio's text and as fio's JSON. Each core runs one thread that owns a ring, a buffer pool and
//! its disks; a disk is a state machine, so hundreds cost no more threads than there are cores.
//!
//! ```text
//! Parsed --> Plan: phases of seats --> per core: Drivers open, Lanes check
//!                                               drive: turn each lane, sleep in the ring
//! Report <-- joined by job and group <-- LaneResult: tallies per disk and direction
//! ```
//!
//! What must always hold: each request has its own start and completion time; nothing is sent
//! before every device of a phase is open, checked and, where it is written, permitted; what ran
//! is reported, however the run ends, with the driver that ran and what could not be had.

mod calendar;
mod company;
mod depths;
mod drive;
mod failure;
mod histogram;
mod lane;
mod layout;
mod logbook;
mod meter;
mod open;
mod output;
mod plan;
mod region;
mod replay;
mod report;
mod run;
mod series;
mod setup;
mod shared;
mod spread;
mod tally;
mod target;
mod timeline;
mod usage;

pub use depths::Depths;
pub use drive::DiskSight;
pub use failure::{Failure, Trouble};
pub use histogram::Histogram;
pub use output::{FORMATS, Format, Style, failed_document, json_text};
use report::per_second;
pub use report::{DiskResult, JobResult, Report};
pub use run::{Sight, Watch, run};
pub use series::{Rates, Series};
pub use setup::{Setup, SetupCause, SetupError, TimeSource};
pub use tally::{LATE_NS, Latencies, OpenLoop, Parts, ResponseTimes, Tally};
pub use timeline::{Column, Timeline, cell_ns};
pub use usage::{CpuUse, DiskUse};
