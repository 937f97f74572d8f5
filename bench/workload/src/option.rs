//! The table of options: one row each, name, kind, what it does.
//!
//! What must always hold: an option is in [`OPTIONS`] and works, or is accepted there with a
//! recorded note that it has no effect, or is refused by name. Adding one is adding a row.

use isotherm_seam::Nanos;

use crate::quantity::{self, Expected};
use crate::{ArrivalProcess, Engine, Extent, Job, Pattern};

/// One option of a job.
pub struct OptionRow {
    /// Its name in a job file and, after `--`, on the command line.
    pub name: &'static str,
    /// Another name for it.
    pub alias: Option<&'static str>,
    /// What its value looks like and where it goes.
    pub kind: Kind,
    /// What it does, for `--help`.
    pub help: &'static str,
}

/// What an option's value looks like and where it goes.
pub enum Kind {
    /// Any text.
    Text(fn(&mut Job, &str)),
    /// On or off; on when given without a value.
    Flag(fn(&mut Job, bool)),
    /// A whole number within bounds.
    Count(u64, u64, fn(&mut Job, u64)),
    /// A size, or a part of the whole.
    Extent(fn(&mut Job, Extent)),
    /// A length of time.
    Time(fn(&mut Job, Nanos)),
    /// The block size: up to three sizes for read, write and trim, which must agree.
    BlockSize(fn(&mut Job, u64)),
    /// I/Os per second: one number, or one for reads and one for writes.
    Rates(fn(&mut Job, [Option<u64>; 2])),
    /// One of some words.
    Word(&'static [Word]),
    /// Accepted, without effect; why.
    Noted(&'static str),
}

/// A word and what it stands for.
pub type Word = (&'static str, fn(&mut Job));

/// Every option that a job may have.
pub const OPTIONS: &[OptionRow] = &[
    row(
        "name",
        Kind::Text(|j, v| j.name = v.into()),
        "what the job is called; on the command line, begins a job",
    ),
    row("description", Kind::Text(|j, v| j.description = Some(v.into())), "text for the results"),
    row(
        "filename",
        Kind::Text(|j, v| j.filenames.push(v.into())),
        "path, a:b list of paths, or device spec; may be repeated",
    ),
    row(
        "directory",
        Kind::Text(|j, v| j.directory = Some(v.into())),
        "where relative file names start",
    ),
    also("rw", "readwrite", Kind::Word(PATTERNS), "directions and order"),
    row(
        "rwmixread",
        Kind::Count(0, 100, |j, v| j.read_percent = v as u32),
        "reads in a mix, percent [50]",
    ),
    row(
        "rwmixwrite",
        Kind::Count(0, 100, |j, v| j.read_percent = 100 - v as u32),
        "writes in a mix, percent",
    ),
    also("bs", "blocksize", Kind::BlockSize(|j, v| j.block_bytes = v), "length of a request [4k]"),
    row("size", Kind::Extent(|j, v| j.size = Some(v)), "length of the region [all of the device]"),
    also(
        "io_size",
        "io_limit",
        Kind::Extent(|j, v| j.io_size = Some(v)),
        "how much to transfer [size]",
    ),
    row("offset", Kind::Extent(|j, v| j.offset = v), "start of the region [0]"),
    row(
        "number_ios",
        Kind::Count(0, u64::MAX, |j, v| j.number_ios = (v > 0).then_some(v)),
        "stop after so many requests",
    ),
    row("loops", Kind::Count(1, u64::MAX, |j, v| j.loops = v), "how often to do it all [1]"),
    row("iodepth", Kind::Count(1, 4096, |j, v| j.depth = v as u32), "requests in flight [1]"),
    row(
        "numjobs",
        Kind::Count(1, 4096, |j, v| j.copies = v as u32),
        "copies of the job side by side [1]",
    ),
    row("ioengine", Kind::Word(ENGINES), "what serves it [io_uring]"),
    row("direct", Kind::Flag(|j, v| j.direct = v), "bypass the page cache [0]"),
    row("buffered", Kind::Flag(|j, v| j.direct = !v), "the opposite of direct"),
    also(
        "runtime",
        "timeout",
        Kind::Time(|j, v| j.runtime = (v > Nanos::ZERO).then_some(v)),
        "stop after so long",
    ),
    row("time_based", Kind::Flag(|j, v| j.time_based = v), "go on until runtime is over"),
    row("ramp_time", Kind::Time(|j, v| j.ramp = v), "measure only after so long [0]"),
    row(
        "rate_iops",
        Kind::Rates(|j, v| j.rate_iops = v),
        "open loop at so many requests a second, each direction",
    ),
    row("rate_process", Kind::Word(PROCESSES), "spacing of the open loop [linear]"),
    row(
        "norandommap",
        Kind::Flag(|j, v| j.revisit = v),
        "random addresses may repeat within a pass",
    ),
    row(
        "randrepeat",
        Kind::Flag(|j, v| j.repeatable = v),
        "the same random addresses in every run [1]",
    ),
    row("randseed", Kind::Count(0, u64::MAX, |j, v| j.seed = v), "chooses the random addresses"),
    row(
        "refill_buffers",
        Kind::Flag(|j, v| j.refill_buffers = v),
        "new content for every write [0: one filling, reused]",
    ),
    also(
        "stonewall",
        "wait_for_previous",
        Kind::Flag(|j, v| j.stonewall = v),
        "start when all jobs before have ended",
    ),
    row("new_group", Kind::Flag(|j, v| j.new_group = v), "begin a new group of results"),
    row(
        "group_reporting",
        Kind::Flag(|j, v| j.group_reporting = v),
        "one result for the whole group",
    ),
    row(
        "thread",
        Kind::Noted("every job runs on a pinned thread, never in a process of its own"),
        "",
    ),
    row("fixedbufs", Kind::Noted("buffers are always registered where the kernel takes them"), ""),
    row(
        "registerfiles",
        Kind::Noted("files are always registered where the kernel takes them"),
        "",
    ),
    row("nonvectored", Kind::Noted("requests are never vectored"), ""),
    row("fallocate", Kind::Noted("files are laid out by writing them"), ""),
    row(
        "invalidate",
        Kind::Noted(
            "the page cache is left as it is: with direct=0, read what is cached from the cache",
        ),
        "",
    ),
    row(
        "clocksource",
        Kind::Noted("time comes from the processor's counter where it is steady"),
        "",
    ),
    also(
        "mem",
        "iomem",
        Kind::Noted("buffers come from a pool, in huge pages where they can be had"),
        "",
    ),
    also("iomem_align", "mem_align", Kind::Noted("buffers are aligned to the physical block"), ""),
    row("gtod_reduce", Kind::Noted("each request has its own times, always"), ""),
    row(
        "scramble_buffers",
        Kind::Noted("written content never compresses or repeats within a buffer"),
        "",
    ),
    row(
        "random_generator",
        Kind::Noted(
            "addresses come from a keyed permutation, or from xoshiro256++ with norandommap",
        ),
        "",
    ),
    row("create_serialize", Kind::Noted("files are laid out one after the other"), ""),
    row("per_job_logs", Kind::Noted("there are no log files yet"), ""),
];

const PATTERNS: &[Word] = &[
    ("read", |j| j.pattern = pattern(false, true, false)),
    ("write", |j| j.pattern = pattern(false, false, true)),
    ("randread", |j| j.pattern = pattern(true, true, false)),
    ("randwrite", |j| j.pattern = pattern(true, false, true)),
    ("rw", |j| j.pattern = pattern(false, true, true)),
    ("readwrite", |j| j.pattern = pattern(false, true, true)),
    ("randrw", |j| j.pattern = pattern(true, true, true)),
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

const PROCESSES: &[Word] = &[
    ("linear", |j| j.process = ArrivalProcess::Linear),
    ("poisson", |j| j.process = ArrivalProcess::Poisson),
];

/// Options that fio 3.33 has and [`OPTIONS`] has not: refused by name, so that nobody looks for
/// a misspelling.
pub(crate) const NOT_BUILT: &str = "\
allow_file_create allow_mounted_write allrandrepeat atomic ba block_error_percentiles bs_unaligned \
bsrange bssplit buffer_compress_chunk buffer_compress_percentage buffer_pattern bwavgtime cgroup \
clat_percentiles continue_on_error cpumask cpus_allowed cpus_allowed_policy create_fsync create_on_open \
create_only dedupe_global dedupe_mode dedupe_percentage disable_bw_measurement disable_clat disable_lat \
disable_slat disk_util do_verify end_fsync error_dump exec_postrun exec_prerun exit_what exitall \
exitall_on_error fadvise_hint fdatasync file_append file_service_type filename_format filesize fill_device \
flow flow_id fsync fsync_on_close gid gtod_cpu hipri hugepage-size ignore_error include io_submit_mode \
iodepth_batch iodepth_batch_complete_max iodepth_batch_complete_min iodepth_low iopsavgtime ioscheduler \
job_max_open_zones kb_base lat_percentiles latency_percentile latency_run latency_target latency_window \
lockfile lockmem log_avg_msec log_compression log_hist_coarseness log_hist_msec log_max_value log_offset \
log_prio log_unix_epoch max_latency max_open_zones merge_blktrace_file nice nrfiles numa_cpu_nodes \
numa_mem_policy offset_align offset_increment opendir openfiles overwrite percentage_random \
percentile_list pre_read prio prioclass profile random_distribution rate rate_cycle rate_ignore_thinktime \
rate_iops_min rate_min read_iolog replay_redirect replay_scale rw_sequencer serialize_overlap \
significant_figures slat_percentiles sqthread_poll startdelay stats steadystate steadystate_duration \
steadystate_ramp_time sync sync_file_range thinktime thinktime_blocks thinktime_spin trim_backlog \
trim_percentage uid uncached unified_rw_reporting unique_filename unit_base unlink unlink_each_loop verify \
verify_async verify_backlog verify_backlog_batch verify_dump verify_fatal verify_interval verify_offset \
verify_only verify_pattern verify_state_load verify_state_save wait_for write_barrier write_bw_log \
write_hint write_hist_log write_iolog write_iops_log write_lat_log zero_buffers zonecapacity zonemode \
zonerange zonesize zoneskip";

const fn row(name: &'static str, kind: Kind, help: &'static str) -> OptionRow {
    OptionRow { name, alias: None, kind, help }
}

const fn also(
    name: &'static str,
    alias: &'static str,
    kind: Kind,
    help: &'static str,
) -> OptionRow {
    OptionRow { name, alias: Some(alias), kind, help }
}

const fn pattern(random: bool, reads: bool, writes: bool) -> Pattern {
    Pattern { random, reads, writes }
}

/// The row of an option, by either of its names.
pub fn find(name: &str) -> Option<&'static OptionRow> {
    OPTIONS.iter().find(|row| row.name == name || row.alias == Some(name))
}

/// The name that the user may have meant, if one is near.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    OPTIONS
        .iter()
        .flat_map(|row| [Some(row.name), row.alias])
        .flatten()
        .map(|known| (edits(name, known), known))
        .min()
        // A third of the letters wrong is still a misspelling; more is another word.
        .filter(|&(edits, known)| edits * 3 <= known.len().max(name.len()))
        .map(|(_, known)| known)
}

impl OptionRow {
    /// Whether it may stand without a value.
    pub fn value_is_optional(&self) -> bool {
        matches!(self.kind, Kind::Flag(_) | Kind::Noted(_))
    }

    /// Reads the value and gives it to the job.
    pub(crate) fn apply(&self, job: &mut Job, value: Option<&str>) -> Result<(), Expected> {
        if let Kind::Flag(set) = self.kind {
            set(job, quantity::flag(value).ok_or(Expected::Flag)?);
            return Ok(());
        }
        if let Kind::Noted(_) = self.kind {
            return Ok(());
        }
        let text = value.map(str::trim).filter(|text| !text.is_empty()).ok_or(Expected::Text)?;
        match self.kind {
            Kind::Flag(_) | Kind::Noted(_) => unreachable!("dealt with above"),
            Kind::Text(set) => set(job, text),
            Kind::Count(min, max, set) => {
                let count = quantity::bytes(text).filter(|n| (min..=max).contains(n));
                set(job, count.ok_or(Expected::Count { min, max })?);
            }
            Kind::Extent(set) => set(job, quantity::extent(text).ok_or(Expected::Extent)?),
            Kind::Time(set) => set(job, quantity::time(text).ok_or(Expected::Time)?),
            Kind::BlockSize(set) => set(job, one_block_size(text)?),
            Kind::Rates(set) => set(job, rates(text).ok_or(Expected::Rates)?),
            Kind::Word(words) => {
                let found = words.iter().find(|(word, _)| *word == text);
                let known = || Expected::OneOf(words.iter().map(|(word, _)| *word).collect());
                found.ok_or_else(known)?.1(job);
            }
        }
        Ok(())
    }
}

fn one_block_size(text: &str) -> Result<u64, Expected> {
    let mut sizes = text.split(',').filter(|part| !part.trim().is_empty()).map(quantity::bytes);
    let first = sizes.next().flatten().filter(|&bytes| bytes > 0).ok_or(Expected::Bytes)?;
    // The whole request must fit the 32 bits of a device's limit.
    if first > 1 << 30 {
        return Err(Expected::Bytes);
    }
    sizes.all(|size| size == Some(first)).then_some(first).ok_or(Expected::OneBlockSize)
}

fn rates(text: &str) -> Option<[Option<u64>; 2]> {
    let one = |part: &str| match part.trim() {
        "" => Some(None),
        number => quantity::bytes(number).map(|n| (n > 0).then_some(n)),
    };
    let mut parts = text.split(',');
    let read = one(parts.next()?)?;
    // One number holds for both directions, as in fio.
    let write = parts.next().map_or(Some(read), one)?;
    // A third, for trims, may be there and empty.
    parts.all(|part| part.trim().is_empty()).then_some([read, write])
}

/// Levenshtein's distance with adjacent swaps counted as one.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if swap { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_not_also_refused() {
        let mut names: Vec<&str> =
            OPTIONS.iter().flat_map(|row| [Some(row.name), row.alias]).flatten().collect();
        names.extend(NOT_BUILT.split_whitespace());
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_misspelling_finds_its_option_and_another_word_does_not() {
        let cases =
            [("iodpeth", "iodepth"), ("randrepat", "randrepeat"), ("block_size", "blocksize")];
        for (wrong, right) in cases {
            assert_eq!(nearest(wrong), Some(right));
        }
        assert_eq!(nearest("frobnicate"), None);
    }

    #[test]
    fn rates_are_per_direction() {
        assert_eq!(rates("100"), Some([Some(100), Some(100)]));
        assert_eq!(rates("100,50"), Some([Some(100), Some(50)]));
        assert_eq!(rates(",50"), Some([None, Some(50)]));
        assert_eq!(rates("1k,"), Some([Some(1024), None]));
        assert_eq!(rates("1,2,3"), None);
        assert_eq!(rates("x"), None);
    }

    #[test]
    fn block_sizes_must_agree() {
        assert_eq!(one_block_size("4k,4k,4096"), Ok(4096));
        assert_eq!(one_block_size("4k,8k"), Err(Expected::OneBlockSize));
        assert_eq!(one_block_size("0"), Err(Expected::Bytes));
        assert_eq!(one_block_size("2g"), Err(Expected::Bytes));
    }
}
