//! What a job is called, how often it runs and when it starts.

use super::{Kind, OptionRow, Word, also, row};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "name",
        Kind::Text(|j, v| j.name = v.into()),
        "what the job is called; on the command line, begins a job",
    ),
    row("description", Kind::Text(|j, v| j.description = Some(v.into())), "text for the results"),
    row("kb_base", Kind::Word(KB_BASES), "1000: k is 1000 and kib is 1024 [1024: the reverse]"),
    row("loops", Kind::Count(1, u64::MAX, |j, v| j.loops = v), "how often to do it all [1]"),
    row(
        "numjobs",
        Kind::Count(1, 4096, |j, v| j.copies = v as u32),
        "copies of the job side by side [1]",
    ),
    also(
        "stonewall",
        "wait_for_previous",
        Kind::Switch(|j, v| j.stonewall = v),
        "start when all jobs before have ended",
    ),
    row("new_group", Kind::Switch(|j, v| j.new_group = v), "begin a new group of results"),
    row(
        "thread",
        Kind::Noted("every job runs on a pinned thread, never in a process of its own"),
        "",
    ),
    row("threads", Kind::Noted("fio takes it and does nothing with it; numjobs is meant?"), ""),
];

const KB_BASES: &[Word] = &[("1024", |j| j.kb_base = 1024), ("1000", |j| j.kb_base = 1000)];
