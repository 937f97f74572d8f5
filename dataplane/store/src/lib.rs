//! The shard store: one disk, nothing lost, one seek per read.
//!
//! What must always hold: an acknowledged shard is durable; a byte that is given away is the byte
//! that was put; what was deleted does not come back. docs/ON-DISK.md draws the format,
//! docs/DURABILITY-REVIEW.md names each threat with its countermeasure.
//!
//! | file            | what it holds                                                       |
//! |-----------------|---------------------------------------------------------------------|
//! | `store.rs`      | [`Store`]: what its users hold                                      |
//! | `api.rs`        | what is asked and what is answered                                  |
//! | `payload.rs`    | [`PutBuf`] and [`Shard`]: payloads on their way in and out          |
//! | `place.rs`      | [`Place`]: where a record lies                                      |
//! | `medium.rs`     | the disk, cut into extents                                          |
//! | `layout/`       | every byte that survives a power cut                                |
//! | `index/`        | where each shard is                                                 |
//! | `extents.rs`    | what each extent is, and who may take the next one                  |
//! | `mutate.rs`     | puts and deletes, one change of a key at a time                     |
//! | `append.rs`     | batches: written, flushed, then counted and answered                |
//! | `get.rs`        | reads, every byte checked                                           |
//! | `record.rs`     | whether a record that was read is whole                             |
//! | `reserve.rs`    | gets that are served here or at another disk                        |
//! | `runs.rs`       | the index on the disk; listings                                     |
//! | `checkpoint.rs` | the state of the disk, written down; extents emptied                |
//! | `lifetime.rs`   | what lies together, and what the cleaner empties next               |
//! | `reclaim.rs`    | the cleaner                                                         |
//! | `scrub.rs`      | reading what nobody asks for                                        |
//! | `recovery/`     | from a disk to a store                                              |
//! | `offline/`      | what tools do with a disk that no store runs on                     |
//! | `sched/`        | which request the disk serves next                                  |
//! | `model.rs`      | the reference model, and the trait that both keep                  |
//! | `planted.rs`    | deliberate bugs, for the suite that must find them                  |

mod api;
mod append;
mod checkpoint;
mod core;
mod event;
mod extents;
mod get;
pub mod index;
pub mod layout;
mod lifetime;
mod medium;
pub mod model;
mod mutate;
pub mod offline;
mod payload;
mod place;
mod planted;
mod reclaim;
mod record;
mod recovery;
mod reserve;
mod runs;
pub mod sched;
mod scrub;
mod store;

pub use api::{Delete, DeleteError, Get, GetError, Identity, Listed, Page, Put, PutError};
pub use core::{Counters, World};
pub use extents::{ExtentCounts, Reserve};
pub use isotherm_seam::{Key, KeyParseError};
pub use lifetime::{Candidate, victim};
pub use medium::{Cut, EXTENT_BLOCKS_DEFAULT, EXTENTS_LEAST, PAYLOAD_MAX, Unfit};
pub use payload::{PutBuf, Shard};
pub use place::{BLOCK_BYTES, ExtentId, Place};
pub use planted::{Bug, Planted};
pub use reclaim::Reclaimed;
pub use recovery::{
    FormatError, FormatOptions, Hole, OpenError, RecoveredDisk, RecoveryReport, ScannedDisk,
    WalkError, format, uuid_text,
};
pub use reserve::Reserved;
pub use scrub::{ScrubReport, ScrubTarget, most_at_risk};
pub use store::{Options, Status, Store};
