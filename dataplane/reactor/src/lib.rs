//! One core: an executor for futures that stay on their thread, with timers, disks, and
//! mailboxes to other cores.
//!
//! What must always hold: nothing is allocated per I/O or per wake; no wake-up is lost; the same
//! code runs on a real ring and in the simulator.
//!
//! | file           | what it holds                                                       |
//! |----------------|---------------------------------------------------------------------|
//! | `reactor.rs`   | [`Reactor`]: the loop                                               |
//! | `handle.rs`    | [`Handle`]: what tasks use of their core; sleeps and time-outs      |
//! | `task.rs`      | [`Task`], the slab of futures and the ready queue                   |
//! | `timers.rs`    | the timer heap                                                      |
//! | `disk.rs`      | [`Disk`]: requests as futures                                       |
//! | `port.rs`      | the requests of one disk: in the device, waiting, done              |
//! | `source.rs`    | [`Source`]: what is turned beside the disks; [`Waiter`]             |
//! | `mailbox.rs`   | [`Mailbox`] and [`Sender`]                                          |
//! | `handshake.rs` | how a thread reaches a core that may sleep (checked under loom)     |
//! | `beacon.rs`    | what other threads hold of a core; wakers                           |
//! | `idle.rs`      | whether to spin or to sleep                                         |
//! | `stall.rs`     | [`Stall`]: who held the core too long                               |
//! | `counters.rs`  | [`Counters`]                                                        |

mod beacon;
mod core;
mod counters;
mod disk;
mod handle;
mod handshake;
mod idle;
mod mailbox;
mod port;
mod reactor;
mod source;
mod stall;
mod task;
mod timers;

pub use counters::Counters;
pub use disk::{Command, Disk, Transfer};
pub use handle::{Elapsed, Handle, Sleep};
pub use mailbox::{Closed, Mailbox, SendError, Sender};
pub use reactor::{Batch, Order, Reactor, ReactorConfig};
pub use source::{Source, Waiter};
pub use stall::Stall;
pub use task::Task;
