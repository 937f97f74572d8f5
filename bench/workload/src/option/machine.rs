//! The machine that a job runs on: processors, priorities, clocks.

use super::{Kind, OptionRow, row};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "clocksource",
        Kind::Noted("time comes from the processor's counter where it is steady"),
        "",
    ),
    row("gtod_cpu", Kind::Noted("no processor is set aside to read the clock"), ""),
    row("cpus_allowed", Kind::Noted(PINNED), ""),
    row("cpus_allowed_policy", Kind::Noted(PINNED), ""),
    row("cpumask", Kind::Noted(PINNED), ""),
    row("nice", Kind::Noted("all jobs run at the priority of the program"), ""),
    row("prio", Kind::Noted("requests carry no priority"), ""),
    row("prioclass", Kind::Noted("requests carry no priority"), ""),
];

const PINNED: &str = "jobs are dealt to the cores that --cores says, and stay there";
