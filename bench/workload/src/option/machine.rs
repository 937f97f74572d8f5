//! The machine that a job runs on: processors, priorities, clocks.

use super::{Kind, Misread, OptionRow, row};
use crate::read;

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "clocksource",
        Kind::Noted("time comes from the processor's counter where it is steady"),
        "",
    ),
    row("gtod_cpu", Kind::Noted("no processor is set aside to read the clock"), ""),
    row(
        "cpus_allowed",
        Kind::Own(
            |j, v| {
                j.cpus = Some(read::cpus(v).ok_or(Misread::Nonsense)?);
                Ok(())
            },
            "numbers of processors such as 0,2-3",
        ),
        "run on one of these processors [all that the program may use]",
    ),
    row(
        "cpumask",
        Kind::Own(
            |j, v| {
                j.cpus = Some(read::cpu_mask(v).ok_or(Misread::Nonsense)?);
                Ok(())
            },
            "a mask of processors such as 0x5",
        ),
        "as cpus_allowed, by the bits of a number",
    ),
    row("cpus_allowed_policy", Kind::NotedWord(&["shared", "split"], PINNED), ""),
    row("numa_cpu_nodes", Kind::Noted(NUMA), ""),
    row("numa_mem_policy", Kind::Noted(NUMA), ""),
    row("hugepage-size", Kind::Noted("buffers lie in huge pages where they can be had"), ""),
    row("write_hint", Kind::Noted("writes carry no hint of how long they live"), ""),
    row("priohint", Kind::Noted("requests carry no priority"), ""),
    row("nice", Kind::Noted("all jobs run at the priority of the program"), ""),
    row("prio", Kind::Noted("requests carry no priority"), ""),
    row("prioclass", Kind::Noted("requests carry no priority"), ""),
];

const PINNED: &str = "a lane is dealt to one processor and stays there";
const NUMA: &str = "memory is where the kernel puts it for the processor that runs the job";
