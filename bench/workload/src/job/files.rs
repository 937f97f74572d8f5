//! The files of a job: how many, how long, and how they come into being.

use crate::{Extent, ServicePlan};

/// What a job wants of its files.
#[derive(Clone, PartialEq, Debug)]
pub struct Files {
    /// How many it makes of its own; named ones are as many as there are names.
    pub count: u32,
    /// Length of each, in bytes: between these two.
    pub bytes: Option<(u64, u64)>,
    /// How they take turns.
    pub service: ServicePlan,
    /// Have all bytes of them written before the job writes.
    pub overwrite: bool,
    /// How room is taken for them.
    pub allocate: Allocate,
    /// Make them and do nothing else.
    pub create_only: bool,
    /// Make those that are missing.
    pub may_create: bool,
    /// Remove them at the end.
    pub unlink: bool,
    /// Start behind what they hold.
    pub append: bool,
    /// Drop what the page cache holds of them before the job starts.
    pub invalidate: bool,
    /// The n-th copy of the job starts n times this further on.
    pub offset_increment: Extent,
    /// A start given in percent is brought up to a multiple of this; of the shortest request if
    /// not given.
    pub offset_align: Option<u64>,
}

/// How room is taken for a file before it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allocate {
    /// None: the file grows as it is written.
    Nothing,
    /// All of it, and the file is that long.
    Whole,
    /// All of it, without a word about the length.
    Keep,
    /// None, but the file is that long.
    Length,
}

impl Default for Files {
    fn default() -> Files {
        Files {
            count: 1,
            bytes: None,
            service: ServicePlan::default(),
            overwrite: false,
            allocate: Allocate::Whole,
            create_only: false,
            may_create: true,
            unlink: false,
            append: false,
            invalidate: true,
            offset_increment: Extent::Bytes(0),
            offset_align: None,
        }
    }
}
