//! What is told of a job, and how.

use isotherm_seam::Nanos;

use super::{Kind, OptionRow, Word, also, row};
use crate::Unified;

/// The rows.
pub(super) const ROWS: &[OptionRow] = &[
    row(
        "group_reporting",
        Kind::Switch(|j, v| j.group_reporting = v),
        "one result for the whole group",
    ),
    row(
        "percentile_list",
        Kind::Percents(|j, v| j.results.percentiles = v),
        "percentiles to tell, a:b:c, at most 20 [1:5:10:...:99.99]",
    ),
    row(
        "clat_percentiles",
        Kind::Flag(|j, v| j.results.clat.percentiles = v),
        "percentiles of completion latency [1]",
    ),
    row(
        "lat_percentiles",
        Kind::Flag(|j, v| j.results.lat.percentiles = v),
        "percentiles of whole latency [0]",
    ),
    row(
        "slat_percentiles",
        Kind::Flag(|j, v| j.results.slat.percentiles = v),
        "percentiles of submission latency, and time it on every driver [0]",
    ),
    row("disable_lat", Kind::Flag(|j, v| j.results.lat.told = !v), "leave out lat [0]"),
    row("disable_clat", Kind::Flag(|j, v| j.results.clat.told = !v), "leave out clat [0]"),
    row("disable_slat", Kind::Flag(|j, v| j.results.slat.told = !v), "leave out slat [0]"),
    also(
        "disable_bw_measurement",
        "disable_bw",
        Kind::Flag(|j, v| j.results.bandwidth = !v),
        "leave out bandwidth over time [0]",
    ),
    row(
        "gtod_reduce",
        Kind::Flag(|j, v| j.results.reduce(v)),
        "leave out all that fio needs the clock for (it is measured anyway) [0]",
    ),
    row("stats", Kind::Flag(|j, v| j.results.stats = v), "0: leave the job out of the results [1]"),
    row(
        "unified_rw_reporting",
        Kind::Word(UNIFIED),
        "tell directions apart (none), as one (mixed), or both [none]",
    ),
    row(
        "bwavgtime",
        Kind::Count(1, DAY_MS, |j, v| j.results.bandwidth_every = Nanos::from_millis(v)),
        "milliseconds between samples of the bandwidth; in steps of 100 [500]",
    ),
    row(
        "iopsavgtime",
        Kind::Count(1, DAY_MS, |j, v| j.results.iops_every = Nanos::from_millis(v)),
        "milliseconds between samples of the IOPS; in steps of 100 [500]",
    ),
    row(
        "write_bw_log",
        Kind::Prefix(|j, v| j.results.logs.bandwidth = Some(v.into())),
        "log bandwidth to NAME_bw.N.log [name of the job]",
    ),
    row(
        "write_iops_log",
        Kind::Prefix(|j, v| j.results.logs.iops = Some(v.into())),
        "log IOPS to NAME_iops.N.log [name of the job]",
    ),
    row(
        "write_lat_log",
        Kind::Prefix(|j, v| j.results.logs.latency = Some(v.into())),
        "log latencies to NAME_lat.N.log, _slat, _clat [name of the job]",
    ),
    row(
        "write_hist_log",
        Kind::Prefix(|j, v| j.results.logs.histogram = Some(v.into())),
        "log histograms of clat to NAME_clat_hist.N.log [name of the job]",
    ),
    row(
        "log_avg_msec",
        Kind::Count(0, DAY_MS, |j, v| j.results.logs.every = Nanos::from_millis(v)),
        "one line of a log for so many milliseconds; 0: for each request [0]",
    ),
    row(
        "log_max_value",
        Kind::Flag(|j, v| j.results.logs.greatest = v),
        "such a line has the greatest value, not the mean [0]",
    ),
    row("log_offset", Kind::Flag(|j, v| j.results.logs.offset = v), "lines have the offset [0]"),
    row(
        "per_job_logs",
        Kind::Flag(|j, v| j.results.logs.per_job = v),
        "a log for each copy of a job, numbered [1]",
    ),
    row(
        "log_unix_epoch",
        Kind::Flag(|j, v| j.results.logs.unix_epoch = v),
        "times in logs are since 1970, not since the start [0]",
    ),
    row(
        "log_hist_msec",
        Kind::Count(0, DAY_MS, |j, v| j.results.logs.histogram_every = Nanos::from_millis(v)),
        "milliseconds between two histograms of a log; 0: none [0]",
    ),
    row(
        "log_hist_coarseness",
        Kind::Count(0, 6, |j, v| j.results.logs.coarseness = v as u32),
        "two to this power buckets are one in a log of histograms [0]",
    ),
    row("log_entries", Kind::Noted("logs grow as they must"), ""),
    row("disk_util", Kind::Noted("what the kernel counts is always told"), ""),
    row("significant_figures", Kind::Noted("numbers of the text have four digits"), ""),
    row("log_compression", Kind::Noted("logs are kept in memory as they are"), ""),
    row("log_compression_cpus", Kind::Noted("logs are kept in memory as they are"), ""),
    row("log_store_compressed", Kind::Noted("logs are written as text"), ""),
];

const DAY_MS: u64 = 24 * 3600 * 1000;

const UNIFIED: &[Word] = &[
    ("none", |j| j.results.unified = Unified::Separate),
    ("0", |j| j.results.unified = Unified::Separate),
    ("mixed", |j| j.results.unified = Unified::Mixed),
    ("1", |j| j.results.unified = Unified::Mixed),
    ("both", |j| j.results.unified = Unified::Both),
    ("2", |j| j.results.unified = Unified::Both),
];
