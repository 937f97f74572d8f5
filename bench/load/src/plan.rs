//! Which lanes a run has, in which order, on which cores.
//!
//! What must always hold: whatever can be refused without opening a device is refused here,
//! before anything is made or opened: a job that may not write, a device that holds something.
//! Lanes that must share a device are on one core.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isotherm_block::Spec;
use isotherm_host::safety;
use isotherm_seam::{CoreId, Domain, Nanos, draw};
use isotherm_workload::{Job, Law, Parsed};

use crate::company::{Company, SteadyKey};
use crate::layout::{self, LayOut};
use crate::region;
use crate::replay::{self, Replay};
use crate::setup::{Setup, SetupCause, SetupError, TimeSource};
use crate::target;

const ADDRESSES: Domain = Domain::new("load.lane.addresses");
const DEVICE: Domain = Domain::new("load.lane.device");
const DELAY: Domain = Domain::new("load.lane.delay");

/// One copy of a job on one set of disks.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// Index of the job among all.
    pub(crate) job: usize,
    /// Orders the lanes of a run: by job, disk, copy.
    pub(crate) rank: u64,
    /// Which copy of the job it is.
    pub(crate) copy: u32,
    /// Its disks.
    pub(crate) specs: Vec<Spec>,
    /// The log that it replays.
    pub(crate) replay: Option<Replay>,
    /// So long after the run began it starts.
    pub(crate) delay: Nanos,
    /// And when no lane of these jobs runs any more.
    pub(crate) after: Vec<usize>,
    /// The core that it runs on, among those of the run.
    pub(crate) core: usize,
    /// Chooses its addresses, mix and contents.
    pub(crate) seed: u64,
    /// Chooses what its devices do by chance.
    pub(crate) device_seed: u64,
    /// Devices that more than one lane writes, and how deep they are over all of them.
    pub(crate) shared: Arc<BTreeMap<PathBuf, u32>>,
}

impl Seat {
    /// Requests that it may have in flight on a ring.
    pub(crate) fn ring_depth(&self, job: &Job) -> u32 {
        // Only what has a path can be driven by a ring. `file:` is not, and costs nothing here.
        self.specs.iter().filter(|spec| spec.path().is_some()).count() as u32
            * job.depth_effective()
    }
}

/// Lanes that run at the same time, by core.
pub(crate) type Phase = Vec<Vec<Seat>>;

/// A run, laid out.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) jobs: Vec<Arc<Job>>,
    /// Group of results, by job.
    pub(crate) groups: Vec<u32>,
    pub(crate) phases: Vec<Phase>,
    /// What must be made before anything is opened.
    pub(crate) lay_outs: Vec<LayOut>,
    pub(crate) messages: Vec<String>,
}

impl Plan {
    /// Lays out the jobs over these cores; in virtual time there is one, without a number.
    pub(crate) fn new(
        parsed: &Parsed,
        setup: &Setup,
        cores: &[CoreId],
    ) -> Result<Plan, SetupError> {
        let mut jobs = Vec::with_capacity(parsed.jobs.len());
        let mut replays = Vec::with_capacity(parsed.jobs.len());
        for job in &parsed.jobs {
            let mut job = job.clone();
            replays.push(replay::prepare(&mut job)?);
            jobs.push(Arc::new(job));
        }
        let mut plan = Plan {
            groups: groups(&jobs),
            phases: Vec::new(),
            lay_outs: Vec::new(),
            messages: parsed.messages.iter().map(ToString::to_string).collect(),
            jobs,
        };
        let mut phase: Vec<Seat> = Vec::new();
        let mut phases = Vec::new();
        for (index, job) in plan.jobs.iter().enumerate() {
            if job.stonewall && !phase.is_empty() {
                phases.push(std::mem::take(&mut phase));
            }
            check(job, setup)?;
            phase.extend(seats(index, &plan.jobs, &replays[index], setup)?);
        }
        phases.push(phase);
        plan.check_writes(&phases, setup)?;
        for seat in phases.iter().flatten() {
            plan.lay_out(seat)?;
        }
        plan.note_engines();
        plan.note_shares();
        for seats in phases.into_iter().filter(|seats| !seats.is_empty()) {
            plan.phases.push(spread(seats, &plan.jobs, setup, cores)?);
        }
        Ok(plan)
    }

    /// What the lanes of this run know of each other.
    pub(crate) fn company(&self) -> Company {
        let groups = self.groups.iter().max().map_or(0, |group| group + 1);
        let mut company = Company::new(self.jobs.len(), groups as usize);
        for seat in self.phases.iter().flatten().flatten() {
            let job = &self.jobs[seat.job];
            company.expect(seat.job, (job.flow.weight > 0).then_some(job.flow.id));
            if let Some(plan) = job.steady_plan() {
                company.expect_steady(self.steady_key(seat.job, seat.rank), plan);
            }
        }
        company
    }

    /// Who is judged together with this seat of a job.
    pub(crate) fn steady_key(&self, job: usize, rank: u64) -> SteadyKey {
        match self.jobs[job].group_reporting {
            true => SteadyKey::Group(self.groups[job]),
            false => SteadyKey::Lane(rank),
        }
    }

    /// Files that jobs want removed at the end.
    pub(crate) fn unlinked(&self) -> impl Iterator<Item = &Path> {
        let seats = self.phases.iter().flatten().flatten();
        let seats = seats.filter(|seat| self.jobs[seat.job].files.unlink);
        seats.flat_map(|seat| seat.specs.iter().filter_map(Spec::path))
    }

    /// Notes what is missing of the files of a seat.
    fn lay_out(&mut self, seat: &Seat) -> Result<(), SetupError> {
        let job = &self.jobs[seat.job];
        for (index, spec) in seat.specs.iter().enumerate() {
            let path = spec.path().filter(|path| !path.exists() && !path.starts_with("/dev"));
            if let Some(path) = path.filter(|_| !job.files.may_create) {
                let cause = SetupCause::MayNotCreate { path: path.to_owned() };
                return Err(SetupError::new(job, "allow_file_create", cause));
            }
            let bytes = region::needed_bytes(job, seat, index);
            let Some(lay_out) = layout::missing(spec, job, bytes) else { continue };
            match self.lay_outs.iter_mut().find(|known| known.path == lay_out.path) {
                Some(known) => known.join(&lay_out),
                None => self.lay_outs.push(lay_out),
            }
        }
        Ok(())
    }

    /// Says what is not quite as in fio, or easily misread.
    fn note_shares(&mut self) {
        for job in &self.jobs {
            let mut say = |text: &str| self.messages.push(format!("job {}: {text}", job.name));
            if job.pattern.random
                && !job.revisit
                && job.law == Law::Even
                && region::has_several_lengths(job)
            {
                say("with requests of several lengths each place is started from once per pass, \
                     and the longer ones reach into those behind");
            }
            if matches!(job.law, Law::Normal { .. }) {
                say("as in fio, what is drawn most often lies all over the region");
            }
            if job.filenames.iter().any(|name| target::is_void(name)) {
                say("/dev/null and /dev/zero are served by null");
            }
        }
    }

    /// Asks whether all that is to be written may be.
    fn check_writes(&self, phases: &[Vec<Seat>], setup: &Setup) -> Result<(), SetupError> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for seat in phases.iter().flatten().filter(|seat| self.jobs[seat.job].pattern.writes) {
            for path in seat.specs.iter().filter_map(Spec::path) {
                if !paths.iter().any(|known| known == path) {
                    paths.push(path.to_owned());
                }
            }
        }
        if paths.is_empty() && setup.destroy.is_empty() {
            return Ok(());
        }
        let permits = safety::may_write_all(&paths, &setup.destroy);
        permits.map(drop).map_err(|refusal| {
            let writer = self.jobs.iter().find(|job| job.pattern.writes).unwrap_or(&self.jobs[0]);
            SetupError::new(writer, "filename", refusal)
        })
    }

    fn note_engines(&mut self) {
        use isotherm_workload::Engine;
        for job in &self.jobs {
            let said = match job.engine {
                Engine::Sync(word) => format!(
                    "ioengine={word} is served by io_uring with one request in flight{}",
                    if job.depth > 1 { ", as iodepth has no effect with it" } else { "" }
                ),
                Engine::Async(word) if word != "io_uring" => {
                    format!("ioengine={word} is served by io_uring")
                }
                _ => continue,
            };
            let said = format!("job {}: {said}", job.name);
            if !self.messages.contains(&said) {
                self.messages.push(said);
            }
        }
    }
}

fn check(job: &Job, setup: &Setup) -> Result<(), SetupError> {
    if setup.read_only && job.pattern.writes {
        return Err(SetupError::new(job, "rw", SetupCause::WouldWrite));
    }
    let mixed = job.pattern.reads && job.pattern.writes;
    for (option, rates) in [("rate_iops", job.rate_iops), ("rate", job.rate_bytes)] {
        if mixed && rates[0].is_some() != rates[1].is_some() {
            return Err(SetupError::new(job, option, SetupCause::HalfARate));
        }
    }
    if job.rate_iops != [None; 2] && job.rate_bytes != [None; 2] {
        return Err(SetupError::new(job, "rate", SetupCause::TwoRates));
    }
    Ok(())
}

/// The copies of a job on each set of disks.
fn seats(
    index: usize,
    jobs: &[Arc<Job>],
    replays: &[Replay],
    setup: &Setup,
) -> Result<Vec<Seat>, SetupError> {
    let job = &jobs[index];
    let is_awaited = |other: &usize| Some(&jobs[*other].name) == job.start.after.as_ref();
    let after: Vec<usize> = (0..index).filter(is_awaited).collect();
    let mut seats = Vec::new();
    for disk in 0..setup.disks {
        for copy in 0..job.copies {
            let blame = |cause| SetupError::new(job, "filename", cause);
            let replay = replays.get(copy as usize % replays.len().max(1));
            let specs = match replay {
                Some(replay) => target::recorded(job, &replay.survey, disk, setup.disks),
                None => target::targets(job, copy, disk, setup.disks, &setup.disk_names),
            };
            let specs = specs.map_err(blame)?;
            for spec in &specs {
                target::check_time(spec, setup.time).map_err(blame)?;
            }
            let rank = (index as u64) << 32 | u64::from(disk) << 16 | u64::from(copy);
            let base = if job.repeatable { job.seed } else { setup.seed };
            seats.push(Seat {
                job: index,
                rank,
                copy,
                specs,
                replay: replay.cloned(),
                delay: delay(job, draw(base, DELAY, rank, 0)),
                after: after.clone(),
                core: 0,
                seed: draw(base, ADDRESSES, rank, 0),
                device_seed: draw(setup.seed, DEVICE, rank, 0),
                shared: Arc::default(),
            });
        }
    }
    Ok(seats)
}

/// The delay of a copy of a job that drew `drawn`.
fn delay(job: &Job, drawn: u64) -> Nanos {
    let (least, most) = job.start.delay;
    Nanos(least.0 + drawn % (most.0 - least.0 + 1))
}

/// fio's group numbers: a new one at each stonewall and `new_group`.
fn groups(jobs: &[Arc<Job>]) -> Vec<u32> {
    let mut group = 0;
    let number = |(index, job): (usize, &Arc<Job>)| {
        group += u32::from(index > 0 && (job.stonewall || job.new_group));
        group
    };
    jobs.iter().enumerate().map(number).collect()
}

/// Deals the lanes of a phase to the cores, those that write the same block device to one.
/// Those of a job with processors of its own go to these only.
fn spread(
    mut seats: Vec<Seat>,
    jobs: &[Arc<Job>],
    setup: &Setup,
    cores: &[CoreId],
) -> Result<Phase, SetupError> {
    let mut writers: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    for (index, seat) in seats.iter().enumerate() {
        if jobs[seat.job].pattern.writes {
            for path in seat.specs.iter().filter_map(Spec::path).filter(|path| is_device(path)) {
                writers.entry(path.to_owned()).or_default().push(index);
            }
        }
    }
    writers.retain(|_, lanes| lanes.len() > 1);
    let depth = |index: &usize| jobs[seats[*index].job].depth_effective();
    let shared: BTreeMap<PathBuf, u32> =
        writers.iter().map(|(path, on)| (path.clone(), on.iter().map(depth).sum())).collect();
    let shared = Arc::new(shared);
    let choosy = setup.time == TimeSource::Host && jobs.iter().any(|job| job.cpus.is_some());
    let count = match choosy {
        true => cores.len(),
        false => cores.len().min(seats.len()),
    };
    let count = if setup.time == TimeSource::Virtual { 1 } else { count.max(1) };
    let mut dealt: Phase = (0..count).map(|_| Vec::new()).collect();
    for (index, seat) in seats.iter_mut().enumerate() {
        // Who shares a device sits with the first who does; devices that are tied together by
        // one lane all go to the first core.
        let ties: Vec<&Vec<usize>> = writers.values().filter(|on| on.contains(&index)).collect();
        let core = match ties[..] {
            [] if choosy => pick(&jobs[seat.job], index, cores)?,
            [] => index % count,
            [on] if on.iter().all(|lane| ties_of(&writers, *lane) == 1) => on[0] % count,
            _ => 0,
        };
        if !ties.is_empty() {
            seat.shared = Arc::clone(&shared);
        }
        seat.core = core;
        dealt[core].push(seat.clone());
    }
    dealt.retain(|core| !core.is_empty());
    Ok(dealt)
}

/// The core of the `index`-th seat, of a job that may have its own.
fn pick(job: &Job, index: usize, cores: &[CoreId]) -> Result<usize, SetupError> {
    let Some(cpus) = &job.cpus else { return Ok(index % cores.len().max(1)) };
    let allowed = |(_, core): &(usize, &CoreId)| cpus.contains(&core.0);
    let allowed: Vec<usize> = cores.iter().enumerate().filter(allowed).map(|(i, _)| i).collect();
    match allowed[..] {
        [] => Err(SetupError::new(job, "cpus_allowed", SetupCause::NoProcessor)),
        _ => Ok(allowed[index % allowed.len()]),
    }
}

fn ties_of(writers: &BTreeMap<PathBuf, Vec<usize>>, lane: usize) -> usize {
    writers.values().filter(|on| on.contains(&lane)).count()
}

/// Whether a path leads to a block device.
pub(crate) fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|meta| meta.file_type().is_block_device())
}
