//! What is told of a job, and how.

use super::{Kind, OptionRow, also, row};

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "group_reporting",
        Kind::Switch(|j, v| j.group_reporting = v),
        "one result for the whole group",
    ),
    row("gtod_reduce", Kind::Noted("each request has its own times, always"), ""),
    row("disable_lat", Kind::Noted(MEASURED), ""),
    row("disable_clat", Kind::Noted(MEASURED), ""),
    row("disable_slat", Kind::Noted(MEASURED), ""),
    also("disable_bw_measurement", "disable_bw", Kind::Noted(MEASURED), ""),
    row("bwavgtime", Kind::Noted("rates are taken once a second"), ""),
    row("iopsavgtime", Kind::Noted("rates are taken once a second"), ""),
    row("per_job_logs", Kind::Noted("there are no log files yet"), ""),
];

const MEASURED: &str = "everything is measured, always";
