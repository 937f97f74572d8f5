//! How long a job runs, and how fast.

use isotherm_seam::Nanos;

use super::{Kind, Misread, OptionRow, Word, also, row};
use crate::{ArrivalProcess, quantity, read};

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
    row(
        "rate",
        Kind::Rates(|j, v| j.rate_bytes = v),
        "open loop at so many bytes a second, each direction",
    ),
    also(
        "rate_min",
        "ratemin",
        Kind::Rates(|j, v| j.floor.bytes = v),
        "fail below so many bytes a second, each direction",
    ),
    row(
        "rate_iops_min",
        Kind::Rates(|j, v| j.floor.ios = v),
        "fail below so many requests a second, each direction",
    ),
    also(
        "rate_cycle",
        "ratecycle",
        Kind::Count(0, 86_400_000, |j, v| j.floor.cycle = Nanos::from_millis(v)),
        "milliseconds over which the least rates are judged; in steps of 100 [1000]",
    ),
    row(
        "rate_ignore_thinktime",
        Kind::Flag(|j, v| j.think_off_rate = v),
        "requests that would have come during a pause are left out [0: made up for]",
    ),
    row(
        "thinktime",
        Kind::Micros(|j, v| j.think.pause = v),
        "pause between requests, after all have come back; in microseconds [0]",
    ),
    row(
        "thinktime_spin",
        Kind::Micros(|j, v| j.think.spin = v),
        "so much of the pause is spent computing; in microseconds [0]",
    ),
    row(
        "thinktime_blocks",
        Kind::Count(0, u64::MAX, |j, v| j.think.every = Some(v)),
        "requests between pauses [1]",
    ),
    row("thinktime_blocks_type", Kind::Word(THINKS), "when those are counted [complete]"),
    row(
        "thinktime_iotime",
        Kind::Micros(|j, v| j.think.io_time = (v > Nanos::ZERO).then_some(v)),
        "time of work between pauses; in microseconds",
    ),
    row(
        "latency_target",
        Kind::Micros(|j, v| j.target.latency = v),
        "find the depth up to iodepth that keeps this latency; in microseconds",
    ),
    row(
        "latency_window",
        Kind::Micros(|j, v| j.target.window = v),
        "judged over windows of this length; in microseconds",
    ),
    row(
        "latency_percentile",
        Kind::Own(
            |j, v| {
                let percent: Option<f64> = v.parse().ok();
                let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
                j.target.percent = percent.ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "a number from 0 to 100",
        ),
        "so many requests of a window keep the latency, in percent [100]",
    ),
    row(
        "latency_run",
        Kind::Flag(|j, v| j.target.keep_running = v),
        "go on when the depth is found [0]",
    ),
    row(
        "max_latency",
        Kind::Own(
            |j, v| {
                let one =
                    |text: &str| quantity::micros(text).map(|t| (t > Nanos::ZERO).then_some(t));
                j.max_latency = read::per_direction(v, one).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "a time such as 500 (microseconds) or 10ms, or reads,writes",
        ),
        "fail when a request takes longer; in microseconds",
    ),
    also(
        "steadystate",
        "ss",
        Kind::Own(
            |j, v| {
                j.steady = read::steady(v, j.steady).ok_or(Misread::Nonsense)?;
                Ok(())
            },
            "iops, iops_slope, bw or bw_slope with a limit, such as iops:10%",
        ),
        "end when steady for ss_dur [iops_slope:0.01%]",
    ),
    also(
        "steadystate_duration",
        "ss_dur",
        Kind::Time(|j, v| j.steady.duration = v),
        "for how long it must be steady to end [0: never ends so]",
    ),
    also(
        "steadystate_ramp_time",
        "ss_ramp",
        Kind::Time(|j, v| j.steady.ramp = v),
        "what comes before is not looked at [0]",
    ),
    row("continue_on_error", Kind::Word(PAST_ERRORS), "go on after failed requests [none]"),
    row("rate_process", Kind::Word(PROCESSES), "spacing of the open loop [linear]"),
];

const PROCESSES: &[Word] = &[
    ("linear", |j| j.process = ArrivalProcess::Linear),
    ("poisson", |j| j.process = ArrivalProcess::Poisson),
];

const THINKS: &[Word] =
    &[("complete", |j| j.think.at_issue = false), ("issue", |j| j.think.at_issue = true)];

const PAST_ERRORS: &[Word] = &[
    ("none", |j| past(j, [false; 2], false)),
    ("0", |j| past(j, [false; 2], false)),
    ("read", |j| past(j, [true, false], false)),
    ("write", |j| past(j, [false, true], false)),
    ("io", |j| past(j, [true; 2], false)),
    ("verify", |j| past(j, [false; 2], true)),
    ("all", |j| past(j, [true; 2], true)),
    ("1", |j| past(j, [true; 2], true)),
];

fn past(job: &mut crate::Job, requests: [bool; 2], flaws: bool) {
    job.past_errors = requests;
    job.check.pass = flaws;
}
