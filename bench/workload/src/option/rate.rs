//! How long a job runs, and how fast.

use isotherm_seam::Nanos;

use super::{Kind, OptionRow, Word, also, row};
use crate::ArrivalProcess;

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    also(
        "runtime",
        "timeout",
        Kind::Time(|j, v| j.runtime = (v > Nanos::ZERO).then_some(v)),
        "stop after so long",
    ),
    row("time_based", Kind::Switch(|j, v| j.time_based = v), "go on until runtime is over"),
    row("ramp_time", Kind::Time(|j, v| j.ramp = v), "measure only after so long [0]"),
    row(
        "rate_iops",
        Kind::Rates(|j, v| j.rate_iops = v),
        "open loop at so many requests a second, each direction",
    ),
    row("rate_process", Kind::Word(PROCESSES), "spacing of the open loop [linear]"),
];

const PROCESSES: &[Word] = &[
    ("linear", |j| j.process = ArrivalProcess::Linear),
    ("poisson", |j| j.process = ArrivalProcess::Poisson),
];
