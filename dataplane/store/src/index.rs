//! Where each shard is.

mod table;

pub use table::Table;
