//! The whole cluster in one thread, in virtual time, from one seed.
//!
//! | file         | what it holds                                                     |
//! |--------------|-------------------------------------------------------------------|
//! | `world.rs`   | [`World`]: the machines, their cores and disks, turned in an order |
//! | `message.rs` | [`MessageNetwork`]: sessions whose messages are single events      |

mod message;
mod world;

pub use message::{MessageConfig, MessageCounters, MessageEndpoint, MessageNetwork};
pub use world::{MachineId, World};
