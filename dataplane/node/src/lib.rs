//! One core of a storage node: its disks, and those who ask something of them.
//!
//! What must always hold: what one disk does, or fails to do, is felt by nobody who did not ask
//! for that disk; a request is answered or refused, whatever becomes of it; nothing is answered
//! as done before the store says that it is durable.
//!
//! | file         | what it holds                                                       |
//! |--------------|---------------------------------------------------------------------|
//! | `node.rs`    | [`Node`]: sessions come, requests are served, all ends in good order |
//! | `shelf.rs`   | one disk: being opened, open, or why not; what it may hold at once  |
//! | `serve.rs`   | one request: from the wire to the store and back                    |
//! | `doubt.rs`   | whether a disk may have lost what it had acknowledged              |
//! | `reserve.rs` | reads that are reserved at several disks                           |
//! | `convert.rs` | the store's words in the wire's                                     |
//! | `planted.rs` | deliberate bugs, for the simulator that must find them              |
//! | `tally.rs`   | [`Tally`]: what was asked and how long it took                      |

mod convert;
mod doubt;
mod node;
mod planted;
mod reserve;
mod serve;
mod shelf;
mod tally;

pub use doubt::note_doubt;
pub use node::{Node, NodeConfig, NodeReport};
pub use planted::{Bug, Planted};
pub use shelf::{ShelfReport, ShelfState};
pub use tally::{LATENCY_BINS, Tally, bin_floor};
