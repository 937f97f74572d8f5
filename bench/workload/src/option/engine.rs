//! What serves a job, and how many requests it has in flight.

use super::{Kind, OptionRow, Word, row};
use crate::Engine;

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row("ioengine", Kind::Word(ENGINES), "what serves it [io_uring]"),
    row("iodepth", Kind::Count(1, 4096, |j, v| j.depth = v as u32), "requests in flight [1]"),
    row("direct", Kind::Flag(|j, v| j.direct = v), "bypass the page cache [0]"),
    row("buffered", Kind::Flag(|j, v| j.direct = !v), "the opposite of direct"),
    row(
        "invalidate",
        Kind::Noted(
            "the page cache is left as it is: with direct=0, read what is cached from the cache",
        ),
        "",
    ),
    row("fixedbufs", Kind::Noted("buffers are always registered where the kernel takes them"), ""),
    row(
        "registerfiles",
        Kind::Noted("files are always registered where the kernel takes them"),
        "",
    ),
    row("nonvectored", Kind::Noted("requests are never vectored"), ""),
];

const ENGINES: &[Word] = &[
    ("io_uring", |j| j.engine = Engine::Async("io_uring")),
    ("libaio", |j| j.engine = Engine::Async("libaio")),
    ("posixaio", |j| j.engine = Engine::Async("posixaio")),
    ("sync", |j| j.engine = Engine::Sync("sync")),
    ("psync", |j| j.engine = Engine::Sync("psync")),
    ("vsync", |j| j.engine = Engine::Sync("vsync")),
    ("pvsync", |j| j.engine = Engine::Sync("pvsync")),
    ("pvsync2", |j| j.engine = Engine::Sync("pvsync2")),
    ("file", |j| j.engine = Engine::Threads),
    ("null", |j| j.engine = Engine::Null),
];
