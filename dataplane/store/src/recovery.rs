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

mod recover;
mod scan;
mod walk;

pub(crate) use recover::window_blocks;
pub use recover::{RecoveredDisk, RecoveryReport};
pub use scan::{FormatError, FormatOptions, OpenError, ScannedDisk, format, uuid_text};
pub(crate) use scan::{checkpoint_blocks, write_checkpoint, written_blocks};
pub(crate) use walk::{Cursor, Piece, Walker, What};
pub use walk::{Hole, WalkError};
