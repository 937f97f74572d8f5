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
use isotherm_seam::{Domain, draw};
use isotherm_workload::{Job, Parsed};

use crate::setup::{Setup, SetupCause, SetupError};
use crate::target::{self, LayOut};

const ADDRESSES: Domain = Domain::new("load.lane.addresses");
const DEVICE: Domain = Domain::new("load.lane.device");

/// One copy of a job on one set of disks.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// Index of the job among all.
    pub(crate) job: usize,
    /// Orders the lanes of a run: by job, disk, copy.
    pub(crate) rank: u64,
    /// Its disks.
    pub(crate) specs: Vec<Spec>,
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
    /// Lays out the jobs over `cores` cores.
    pub(crate) fn new(parsed: &Parsed, setup: &Setup, cores: usize) -> Result<Plan, SetupError> {
        let jobs: Vec<Arc<Job>> = parsed.jobs.iter().cloned().map(Arc::new).collect();
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
            phase.extend(seats(index, job, setup)?);
        }
        phases.push(phase);
        plan.check_writes(&phases, setup)?;
        for seats in &phases {
            for seat in seats {
                let job = &plan.jobs[seat.job];
                let missing = seat.specs.iter().filter_map(|spec| target::missing(spec, job));
                for lay_out in missing {
                    if !plan.lay_outs.iter().any(|known| known.path == lay_out.path) {
                        plan.lay_outs.push(lay_out);
                    }
                }
            }
        }
        plan.note_engines();
        let filled = phases.into_iter().filter(|seats| !seats.is_empty());
        plan.phases = filled.map(|seats| spread(seats, &plan.jobs, cores)).collect();
        Ok(plan)
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
    if mixed && job.rate_iops[0].is_some() != job.rate_iops[1].is_some() {
        return Err(SetupError::new(job, "rate_iops", SetupCause::HalfARate));
    }
    Ok(())
}

/// The copies of a job on each set of disks.
fn seats(index: usize, job: &Job, setup: &Setup) -> Result<Vec<Seat>, SetupError> {
    let mut seats = Vec::new();
    for disk in 0..setup.disks {
        for copy in 0..job.copies {
            let blame = |cause| SetupError::new(job, "filename", cause);
            let specs =
                target::targets(job, copy, disk, setup.disks, &setup.disk_names).map_err(blame)?;
            for spec in &specs {
                target::check_time(spec, setup.time).map_err(blame)?;
            }
            let rank = (index as u64) << 32 | u64::from(disk) << 16 | u64::from(copy);
            let base = if job.repeatable { job.seed } else { setup.seed };
            seats.push(Seat {
                job: index,
                rank,
                specs,
                seed: draw(base, ADDRESSES, rank, 0),
                device_seed: draw(setup.seed, DEVICE, rank, 0),
                shared: Arc::default(),
            });
        }
    }
    Ok(seats)
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
fn spread(mut seats: Vec<Seat>, jobs: &[Arc<Job>], cores: usize) -> Phase {
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
    let count = cores.min(seats.len()).max(1);
    let mut dealt: Phase = (0..count).map(|_| Vec::new()).collect();
    for (index, seat) in seats.iter_mut().enumerate() {
        // Who shares a device sits with the first who does; devices that are tied together by
        // one lane all go to the first core.
        let ties: Vec<&Vec<usize>> = writers.values().filter(|on| on.contains(&index)).collect();
        let core = match ties[..] {
            [] => index % count,
            [on] if on.iter().all(|lane| ties_of(&writers, *lane) == 1) => on[0] % count,
            _ => 0,
        };
        if !ties.is_empty() {
            seat.shared = Arc::clone(&shared);
        }
        dealt[core].push(seat.clone());
    }
    dealt.retain(|core| !core.is_empty());
    dealt
}

fn ties_of(writers: &BTreeMap<PathBuf, Vec<usize>>, lane: usize) -> usize {
    writers.values().filter(|on| on.contains(&lane)).count()
}

/// Whether a path leads to a block device.
pub(crate) fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|meta| meta.file_type().is_block_device())
}
