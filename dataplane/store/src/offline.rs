//! What tools do with a disk that no store runs on: look things up, check, scan, show.
//!
//! What must always hold: nothing here writes, whatever is found. What is damaged is reported as
//! what it is, and the tool goes on behind it.
//!
//! | file         | what it holds                                                            |
//! |--------------|--------------------------------------------------------------------------|
//! | `entries.rs` | every entry of the index in the order of the keys; lookups and reads     |
//! | `check.rs`   | whether all that the index says is there is there, and unharmed          |
//! | `scan.rs`    | what the records say, without the index; and how the two differ          |
//! | `dump.rs`    | the blocks of an extent, one by one                                      |

mod check;
mod dump;
mod entries;
mod scan;

pub use check::{Checked, Fault};
pub use dump::{Dump, Dumped, Meaning, PayloadState, Sound};
pub use entries::{Entries, ExtentInfo};
pub use scan::{Difference, Survey};

use crate::ExtentId;

/// How far long work is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The extent that is read now.
    pub extent: ExtentId,
    /// Extents that are done,
    pub done: u32,
    /// of so many.
    pub extents: u32,
}

/// Who watches long work, and says whether it is to go on.
pub type Watch<'a> = &'a dyn Fn(Progress) -> bool;
