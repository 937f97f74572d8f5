//! From a disk to a store, in three steps of which none can be left out:
//!
//! ```text
//! ScannedDisk ──recover──> RecoveredDisk ──start──> Store
//!  the checkpoints          the index and what       writes its first checkpoint,
//!  that are whole           every extent is          then takes requests
//! ```
//!
//! What must always hold: the first two steps write nothing. Every acknowledged change is in the
//! recovered index unless the medium lost it, and then the loss is reported as a hole. After an
//! unclean stop no extent is appended to that was appended to before.

mod again;
mod ahead;
mod format;
mod full_scan;
mod load;
mod recover;
mod scan;
mod start;
mod walk;

pub(crate) use again::PAUSES;
pub use format::{FormatError, FormatOptions, format, uuid_text};
pub(crate) use format::{checkpoint_blocks, write_checkpoint};
pub(crate) use recover::{NOWHERE, window_blocks};
pub use recover::{RecoveredDisk, RecoveryReport};
pub use scan::{OpenError, ScannedDisk};
pub(crate) use scan::{is_whole_part, written_blocks};
pub(crate) use walk::{Cursor, Piece, Walker, What};
pub use walk::{Hole, WalkError};
