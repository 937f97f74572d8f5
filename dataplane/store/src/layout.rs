//! Every byte that survives a power cut, declared in one folder.
//!
//! What must always hold: numbers once used are never used for anything else; all integers are
//! little-endian; padding is named and zero; sizes and offsets are asserted. docs/ON-DISK.md
//! describes the same for someone who writes another reader.
//!
//! | file            | what it declares                                                     |
//! |-----------------|----------------------------------------------------------------------|
//! | `block.rs`      | [`Block`]: the 4 KiB check block in front of everything              |
//! | `record.rs`     | shards: their part of the check block, rows of segments              |
//! | `tombs.rs`      | tombstones, packed in a block                                        |
//! | `mark.rs`       | the end of a batch; the head of an extent                            |
//! | `checkpoint.rs` | the state of the whole disk, as the meta extents hold it             |

mod block;
mod checkpoint;
mod mark;
mod record;
mod tombs;

pub use block::{Block, BlockError, Kind, Origin};
pub use checkpoint::{
    CHECKPOINT_VERSION, Checkpoint, CheckpointError, ExtentRow, Part, State, Stream,
};
pub use mark::{ExtentHead, Mark};
pub use record::{
    CELLS_MAX, CRC_BYTES, KILLS_MAX, Kill, Kills, RecordHead, SEGMENT_BYTES, Segments, Shape,
};
pub use tombs::{TOMBS_MAX, Tomb, Tombs};

/// CRC32C (Castagnoli), as in iSCSI.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
