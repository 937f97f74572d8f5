//! Workloads: what a measurement asks of a disk, without any disk.
//!
//! - [`Script`]: fio's job files and flags, cut into sections. [`Parsed`]: read into [`Job`]s by
//!   one table of options.
//! - [`Addresses`]: which block comes next. [`Arrivals`]: when it comes.
//! - [`Content`]: the bytes that a write leaves behind, so that a reader can check them.
//!
//! What must always hold: the same job and the same seed give the same requests, in the same
//! order, at the same times. Nothing here opens a device, reads a clock or draws from the
//! operating system; job files, and what they include, are the only thing that is read.

mod address;
mod arithmetic;
mod arrival;
mod content;
mod depth_search;
mod environment;
mod error;
mod fast;
mod filling;
mod floor;
mod job;
mod jobfile;
mod known;
mod law;
mod list;
mod option;
mod parse;
mod quantity;
mod read;
mod results;
mod script;
mod service;
mod shuffle;
mod sizes;
mod steady;
mod think;
mod trace;
mod value;

pub use address::{AddressPlan, Addresses, Direction, Strides};
pub use arrival::Arrivals;
pub use content::{Content, Mismatch};
pub use depth_search::{DepthSearch, Found, LatencyTarget};
pub use environment::{Environment, Machine};
pub use error::{Message, Near, ParseCause, ParseError, Place};
pub use fast::FastRng;
pub use filling::{Base, Filling, FillingPlan};
pub use floor::{Floor, FloorPlan, TooSlow};
pub use job::{
    Allocate, ArrivalProcess, CheckPlan, Engine, ExitPlan, ExitScope, Extent, Files, FlowPlan, Job,
    Pattern, QueuePlan, Sequencer, StartPlan, SyncPlan, ZonePlan,
};
pub use known::refused;
pub use law::{Law, Ranks, ZoneShare};
pub use list::paths;
pub use option::{Kind, Misread, OptionRow, Reader, Word, find as find_option, options};
pub use parse::Parsed;
pub use quantity::Expected;
pub use results::{Family, Logs, PERCENTILES, Results, Unified};
pub use script::Script;
pub use service::{Service, ServicePlan, Turn};
pub use shuffle::Shuffle;
pub use sizes::{SizeLaw, SizeShare};
pub use steady::{Measure, Steady, SteadyPlan};
pub use think::{Gate, Think, ThinkPlan};
pub use trace::{
    Act, FileSurvey, ReplayPlan, Skip, Step, Trace, TraceCause, TraceError, TraceSurvey,
};
