//! What serves a job, and how many requests it has in flight.

use super::{Kind, OptionRow, Word, also, row};
use crate::Engine;

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row("ioengine", Kind::Word(ENGINES), "what serves it [io_uring]"),
    row("iodepth", Kind::Count(1, 4096, |j, v| j.depth = v as u32), "requests in flight [1]"),
    row("direct", Kind::Flag(|j, v| j.direct = v), "bypass the page cache [0]"),
    row("buffered", Kind::Flag(|j, v| j.direct = !v), "the opposite of direct"),
    also(
        "iodepth_batch",
        "iodepth_batch_submit",
        Kind::Count(0, 4096, |j, v| j.queue.batch = (v > 0).then_some(v as u32)),
        "requests sent at a time, at most [as many as may be in flight]",
    ),
    also(
        "iodepth_batch_complete_min",
        "iodepth_batch_complete",
        Kind::Count(0, 4096, |j, v| j.queue.complete_min = v as u32),
        "completions taken at a time, at least [1]",
    ),
    row(
        "iodepth_batch_complete_max",
        Kind::Count(0, 4096, |j, v| j.queue.complete_max = (v > 0).then_some(v as u32)),
        "completions taken at a time, at most [all there are]",
    ),
    row(
        "iodepth_low",
        Kind::Count(0, 4096, |j, v| j.queue.low = (v > 0).then_some(v as u32)),
        "once full, send nothing before no more than this are in flight [iodepth]",
    ),
    row(
        "io_submit_mode",
        Kind::NotedWord(
            &["inline", "offload"],
            "requests of an open loop go out at their time, whatever comes back",
        ),
        "",
    ),
    row("serialize_overlap", Kind::Noted("no two writes of a lane overlap in flight, ever"), ""),
    row("sync", Kind::Word(SYNCS), "each write durable before it completes (O_SYNC) [none]"),
    row(
        "fsync",
        Kind::Count(0, u64::MAX, |j, v| j.sync.every = (v > 0).then_some(v)),
        "flush after so many writes [0: never]",
    ),
    row(
        "fdatasync",
        Kind::Count(0, u64::MAX, |j, v| j.sync.data_every = (v > 0).then_some(v)),
        "as fsync",
    ),
    row("end_fsync", Kind::Flag(|j, v| j.sync.at_end = v), "flush at the end of the job [0]"),
    row(
        "fsync_on_close",
        Kind::Flag(|j, v| j.sync.on_close = v),
        "flush when files are closed: here at the end of the job [0]",
    ),
    row(
        "sync_file_range",
        Kind::Noted("a file is flushed as a whole: with fsync, fdatasync or end_fsync"),
        "",
    ),
    row("fixedbufs", Kind::Noted("buffers are always registered where the kernel takes them"), ""),
    row(
        "registerfiles",
        Kind::Noted("files are always registered where the kernel takes them"),
        "",
    ),
    row("libaio_vectored", Kind::Noted("requests are never vectored"), ""),
    row("userspace_reap", Kind::Noted("completions are reaped without a system call, always"), ""),
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

const SYNCS: &[Word] = &[
    ("none", |j| j.sync.each = false),
    ("0", |j| j.sync.each = false),
    ("sync", |j| j.sync.each = true),
    ("1", |j| j.sync.each = true),
    ("dsync", |j| j.sync.each = true),
];
