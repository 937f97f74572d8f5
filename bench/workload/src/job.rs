//! One job: what to do to which disks, how much of it, for how long.
//!
//! What must always hold: a [`Job`] says only what the user said and fio's defaults; which
//! driver serves it, and whether it fits the device, is found out by whoever runs it. So each
//! option remembers where it stood, for the messages of those who find out.

mod check;
mod course;
mod files;

use std::collections::BTreeMap;

use isotherm_seam::Nanos;

use crate::quantity::KB_BASE;
use crate::{
    FillingPlan, FloorPlan, LatencyTarget, Law, Measure, Place, ReplayPlan, Results, SizeLaw,
    SteadyPlan, ThinkPlan,
};

pub use check::CheckPlan;
pub use course::{ExitPlan, ExitScope, FlowPlan, QueuePlan, StartPlan, SyncPlan};
pub use files::{Allocate, Files};

/// A job section with its defaults filled in.
#[derive(Clone, Debug)]
pub struct Job {
    /// What the section is called.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// As written: a path, a list of paths joined by `:`, or the spec of a device. Whoever runs
    /// the job splits them, as only it knows specs.
    pub filenames: Vec<String>,
    /// Where relative paths start.
    pub directory: Option<String>,
    /// Names of the files that a job makes of its own, with `$jobname`, `$jobnum`, `$filenum`.
    pub filename_format: String,
    /// Directions and order.
    pub pattern: Pattern,
    /// In order, how many bytes to skip after each request; backwards if negative.
    pub skip_bytes: i64,
    /// In random order, how many requests in a row follow each draw.
    pub run: u64,
    /// What a request in a row does.
    pub sequencer: Sequencer,
    /// Of a mixed pattern, the share of reads, in percent.
    pub read_percent: u32,
    /// Length of the longest request, in bytes.
    pub block_bytes: u64,
    /// Lengths of requests, by [`crate::Direction::index`].
    pub sizes: [SizeLaw; 2],
    /// As given beside `block_sizes`, and stronger.
    pub size_laws: [Option<SizeLaw>; 2],
    /// Random requests start on multiples of this; of the shortest request if not given.
    pub align: [Option<u64>; 2],
    /// As given for reads, writes and trims; `block_bytes` is what the pattern makes of it.
    pub block_sizes: [u64; 3],
    /// Whether `k` is 1024 or 1000.
    pub kb_base: u64,
    /// Where the region starts.
    pub offset: Extent,
    /// How long the region is; to the end of the device if not given.
    pub size: Option<Extent>,
    /// How much to transfer; the size of the region if not given.
    pub io_size: Option<Extent>,
    /// Stop after so many requests.
    pub number_ios: Option<u64>,
    /// How often to do it all.
    pub loops: u64,
    /// Requests in flight.
    pub depth: u32,
    /// How many of this job run side by side.
    pub copies: u32,
    /// Stop after so long.
    pub runtime: Option<Nanos>,
    /// Go on until `runtime` is over even when all is transferred.
    pub time_based: bool,
    /// Measure only after so long.
    pub ramp: Nanos,
    /// Bypass the page cache.
    pub direct: bool,
    /// What serves it.
    pub engine: Engine,
    /// Arrivals per second for each direction, by [`crate::Direction::index`]: an open loop.
    pub rate_iops: [Option<u64>; 2],
    /// How arrivals are spaced.
    pub process: ArrivalProcess,
    /// Draw random addresses without regard to what was visited.
    pub revisit: bool,
    /// Take the same random addresses in every run.
    pub repeatable: bool,
    /// Chooses the random addresses of a repeatable job.
    pub seed: u64,
    /// In random order, how requests are spread.
    pub law: Law,
    /// In random order, how many of the requests are drawn, in percent; the others follow on the
    /// one before.
    pub random_percent: [u32; 2],
    /// Zones, and how to go through them.
    pub zones: ZonePlan,
    /// How requests go to the device and come back.
    pub queue: QueuePlan,
    /// When what was written is made durable.
    pub sync: SyncPlan,
    /// Bytes per second for each direction: an open loop, as with `rate_iops`.
    pub rate_bytes: [Option<u64>; 2],
    /// Rates below which it fails.
    pub floor: FloorPlan,
    /// Pauses.
    pub think: ThinkPlan,
    /// What would have come during a pause is not made up for.
    pub think_off_rate: bool,
    /// The latency to be kept, by a depth to be found; none if the latency is 0.
    pub target: LatencyTarget,
    /// A request that takes longer ends the job, by direction.
    pub max_latency: [Option<Nanos>; 2],
    /// When it is steady, which ends it; never if the duration is 0.
    pub steady: SteadyPlan,
    /// Go on after a failed request, by direction.
    pub past_errors: [bool; 2],
    /// When it starts.
    pub start: StartPlan,
    /// What its end does to others.
    pub exit: ExitPlan,
    /// Its share of the requests of several jobs.
    pub flow: FlowPlan,
    /// Processors that it may run on.
    pub cpus: Option<Vec<u32>>,
    /// Its files.
    pub files: Files,
    /// What writes leave behind.
    pub filling: FillingPlan,
    /// Whether it is read back and compared.
    pub check: CheckPlan,
    /// What is replayed in place of a pattern, if a log is named.
    pub replay: ReplayPlan,
    /// Start when all jobs before this one have ended.
    pub stonewall: bool,
    /// Begin a new group of results.
    pub new_group: bool,
    /// One result for all jobs of the group.
    pub group_reporting: bool,
    /// What is told of it, and how.
    pub results: Results,
    /// The section's own options as written, in order.
    pub given: Vec<(String, String)>,
    /// Where each option that was given stood.
    pub places: BTreeMap<&'static str, Place>,
}

/// Directions and order, as fio's `rw` says them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// In random order.
    pub random: bool,
    /// It reads.
    pub reads: bool,
    /// It writes.
    pub writes: bool,
}

impl Pattern {
    /// fio's word for it.
    pub fn word(self) -> &'static str {
        match (self.random, self.reads, self.writes) {
            (false, true, true) => "rw",
            (false, false, true) => "write",
            (false, _, _) => "read",
            (true, true, true) => "randrw",
            (true, false, true) => "randwrite",
            (true, _, _) => "randread",
        }
    }
}

/// What the requests do that follow a random one in a row, as fio's `rw_sequencer` says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sequencer {
    /// Go on where the one before ended.
    Sequential,
    /// Take the same address again.
    Identical,
}

/// A part of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of it.
    Percent(u32),
}

impl Extent {
    /// In bytes, of a whole of `whole_bytes`.
    pub fn of(self, whole_bytes: u64) -> u64 {
        match self {
            Extent::Bytes(bytes) => bytes,
            Extent::Percent(percent) => {
                (u128::from(whole_bytes) * u128::from(percent) / 100) as u64
            }
        }
    }
}

/// Zones of equal length with gaps between them, as fio's `zonemode=strided` has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ZonePlan {
    /// Asked for, or ruled out; if neither, a `bytes` asks for it.
    pub strided: Option<bool>,
    /// How much is transferred in a zone before the next one.
    pub bytes: u64,
    /// Length of a zone; as much as is transferred if 0.
    pub range_bytes: u64,
    /// From the end of a zone to the start of the next.
    pub gap: Option<Extent>,
}

/// What is asked to serve a job. The names are fio's where fio has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Engine {
    /// Not said: io_uring.
    Default,
    /// `io_uring`, `libaio`, `posixaio`: many requests in flight; io_uring.
    Async(&'static str),
    /// `sync`, `psync` and the like: one plain read or write after the other.
    Sync(&'static str),
    /// `file`: plain reads and writes on a few threads, at any depth.
    Threads,
    /// `null`: no device at all.
    Null,
}

impl Engine {
    /// The word that asked for it.
    pub fn word(self) -> &'static str {
        match self {
            Engine::Default => "io_uring",
            Engine::Async(word) | Engine::Sync(word) => word,
            Engine::Threads => "file",
            Engine::Null => "null",
        }
    }
}

/// How the arrivals of an open loop are spaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArrivalProcess {
    /// Evenly.
    Linear,
    /// As independent users make them: exponential gaps.
    Poisson,
}

impl Job {
    /// fio's defaults under this name.
    pub fn new(name: &str) -> Job {
        Job {
            name: name.to_owned(),
            description: None,
            filenames: Vec::new(),
            directory: None,
            filename_format: "$jobname.$jobnum.$filenum".to_owned(),
            pattern: Pattern { random: false, reads: true, writes: false },
            skip_bytes: 0,
            run: 1,
            sequencer: Sequencer::Sequential,
            read_percent: 50,
            block_bytes: 4096,
            sizes: [SizeLaw::Fixed(4096), SizeLaw::Fixed(4096)],
            size_laws: [None, None],
            align: [None; 2],
            block_sizes: [4096; 3],
            kb_base: KB_BASE,
            offset: Extent::Bytes(0),
            size: None,
            io_size: None,
            number_ios: None,
            loops: 1,
            depth: 1,
            copies: 1,
            runtime: None,
            time_based: false,
            ramp: Nanos::ZERO,
            direct: false,
            engine: Engine::Default,
            rate_iops: [None; 2],
            process: ArrivalProcess::Linear,
            revisit: false,
            repeatable: true,
            seed: 0,
            law: Law::Even,
            random_percent: [100; 2],
            zones: ZonePlan::default(),
            queue: QueuePlan::default(),
            sync: SyncPlan::default(),
            rate_bytes: [None; 2],
            floor: FloorPlan { bytes: [None; 2], ios: [None; 2], cycle: Nanos::from_secs(1) },
            think: ThinkPlan::default(),
            think_off_rate: false,
            target: LatencyTarget {
                latency: Nanos::ZERO,
                window: Nanos::ZERO,
                percent: 100.0,
                keep_running: false,
            },
            max_latency: [None; 2],
            steady: SteadyPlan {
                measure: Measure::Iops,
                slope: true,
                limit: 0.01,
                percent: true,
                duration: Nanos::ZERO,
                ramp: Nanos::ZERO,
            },
            past_errors: [false; 2],
            start: StartPlan::default(),
            exit: ExitPlan::default(),
            flow: FlowPlan::default(),
            cpus: None,
            files: Files::default(),
            filling: FillingPlan::default(),
            check: CheckPlan::default(),
            replay: ReplayPlan::default(),
            stonewall: false,
            new_group: false,
            group_reporting: false,
            results: Results::default(),
            given: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    /// What fio calls the `filenum`-th file of the `jobnum`-th copy of a job that names none.
    pub fn own_file(&self, jobnum: u32, filenum: u32) -> String {
        self.filename_format
            .replace("$jobname", &self.name.replace('/', "_"))
            .replace("$jobnum", &jobnum.to_string())
            .replace("$filenum", &filenum.to_string())
            // Of a client that drives others; there is none here.
            .replace("$clientuid", "")
    }

    /// Where an option stood, if it was given.
    pub fn place(&self, option: &str) -> Option<&Place> {
        self.places.get(option)
    }

    /// The latency to be kept, if there is one.
    pub fn latency_target(&self) -> Option<LatencyTarget> {
        (self.target.latency > Nanos::ZERO).then_some(self.target)
    }

    /// When it is steady, if that ends it.
    pub fn steady_plan(&self) -> Option<SteadyPlan> {
        (self.steady.duration > Nanos::ZERO).then_some(self.steady)
    }

    /// Whether it goes from zone to zone.
    pub fn is_strided(&self) -> bool {
        self.zones.strided.unwrap_or(self.zones.bytes > 0)
    }

    /// The lengths of those directions that the pattern has.
    pub fn sizes_used(&self) -> impl Iterator<Item = &SizeLaw> {
        let used = [self.pattern.reads, self.pattern.writes];
        self.sizes.iter().zip(used).filter(|(_, used)| *used).map(|(law, _)| law)
    }

    /// The shortest request, in bytes.
    pub fn block_bytes_min(&self) -> u64 {
        self.sizes_used().map(SizeLaw::min).min().unwrap_or(self.block_bytes)
    }

    /// Requests in flight that its engine will have: plain reads and writes come one by one.
    pub fn depth_effective(&self) -> u32 {
        match self.engine {
            Engine::Sync(_) => 1,
            _ => self.depth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_of_a_large_device_does_not_overflow() {
        assert_eq!(Extent::Percent(50).of(u64::MAX), u64::MAX / 2);
        assert_eq!(Extent::Bytes(7).of(3), 7);
    }

    #[test]
    fn files_are_named_by_the_format() {
        let mut job = Job::new("a/b");
        assert_eq!(job.own_file(1, 2), "a_b.1.2");
        job.filename_format = "d/$jobname-$filenum-$clientuid$jobnum.$x".to_owned();
        assert_eq!(job.own_file(3, 4), "d/a_b-4-3.$x");
    }

    #[test]
    fn patterns_have_fios_words() {
        let words: Vec<&str> = [(false, true, false), (true, true, true), (true, false, true)]
            .into_iter()
            .map(|(random, reads, writes)| Pattern { random, reads, writes }.word())
            .collect();
        assert_eq!(words, ["read", "randrw", "randwrite"]);
    }
}
