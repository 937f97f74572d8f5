//! The shard store: one disk, nothing lost, one seek per read.

mod api;
pub mod index;
mod key;
pub mod layout;
mod place;
mod planted;
pub mod sched;

pub use api::{Delete, Get, GetError, Identity, Listed, Page, Put, PutError};
pub use key::{Key, KeyParseError};
pub use place::{BLOCK_BYTES, ExtentId, Place};
pub use planted::{Bug, Planted};
