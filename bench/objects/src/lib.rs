//! Loads of objects: what users of a store do, on a schedule that nobody's answer can move.
//!
//! [`Plan`] says what is asked for, [`Schedule`] draws it from a seed, [`Runner`] does it against
//! anything that keeps [`Objects`]: a client of a real cluster ([`ClientObjects`]) or of one in
//! virtual time ([`Cluster`]).
//!
//! ```text
//! Plan ─> Schedule: operations with intended times ─> Runner ─> Pass: tallies, timelines
//!   └───> Demand: how bursty they are                   │
//!                                            Objects: put, get, delete
//! Pass + Busy ─> document: fio-shaped JSON ─> isotherm report
//! ```
//!
//! What must always hold: the schedule depends on the plan alone; response time counts from the
//! intended start; what could not be sent or did not come back is counted; what is read is checked.
//!
//! | file          | what it holds                                                    |
//! |---------------|------------------------------------------------------------------|
//! | `plan.rs`     | [`Plan`]: what is asked for                                      |
//! | `sizes.rs`    | [`SizeLaw`]: how long objects are                                |
//! | `burst.rs`    | a source that is now on and now off                              |
//! | `tenants.rs`  | who asks                                                         |
//! | `schedule.rs` | [`Schedule`]: operations, in order of their times                |
//! | `demand.rs`   | [`Demand`]: how unevenly they come                               |
//! | `objects.rs`  | [`Objects`]: what a load runs against                            |
//! | `client.rs`   | [`ClientObjects`]: a client as such                              |
//! | `cluster.rs`  | [`Cluster`]: a cluster in virtual time                           |
//! | `content.rs`  | the bytes of objects                                             |
//! | `ledger.rs`   | which versions are there                                         |
//! | `places.rs`   | room for a fixed number of operations                            |
//! | `runner.rs`   | [`Runner`]: a load under way                                     |
//! | `meter.rs`    | [`Sight`]: how it goes                                           |
//! | `tally.rs`    | [`Tally`], [`Times`]                                             |
//! | `timeline.rs` | [`Timeline`]: what happened when                                 |
//! | `busy.rs`     | [`Busy`]: how busy every disk was                                |
//! | `document.rs` | results as JSON                                                  |

mod burst;
mod busy;
mod client;
mod cluster;
mod content;
mod demand;
mod document;
mod ledger;
mod meter;
mod objects;
mod places;
mod plan;
mod runner;
mod schedule;
mod sizes;
mod tally;
mod tenants;
mod timeline;

pub use burst::{ALPHA, BurstLaw};
pub use busy::{Busy, Worked};
pub use client::ClientObjects;
pub use cluster::{Cluster, ClusterConfig, ClusterError};
pub use demand::Demand;
pub use document::{Header, document};
pub use meter::Sight;
pub use objects::{ObjectId, Objects, Trouble};
pub use plan::{ArrivalLaw, Mix, OBJECTS_MAX, Part, Plan, PlanError};
pub use runner::{Check, FillError, Pass, RunConfig, Runner};
pub use schedule::{Act, HOT, Operation, Schedule};
pub use sizes::{SizeLaw, SizeLawError};
pub use tally::{Kind, LATE, Tally, Times};
pub use timeline::{Column, Timeline};
