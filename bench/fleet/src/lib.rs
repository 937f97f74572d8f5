//! A fleet of disks under an open-loop load, and what each of them is like.
//!
//! | file          | what it holds                                                            |
//! |---------------|--------------------------------------------------------------------------|
//! | `load.rs`     | [`run`]: one thread drives all disks, by any clock                       |
//! | `lane.rs`     | one disk: its arrivals, its bounded queue, what it holds                 |
//! | `measure.rs`  | what one disk did: histograms, windows, slowest and failed reads         |
//! | `progress.rs` | [`Progress`]: a look at a run under way                                  |
//! | `plan.rs`     | [`Plan`]: what is planted, from a seed                              |
//! | `rig.rs`      | [`Rig`]: its disks, over files or in memory                       |
//! | `outcome.rs`  | [`Outcome`]: planned, measured, judged                                   |
//! | `document.rs` | the outcome as JSON                                                      |
//! | `table.rs`    | progress and outcome as text                                             |
//!
//! What must always hold: the verdict ([`isotherm_heat::judge`]) sees measurements and nothing
//! of the plan; every arrival is accounted for; the load never waits for the disks.

mod document;
mod lane;
mod load;
mod measure;
mod outcome;
mod plan;
mod progress;
mod rig;
pub mod table;

pub use document::document;
pub use lane::Arrived;
pub use load::{DiskMeasured, HostPace, LoadConfig, Measured, Subject, run};
pub use outcome::Outcome;
pub use plan::{Ail, DiskPlan, Grade, Plan, PlanConfig};
pub use progress::{LaneProgress, Progress};
pub use rig::{Place, Rig, RigError, TimeKind};
