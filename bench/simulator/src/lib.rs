//! The whole cluster in one thread, in virtual time, from one seed.
//!
//! | file         | what it holds                                                      |
//! |--------------|--------------------------------------------------------------------|
//! | `world.rs`   | [`World`]: machines, their cores and disks, turned in an order     |
//! | `message.rs` | [`MessageNetwork`]: sessions whose messages are single events      |
//! | `plan.rs`    | [`Plan`]: what happens in a run, as plain data with a text         |
//! | `draw.rs`    | a plan from a seed                                                 |
//! | `cluster.rs` | nodes, clients and an operator in a world                          |
//! | `ledger.rs`  | the ground truth, and what clients saw                             |
//! | `linear.rs`  | whether what they saw can have happened in one order               |
//! | `memory.rs`  | [`keep_memory()`]: memory that stays the program's own             |
//! | `run.rs`     | [`run()`]: a plan is carried out and checked                       |
//! | `shrink.rs`  | [`shrink()`]: a plan that fails, cut down                          |

mod cluster;
mod draw;
mod ledger;
pub mod linear;
mod memory;
mod message;
mod operator;
mod plan;
mod run;
mod shrink;
mod world;

pub use ledger::{Failure, Tally};
pub use memory::keep_memory;
pub use message::{MessageConfig, MessageCounters, MessageEndpoint, MessageNetwork};
pub use plan::{Action, Plan, PlanError, Setup, What};
pub use run::{Report, RunOptions, Tier, run};
pub use shrink::{run_safely, shrink};
pub use world::{MachineId, World};
