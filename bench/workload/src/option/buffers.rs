//! What a job writes, and from where.

use super::{Kind, Misread, OptionRow, also, row};
use crate::{Base, read};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "refill_buffers",
        Kind::Switch(|j, v| j.filling.refill = v),
        "new content for every write [0: one filling, reused]",
    ),
    row(
        "zero_buffers",
        Kind::Switch(|j, v| j.filling.base = if v { Base::Zeros } else { Base::Random }),
        "write zeros",
    ),
    row(
        "buffer_pattern",
        Kind::Own(
            |j, v| {
                j.filling.base = Base::Pattern(read::bytes::pattern(v)?);
                Ok(())
            },
            "bytes such as 0xdeadbeef, \"text\" or -12, or several of these joined",
        ),
        "write these bytes over and over",
    ),
    row(
        "buffer_compress_percentage",
        Kind::Count(0, 100, |j, v| j.filling.compress_percent = Some(v as u32)),
        "how much of what is written compresses; the rest is random",
    ),
    row(
        "buffer_compress_chunk",
        Kind::Count(1, 1 << 30, |j, v| j.filling.chunk_bytes = v),
        "so much of each chunk of this length [512]",
    ),
    row(
        "dedupe_percentage",
        Kind::Count(0, 100, |j, v| j.filling.repeat_percent = v as u32),
        "how many writes repeat the one before [0]",
    ),
    row(
        "dedupe_mode",
        Kind::Own(
            |_, v| match v {
                "repeat" => Ok(()),
                "working_set" => Err(Misread::NotBuilt),
                _ => Err(Misread::Nonsense),
            },
            "repeat",
        ),
        "what repeated writes hold: what the one before did [repeat]",
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
