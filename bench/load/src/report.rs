//! What came out: the results of lanes, joined into those of jobs and groups.
//!
//! What must always hold: nothing measured is lost in joining: histograms, sums and counts of
//! a group are exactly those of its lanes, and what each disk did stays visible beside them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isotherm_seam::{DeviceInfo, Nanos, Wall};
use isotherm_workload::{Direction, Job, Parsed, Steady};

use crate::logbook::LogBook;
use crate::plan::Plan;
use crate::run::CoreResult;
use crate::series::Rates;
use crate::timeline::Timeline;
use crate::usage::{CpuUse, DiskUse};
use crate::{Depths, Failure, Latencies, Setup, Tally, TimeSource};

/// All that a run has to say.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it began.
    pub started: Wall,
    /// What told the time.
    pub time: TimeSource,
    /// How long it took, by the machine's clock.
    pub took: Nanos,
    /// It was told to stop before its end.
    pub interrupted: bool,
    /// One for each copy of a job, or for each group that reports as one.
    pub jobs: Vec<JobResult>,
    /// The options of global sections, as written.
    pub global: Vec<(String, String)>,
    /// What was accepted and has no effect, or another than it seems.
    pub messages: Vec<String>,
    /// What was wanted of the machine and could not be had.
    pub notes: Vec<String>,
    /// What the kernel counted on the disks underneath.
    pub disk_uses: Vec<DiskUse>,
    /// The process that ran it.
    pub pid: u32,
    /// Threads that ran, over all phases.
    pub threads: u32,
    /// What they used.
    pub cpu: CpuUse,
    all_jobs: Vec<Arc<Job>>,
    groups: Vec<u32>,
    join_disks: bool,
    lanes: Vec<(LaneResult, CpuUse)>,
    /// By the index of the job: when its phase began, since the run did, and what happened when.
    timelines: BTreeMap<usize, (Nanos, Timeline)>,
    /// Of each lane that kept any, by its number from 1 on.
    books: Vec<(usize, usize, Box<LogBook>)>,
}

/// The result of one copy of a job, or of a group.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// The job; of a group, its first.
    pub job: Arc<Job>,
    /// The group of results that it belongs to.
    pub group: u32,
    /// Copies that are joined in it.
    pub lanes: u32,
    /// By [`Direction::index`].
    pub tallies: [Tally; Direction::ALL.len()],
    /// What the rates were over time, by [`Direction::index`].
    pub rates: [Rates; Direction::ALL.len()],
    /// Requests in flight, sent and reaped at a time.
    pub depths: Depths,
    /// Requests that each lane may have had in flight, as the devices allowed.
    pub depth: u32,
    /// Of flushes, if there were any.
    pub syncs: Option<Box<Latencies>>,
    /// How long it was measured; of a group, the longest.
    pub elapsed: Nanos,
    /// Sum of the times of its lanes.
    pub elapsed_sum: Nanos,
    /// Its share of what its threads used, by requests.
    pub cpu: CpuUse,
    /// The first failure of each lane that had one.
    pub failures: Vec<Failure>,
    /// The depth that keeps the latency that was asked for; of several lanes, the least.
    pub found_depth: Option<u32>,
    /// How steady it became, if that was asked for.
    pub steady: Option<Arc<Steady>>,
    /// Its disks.
    pub disks: Vec<DiskResult>,
}

/// What one disk did.
#[derive(Clone, Debug)]
pub struct DiskResult {
    /// As it was named.
    pub spec: String,
    /// What runs underneath.
    pub info: DeviceInfo,
    /// By [`Direction::index`].
    pub tallies: [Tally; Direction::ALL.len()],
    /// How long it was measured.
    pub elapsed: Nanos,
}

/// What a lane brings back from its core.
#[derive(Clone, Debug)]
pub(crate) struct LaneResult {
    pub(crate) job: usize,
    pub(crate) rank: u64,
    pub(crate) elapsed: Nanos,
    pub(crate) rates: [Rates; Direction::ALL.len()],
    pub(crate) book: Option<Box<LogBook>>,
    pub(crate) syncs: Option<Box<Latencies>>,
    pub(crate) depths: Depths,
    pub(crate) failure: Option<Failure>,
    pub(crate) found_depth: Option<u32>,
    pub(crate) steady: Option<Arc<Steady>>,
    pub(crate) depth: u32,
    pub(crate) disks: Vec<DiskResult>,
}

impl LaneResult {
    fn ios(&self) -> u64 {
        self.disks.iter().flat_map(|disk| &disk.tallies).map(Tally::ios).sum()
    }
}

impl Report {
    pub(crate) fn new(plan: &Plan, parsed: &Parsed, setup: &Setup, started: Wall) -> Report {
        Report {
            started,
            time: setup.time,
            took: Nanos::ZERO,
            interrupted: false,
            jobs: Vec::new(),
            global: parsed.global.clone(),
            messages: plan.messages.clone(),
            notes: Vec::new(),
            disk_uses: Vec::new(),
            pid: std::process::id(),
            threads: 0,
            cpu: CpuUse::default(),
            all_jobs: plan.jobs.clone(),
            groups: plan.groups.clone(),
            join_disks: setup.disks > 1,
            lanes: Vec::new(),
            timelines: BTreeMap::new(),
            books: Vec::new(),
        }
    }

    /// Takes what one core brought back.
    pub(crate) fn add(&mut self, core: CoreResult, phase_began: Nanos) {
        self.threads += 1;
        self.cpu.add(&core.cpu);
        for note in core.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        for (job, timeline) in core.timelines {
            match self.timelines.entry(job) {
                Entry::Occupied(mut known) => known.get_mut().1.merge(&timeline),
                Entry::Vacant(none) => drop(none.insert((phase_began, timeline))),
            }
        }
        let whole: u64 = core.lanes.iter().map(LaneResult::ios).sum();
        for lane in core.lanes {
            let cpu = match whole {
                0 => CpuUse::default(),
                whole => core.cpu.share(lane.ios(), whole),
            };
            self.lanes.push((lane, cpu));
        }
    }

    /// Says where an open loop waited much longer than fio's latency tells.
    fn warn_of_hidden_waits(&mut self) {
        for job in &self.jobs {
            for direction in Direction::ALL {
                let tally = &job.tallies[direction.index()];
                let Some(open) = &tally.open_loop else { continue };
                let rt = open.response.percentile(99.0);
                let lat = tally.latencies.histogram.percentile(99.0);
                if rt > 2 * lat {
                    self.messages.push(format!(
                        "job {}: warning: p99(rt) of its {}s is {:.1} ms and p99(lat) is {:.1} ms: \
                         the disks do not keep up with the rate, and lat, which fio would report, \
                         hides it",
                        job.job.name,
                        direction.word(),
                        rt as f64 / 1e6,
                        lat as f64 / 1e6,
                    ));
                }
            }
        }
    }

    /// Joins what was brought back into results of jobs and groups.
    pub(crate) fn finish(&mut self) {
        let mut lanes = std::mem::take(&mut self.lanes);
        lanes.sort_by_key(|(lane, _)| lane.rank);
        let mut joined: BTreeMap<(u32, Option<usize>), usize> = BTreeMap::new();
        for (number, (mut lane, cpu)) in lanes.into_iter().enumerate() {
            let job = &self.all_jobs[lane.job];
            self.books.extend(lane.book.take().map(|book| (number + 1, lane.job, book)));
            if !job.results.stats {
                continue;
            }
            let group = self.groups[lane.job];
            let index = self.jobs.len();
            let key = match (job.group_reporting, self.join_disks) {
                (true, _) => Some((group, None)),
                (false, true) => Some((group, Some(lane.job))),
                (false, false) => None,
            };
            let at = key.map_or(index, |key| *joined.entry(key).or_insert(index));
            let result = JobResult::of(lane, Arc::clone(job), group, cpu);
            if at == index {
                self.jobs.push(result);
            } else {
                self.jobs[at].join(result);
            }
        }
        self.warn_of_hidden_waits();
    }

    /// Writes the logs that jobs ask for into `folder`, and returns the names of the files.
    pub fn write_logs(&self, folder: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
        let mut paths = Vec::new();
        for (number, job, book) in &self.books {
            let name = &self.all_jobs[*job].name;
            paths.extend(book.write(folder, name, *number, self.started)?);
        }
        Ok(paths)
    }

    /// What happened when: of each job, its name, when its phase began since the run did, and
    /// its timeline.
    pub fn timelines(&self) -> impl Iterator<Item = (&str, Nanos, &Timeline)> {
        self.timelines.iter().map(move |(job, (began, timeline))| {
            (self.all_jobs[*job].name.as_str(), *began, timeline)
        })
    }

    /// Every failure of every job.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.jobs.iter().flat_map(|job| &job.failures)
    }
}

impl JobResult {
    fn of(lane: LaneResult, job: Arc<Job>, group: u32, cpu: CpuUse) -> JobResult {
        let mut tallies: [Tally; Direction::ALL.len()] = Default::default();
        for disk in &lane.disks {
            tallies.iter_mut().zip(&disk.tallies).for_each(|(sum, part)| sum.merge(part));
        }
        JobResult {
            job,
            group,
            lanes: 1,
            tallies,
            rates: lane.rates,
            syncs: lane.syncs,
            depths: lane.depths,
            depth: lane.depth,
            elapsed: lane.elapsed,
            elapsed_sum: lane.elapsed,
            cpu,
            failures: lane.failure.into_iter().collect(),
            found_depth: lane.found_depth,
            steady: lane.steady,
            disks: lane.disks,
        }
    }

    fn join(&mut self, other: JobResult) {
        self.lanes += other.lanes;
        self.tallies.iter_mut().zip(&other.tallies).for_each(|(a, b)| a.merge(b));
        self.rates.iter_mut().zip(&other.rates).for_each(|(a, b)| a.beside(b));
        if let Some(syncs) = &other.syncs {
            self.syncs.get_or_insert_default().merge(syncs);
        }
        self.depths.merge(&other.depths);
        self.depth = self.depth.max(other.depth);
        self.elapsed = self.elapsed.max(other.elapsed);
        self.elapsed_sum += other.elapsed_sum;
        self.cpu.add(&other.cpu);
        self.failures.extend(other.failures);
        self.found_depth = self.found_depth.into_iter().chain(other.found_depth).min();
        self.steady = self.steady.take().or(other.steady);
        for disk in other.disks {
            // Copies of a job on one file or device are one disk; made-up ones are one each.
            let same = |known: &&mut DiskResult| {
                known.info.path.is_some() && known.info.path == disk.info.path
            };
            match self.disks.iter_mut().find(same) {
                Some(known) => known.join(&disk),
                None => self.disks.push(disk),
            }
        }
    }

    /// I/Os per second in one direction.
    pub fn iops(&self, direction: Direction) -> f64 {
        per_second(self.tallies[direction.index()].ios(), self.elapsed)
    }

    /// Bytes per second in one direction.
    pub fn bytes_per_second(&self, direction: Direction) -> f64 {
        per_second(self.tallies[direction.index()].bytes, self.elapsed)
    }

    /// Requests in both directions.
    pub fn ios(&self) -> u64 {
        self.tallies.iter().map(Tally::ios).sum()
    }

    /// The drivers underneath, each once.
    pub fn drivers(&self) -> Vec<&str> {
        let mut drivers: Vec<&str> = Vec::new();
        for disk in &self.disks {
            if !drivers.contains(&disk.info.driver.as_str()) {
                drivers.push(&disk.info.driver);
            }
        }
        drivers
    }

    /// What its devices could not have, each once, with the disks' names.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for disk in &self.disks {
            for note in &disk.info.notes {
                notes.entry(note).or_default().push(&disk.info.name);
            }
        }
        let said = |(note, disks): (&str, Vec<&str>)| match disks[..] {
            [disk] => format!("{disk}: {note}"),
            [disk, ..] => format!("{disk} and {} more: {note}", disks.len() - 1),
            [] => note.to_owned(),
        };
        notes.into_iter().map(said).collect()
    }
}

impl Report {
    /// How busy a disk underneath was, in percent of the run.
    pub(crate) fn utilisation(&self, disk: &DiskUse) -> f64 {
        let took_ms = (self.took.0 / 1_000_000).max(1);
        (disk.busy_ms as f64 * 100.0 / took_ms as f64).min(100.0)
    }
}

impl DiskResult {
    /// Adds what another lane did to the same disk.
    pub(crate) fn join(&mut self, other: &DiskResult) {
        self.tallies.iter_mut().zip(&other.tallies).for_each(|(a, b)| a.merge(b));
        self.elapsed = self.elapsed.max(other.elapsed);
    }

    /// I/Os per second in one direction.
    pub fn iops(&self, direction: Direction) -> f64 {
        per_second(self.tallies[direction.index()].ios(), self.elapsed)
    }
}

pub(crate) fn per_second(count: u64, elapsed: Nanos) -> f64 {
    if elapsed == Nanos::ZERO { 0.0 } else { count as f64 / elapsed.as_secs_f64() }
}
