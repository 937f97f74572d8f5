//! The shard store: one disk, nothing lost, one seek per read.

mod key;
mod place;

pub use key::{Key, KeyParseError};
pub use place::{BLOCK_BYTES, ExtentId, Place};
