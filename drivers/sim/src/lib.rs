//! The seeded twins of the seams: time, sleep, chance, disks and networks that replay from a seed.
//!
//! What must always hold: the same seed and the same calls give the same answers, to the last
//! bit, on every machine. Nothing here reads a clock, sleeps, or asks the system for chance;
//! whatever is drawn is keyed by (seed, domain, entity, counter), so that taking one action out
//! of a run leaves the draws of the others as they were.
//!
//! | file          | what it holds                                                        |
//! |---------------|----------------------------------------------------------------------|
//! | `clock.rs`    | [`SimClock`]: time that is turned by hand                            |
//! | `park.rs`     | [`SimPark`]: sleep that turns the clock instead                      |
//! | `entropy.rs`  | [`SimEntropy`]: keyed chance                                         |
//! | `image.rs`    | [`Image`]: what is on a medium, sparse, cheap to copy                |
//! | `cache.rs`    | a volatile write cache over an image: what is written, what is safe  |
//! | `zones.rs`    | write pointers of a host-managed disk                                |
//! | `faults.rs`   | [`FaultPlan`]: what goes wrong, as plain data                        |
//! | `disk.rs`     | [`SimDisk`] and [`DiskControl`], the two sides of a disk             |
//! | `drive.rs`    | requests in flight, in virtual time                                  |
//! | `fate.rs`     | what becomes of a request, and when                                  |
//! | `medium.rs`   | what requests do to the medium, and its harm                         |
//! | `crash.rs`    | [`Unsettled`]: all that a power cut may leave behind                 |
//! | `net.rs`      | [`SimNetwork`]: the links between hosts; [`SimSocket`]               |
//! | `recorder.rs` | [`Recorder`]: crash images of any device, from what it was sent      |
//! | `trace.rs`    | [`Trace`]: a digest of every event, to compare two runs              |

mod cache;
mod clock;
mod crash;
mod disk;
mod drive;
mod entropy;
mod fate;
mod faults;
mod image;
mod medium;
mod net;
mod park;
mod recorder;
mod trace;
mod zones;

pub use clock::SimClock;
pub use crash::{CrashReport, CrashStyle, Images, Unsettled};
pub use disk::{DiskControl, SimDisk, SimDiskConfig};
pub use entropy::SimEntropy;
pub use faults::{
    Content, Fault, FaultEvent, FaultKind, FaultPlan, FaultRates, FaultRecord, Harm, Latency, Slow,
    Stall,
};
pub use image::{Blank, Image, Sector};
pub use net::{
    HostId, LinkShape, NetCounters, SimNetwork, SimNetworkConfig, SimSocket, exponential,
};
pub use park::SimPark;
pub use recorder::{Recorder, Recording};
pub use trace::{Trace, TraceEvent, hash64};
