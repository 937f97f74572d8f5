//! The disk scheduler: whose request the arm serves next, and who is told at once that it will
//! take too long. Derived in docs/IO-SCHEDULER.md.
//!
//! What must always hold: what the device has been given is counted against it until it
//! completes, whether anybody still waits for it or not; disk time is given to one class each;
//! a buffer that went in comes back.
//!
//! | file           | what it holds                                                      |
//! |----------------|--------------------------------------------------------------------|
//! | `class.rs`     | [`Class`], [`Budget`], [`SchedConfig`]                             |
//! | `profile.rs`   | [`DiskProfile`]: what a disk can do, as it was measured            |
//! | `calibrate.rs` | [`calibrate`]: measuring it                                        |
//! | `order.rs`     | which read is next                                                 |
//! | `budget.rs`    | disk time of the background classes                                |
//! | `plan.rs`      | the queue as a state machine of `now`                              |
//! | `queue.rs`     | [`DiskQueue`]: requests as futures                                 |
//! | `slots.rs`     | requests: waiting, in the device, done                             |
//! | `pump.rs`      | the task that fetches answers and hands over what is next          |
//! | `stats.rs`     | [`SchedStats`]                                                     |

mod budget;
mod calibrate;
mod class;
mod order;
mod plan;
mod profile;
mod pump;
mod queue;
mod slots;
mod stats;

pub use calibrate::{CalibrateError, CalibrateOptions, calibrate};
pub use class::{Budget, CLASSES, Class, SchedConfig};
pub use profile::{DiskProfile, ProfileError, SEEK_POINTS};
pub use queue::{DiskQueue, QueueError, QueuedCommand, QueuedTransfer, Reservation};
pub use stats::{ClassStats, SchedStats, WAIT_BINS};
