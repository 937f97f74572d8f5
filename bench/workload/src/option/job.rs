//! What a job is called, how often it runs, when it starts and what ends it.

use isotherm_seam::Nanos;

use super::{Kind, Misread, OptionRow, Word, also, row};
use crate::{ExitScope, read};

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
    row(
        "wait_for",
        Kind::Text(|j, v| j.start.after = Some(v.into())),
        "start when all copies of the job of this name have ended",
    ),
    row(
        "startdelay",
        Kind::Own(
            |j, v| {
                j.start.delay = read::delay(v).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "a time such as 5 (seconds) or a range such as 5-10",
        ),
        "start so long after the run began; a range: each copy by chance [0]",
    ),
    row("exitall", Kind::Switch(|j, v| j.exit.with_others = v), "its end ends others too"),
    row("exit_what", Kind::Word(EXITS), "which jobs exitall ends [group]"),
    row("exitall_on_error", Kind::Switch(|j, v| j.exit.on_error = v), "its failure ends others"),
    row("new_group", Kind::Switch(|j, v| j.new_group = v), "begin a new group of results"),
    row(
        "flow",
        Kind::Count(0, 1000, |j, v| j.flow.weight = v as u32),
        "share of the requests, beside the other jobs with a flow [0: takes no part]",
    ),
    row(
        "flow_id",
        Kind::Count(0, u32::MAX as u64, |j, v| j.flow.id = v as u32),
        "which jobs share a flow [0]",
    ),
    row(
        "flow_sleep",
        Kind::Count(0, u32::MAX as u64, |j, v| j.flow.rest = Nanos(v * 1000)),
        "microseconds to rest when ahead of the others [0]",
    ),
    row(
        "thread",
        Kind::Noted("every job runs on a pinned thread, never in a process of its own"),
        "",
    ),
    row("threads", Kind::Noted("fio takes it and does nothing with it; numjobs is meant?"), ""),
];

const KB_BASES: &[Word] = &[("1024", |j| j.kb_base = 1024), ("1000", |j| j.kb_base = 1000)];

const EXITS: &[Word] = &[
    ("group", |j| j.exit.scope = ExitScope::Group),
    ("stonewall", |j| j.exit.scope = ExitScope::Running),
    ("all", |j| j.exit.scope = ExitScope::All),
];
