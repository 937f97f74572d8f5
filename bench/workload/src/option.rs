//! The table of options: one row each, name, kind, what it does.
//!
//! What must always hold: an option is in [`OPTIONS`] and works, or is accepted there with a
//! recorded note that it has no effect, or is refused by name. Adding one is adding a row.

use isotherm_seam::Nanos;

use crate::error::Near;
use crate::known;
use crate::{ArrivalProcess, Engine, Extent, Job, Pattern, Sequencer};

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
    Switch(fn(&mut Job, bool)),
    /// 0 or 1; fio wants either.
    Flag(fn(&mut Job, bool)),
    /// A whole number within bounds.
    Count(u64, u64, fn(&mut Job, u64)),
    /// A size, or a part of the whole.
    Extent(fn(&mut Job, Extent)),
    /// A length of time.
    Time(fn(&mut Job, Nanos)),
    /// The block size: up to three sizes for read, write and trim.
    BlockSize(fn(&mut Job, [u64; 3])),
    /// Directions and order, with `:8` or `:-4k`.
    Pattern(&'static [Word]),
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
    row(
        "filename_format",
        Kind::Text(|j, v| j.filename_format = v.into()),
        "names of files that a job makes of its own [$jobname.$jobnum.$filenum]",
    ),
    also("rw", "readwrite", Kind::Pattern(PATTERNS), "directions and order; randrw:8, write:-4k"),
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
    also("bs", "blocksize", Kind::BlockSize(|j, v| j.block_sizes = v), "length of a request [4k]"),
    row("kb_base", Kind::Word(KB_BASES), "1000: k is 1000 and kib is 1024 [1024: the reverse]"),
    row("rw_sequencer", Kind::Word(SEQUENCERS), "what follows a draw with rw=randread:8"),
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
    row("time_based", Kind::Switch(|j, v| j.time_based = v), "go on until runtime is over"),
    row("ramp_time", Kind::Time(|j, v| j.ramp = v), "measure only after so long [0]"),
    row(
        "rate_iops",
        Kind::Rates(|j, v| j.rate_iops = v),
        "open loop at so many requests a second, each direction",
    ),
    row("rate_process", Kind::Word(PROCESSES), "spacing of the open loop [linear]"),
    row(
        "norandommap",
        Kind::Switch(|j, v| j.revisit = v),
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
        Kind::Switch(|j, v| j.refill_buffers = v),
        "new content for every write [0: one filling, reused]",
    ),
    also(
        "stonewall",
        "wait_for_previous",
        Kind::Switch(|j, v| j.stonewall = v),
        "start when all jobs before have ended",
    ),
    row("new_group", Kind::Switch(|j, v| j.new_group = v), "begin a new group of results"),
    row(
        "group_reporting",
        Kind::Switch(|j, v| j.group_reporting = v),
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
    row("threads", Kind::Noted("fio takes it and does nothing with it; numjobs is meant?"), ""),
    row("disable_lat", Kind::Noted(MEASURED), ""),
    row("disable_clat", Kind::Noted(MEASURED), ""),
    row("disable_slat", Kind::Noted(MEASURED), ""),
    also("disable_bw_measurement", "disable_bw", Kind::Noted(MEASURED), ""),
    row("gtod_cpu", Kind::Noted("no processor is set aside to read the clock"), ""),
    row("bwavgtime", Kind::Noted("rates are taken once a second"), ""),
    row("iopsavgtime", Kind::Noted("rates are taken once a second"), ""),
    row("cpus_allowed", Kind::Noted(PINNED), ""),
    row("cpus_allowed_policy", Kind::Noted(PINNED), ""),
    row("cpumask", Kind::Noted(PINNED), ""),
    row("nice", Kind::Noted("all jobs run at the priority of the program"), ""),
    row("prio", Kind::Noted("requests carry no priority"), ""),
    row("prioclass", Kind::Noted("requests carry no priority"), ""),
    row("per_job_logs", Kind::Noted("there are no log files yet"), ""),
];

const MEASURED: &str = "everything is measured, always";
const PINNED: &str = "jobs are dealt to the cores that --cores says, and stay there";

const PATTERNS: &[Word] = &[
    ("read", |j| j.pattern = pattern(false, true, false)),
    ("write", |j| j.pattern = pattern(false, false, true)),
    ("randread", |j| j.pattern = pattern(true, true, false)),
    ("randwrite", |j| j.pattern = pattern(true, false, true)),
    ("rw", |j| j.pattern = pattern(false, true, true)),
    ("readwrite", |j| j.pattern = pattern(false, true, true)),
    ("randrw", |j| j.pattern = pattern(true, true, true)),
];

const KB_BASES: &[Word] = &[("1024", |j| j.kb_base = 1024), ("1000", |j| j.kb_base = 1000)];

const SEQUENCERS: &[Word] = &[
    ("sequential", |j| j.sequencer = Sequencer::Sequential),
    ("identical", |j| j.sequencer = Sequencer::Identical),
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

/// The name that the user may have meant, if one is near. What works comes first.
pub(crate) fn nearest(name: &str) -> Option<Near> {
    let built = OPTIONS.iter().flat_map(|row| [Some(row.name), row.alias]).flatten();
    let built = built.map(|known| (edits(name, known), false, known));
    let known = known::names().map(|known| (edits(name, known), true, known));
    built
        .chain(known)
        .min()
        // A third of the letters wrong is still a misspelling; more is another word.
        .filter(|&(edits, _, known)| edits * 3 <= known.len().max(name.len()))
        .map(|(_, missing, known)| Near { name: known, supported: !missing })
}

impl OptionRow {
    /// Whether it may stand without a value.
    pub fn value_is_optional(&self) -> bool {
        matches!(self.kind, Kind::Switch(_) | Kind::Noted(_))
    }

    /// Where fio puts it among the options of a section, which it sorts: those that others
    /// depend on come first, those that depend on others last.
    pub(crate) fn turn(&self) -> i8 {
        match self.name {
            "kb_base" | "cpus_allowed_policy" => -1,
            "filename" | "filename_format" => 1,
            _ => 0,
        }
    }
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
        names.extend(known::names());
        names.sort_unstable();
        let twice: Vec<&str> = names.windows(2).filter(|w| w[0] == w[1]).map(|w| w[0]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn a_misspelling_finds_its_option_and_another_word_does_not() {
        let near = |wrong| nearest(wrong).map(|near| (near.name, near.supported));
        let cases =
            [("iodpeth", "iodepth"), ("randrepat", "randrepeat"), ("block_size", "blocksize")];
        for (wrong, right) in cases {
            assert_eq!(near(wrong).map(|(name, _)| name), Some(right));
        }
        assert_eq!(near("verfiy"), Some(("verify", false)));
        assert_eq!(near("frobnicate"), None);
    }
}
