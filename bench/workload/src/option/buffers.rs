//! What a job writes, and from where.

use super::{Kind, OptionRow, also, row};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "refill_buffers",
        Kind::Switch(|j, v| j.refill_buffers = v),
        "new content for every write [0: one filling, reused]",
    ),
    row(
        "scramble_buffers",
        Kind::Noted("written content never compresses or repeats within a buffer"),
        "",
    ),
    also(
        "mem",
        "iomem",
        Kind::Noted("buffers come from a pool, in huge pages where they can be had"),
        "",
    ),
    also("iomem_align", "mem_align", Kind::Noted("buffers are aligned to the physical block"), ""),
];
