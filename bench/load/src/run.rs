//! A run: its phases one after the other, its cores side by side.
//!
//! What must always hold: no lane of a phase sends anything before all devices of the phase are
//! open and checked; a run that was told to stop, or in which a disk failed, still reports all
//! that was measured.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use isotherm_block::Spec;
use isotherm_host::{HostClock, Limits, Topology, pin};
use isotherm_seam::{Clock, CoreId, DeviceInfo, Nanos};
use isotherm_sim::{SimClock, SimPark};
use isotherm_workload::{Direction, Job, Parsed};

use crate::SetupCause;
use crate::drive::{Progress, drive};
use crate::lane::Lane;
use crate::open::Drivers;
use crate::plan::{Plan, Seat};
use crate::report::{DiskResult, LaneResult, Report};
use crate::setup::{Setup, SetupError, TimeSource};
use crate::target::LayOut;
use crate::usage::{CpuUse, DiskCounters};

/// How often the watcher hears of a run.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What a watcher is told once a second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sight {
    /// Lanes that still run.
    pub lanes: u64,
    /// By [`Direction::index`]: I/Os a second since the last time.
    pub iops: [f64; 2],
    /// Since the phase began, by the machine's clock.
    pub elapsed: Nanos,
}

/// Who watches a run.
pub type Watch<'a> = &'a mut dyn FnMut(&Sight);

/// Runs all jobs. `stop` ends the run early, within about 0.1 s, with a report of what ran.
pub fn run(
    parsed: &Parsed,
    setup: &Setup,
    stop: &AtomicBool,
    watch: Watch<'_>,
) -> Result<Report, SetupError> {
    // Read before any thread is pinned: a pinned one may use its own core only.
    let topology = Topology::read();
    let cores = topology.choose(setup.cores.unwrap_or(usize::MAX).max(1));
    let count = if setup.time == TimeSource::Virtual { 1 } else { cores.len().max(1) };
    let plan = Plan::new(parsed, setup, count)?;
    for lay_out in &plan.lay_outs {
        lay_out.make().map_err(|cause| SetupError::new(&plan.jobs[0], "filename", cause))?;
    }
    let clock = HostClock::new();
    let mut report = Report::new(&plan, parsed, setup.time, setup.disks > 1, clock.wall());
    report.messages.extend(plan.lay_outs.iter().map(LayOut::message));
    report.notes.extend(Limits::read().shortfalls());
    let counters = counters(&plan);
    let before: Vec<_> = counters.iter().map(DiskCounters::read).collect();
    let began = clock.mono();
    for phase in &plan.phases {
        let results = run_phase(phase, &plan.jobs, setup, &cores, &clock, stop, watch)?;
        for result in results {
            report.add(result);
        }
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            report.interrupted = true;
            break;
        }
    }
    report.took = clock.mono().since(began);
    let after = counters.iter().map(DiskCounters::read);
    for (now, then) in after.zip(before) {
        report.disk_uses.extend(now.zip(then).map(|(now, then)| now.since(&then)));
    }
    report.finish();
    Ok(report)
}

/// The counters of each block device underneath, once.
fn counters(plan: &Plan) -> Vec<DiskCounters> {
    let seats = plan.phases.iter().flatten().flatten();
    let paths = seats.flat_map(|seat| seat.specs.iter().filter_map(Spec::path));
    let counters: BTreeSet<DiskCounters> = paths.filter_map(DiskCounters::of).collect();
    counters.into_iter().collect()
}

/// What one core brings back.
pub(crate) struct CoreResult {
    pub(crate) lanes: Vec<LaneResult>,
    pub(crate) cpu: CpuUse,
    pub(crate) notes: Vec<String>,
}

fn run_phase(
    phase: &[Vec<Seat>],
    jobs: &[Arc<Job>],
    setup: &Setup,
    cores: &[CoreId],
    clock: &HostClock,
    stop: &AtomicBool,
    watch: Watch<'_>,
) -> Result<Vec<CoreResult>, SetupError> {
    let progress: Vec<Progress> = phase.iter().map(|_| Progress::default()).collect();
    thread::scope(|scope| {
        let (opened_to, opened) = channel();
        let (ended_to, ended) = channel();
        let mut gates = Vec::new();
        let mut threads = Vec::new();
        for (index, (seats, progress)) in phase.iter().zip(&progress).enumerate() {
            let seats: Vec<(Seat, Arc<Job>)> =
                seats.iter().map(|seat| (seat.clone(), Arc::clone(&jobs[seat.job]))).collect();
            let (gate_to, gate) = channel();
            gates.push(gate_to);
            let worker = Worker {
                core: cores.get(index).copied(),
                seats,
                time: setup.time,
                opened: opened_to.clone(),
                gate,
                _ended: ended_to.clone(),
            };
            let name = format!("bench-{index}");
            let thread = thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, move || worker.run(stop, progress));
            threads.push(
                thread.map_err(|_| SetupError::new(&jobs[0], "name", SetupCause::ThreadLost))?,
            );
        }
        drop((opened_to, ended_to));
        // All open, or nobody starts: a dropped gate sends its thread home.
        for _ in &threads {
            match opened.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(SetupError::new(&jobs[0], "name", SetupCause::ThreadLost)),
            }
        }
        for gate in gates {
            // A thread that is gone is noticed when it is joined.
            let _ = gate.send(());
        }
        watch_until_ended(&ended, &progress, clock, watch);
        let join = |thread: thread::ScopedJoinHandle<'_, Option<CoreResult>>| {
            let result = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.expect("its gate was opened")
        };
        Ok(threads.into_iter().map(join).collect())
    })
}

/// Tells the watcher how it goes, until all threads have let go of their end of `ended`.
fn watch_until_ended(
    ended: &Receiver<()>,
    progress: &[Progress],
    clock: &HostClock,
    watch: Watch<'_>,
) {
    use std::sync::atomic::Ordering::Relaxed;
    let began = clock.mono();
    let (mut before, mut at) = ([0u64; 2], began);
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(WATCH_EVERY) {
        let now = clock.mono();
        let sum = |d: Direction| progress.iter().map(|p| p.ios[d.index()].load(Relaxed)).sum();
        let ios: [u64; 2] = Direction::ALL.map(sum);
        let seconds = now.since(at).as_secs_f64();
        // A ramp that ends sets the counts back to zero.
        let iops = |i: usize| ios[i].saturating_sub(before[i]) as f64 / seconds;
        let lanes = progress.iter().map(|p| p.lanes.load(Relaxed)).sum();
        watch(&Sight { lanes, iops: [iops(0), iops(1)], elapsed: now.since(began) });
        (before, at) = (ios, now);
    }
}

/// What one thread is given.
struct Worker {
    core: Option<CoreId>,
    seats: Vec<(Seat, Arc<Job>)>,
    time: TimeSource,
    opened: Sender<Result<(), SetupError>>,
    gate: Receiver<()>,
    /// Dropped when the thread ends, however it ends.
    _ended: Sender<()>,
}

impl Worker {
    /// Opens, waits for the others, drives. `None` if the gate never opened.
    fn run(self, stop: &AtomicBool, progress: &Progress) -> Option<CoreResult> {
        let mut notes = Vec::new();
        let (lanes, mut bed) = match self.open(&mut notes) {
            Ok(open) => open,
            Err(error) => {
                let _ = self.opened.send(Err(error));
                return None;
            }
        };
        // Not before: the threads that a driver starts would be bound to this core too.
        if let Some(Err(error)) = self.core.map(pin) {
            notes.push(format!("a thread runs where the system puts it: {error}"));
        }
        let _ = self.opened.send(Ok(()));
        self.gate.recv().ok()?;
        let before = CpuUse::of_thread();
        let lanes = match self.time {
            TimeSource::Host => drive(lanes, &HostClock::new(), &mut bed, stop, progress),
            TimeSource::Virtual => {
                let clock = SimClock::new();
                let mut park = SimPark::new(clock.clone());
                drive(lanes, &clock, &mut park, stop, progress)
            }
        };
        let cpu = CpuUse::of_thread().since(&before);
        let lanes = lanes.into_iter().map(|lane| self.close(lane)).collect();
        Some(CoreResult { lanes, cpu, notes })
    }

    fn open(&self, notes: &mut Vec<String>) -> Result<(Vec<Lane>, crate::open::Bed), SetupError> {
        let blame = |cause| SetupError::new(&self.seats[0].1, "iodepth", cause);
        let (mut drivers, bed) = Drivers::new(&self.seats).map_err(blame)?;
        let mut lanes = Vec::with_capacity(self.seats.len());
        for (index, (seat, job)) in self.seats.iter().enumerate() {
            lanes.push(drivers.open(seat, job, index)?);
        }
        notes.extend(drivers.notes());
        Ok((lanes, bed))
    }

    /// Takes out of a lane what may leave its thread, and lets its devices go.
    fn close(&self, lane: Lane) -> LaneResult {
        let (seat, _) = &self.seats[lane.seat];
        let elapsed = lane.elapsed();
        LaneResult {
            job: seat.job,
            rank: seat.rank,
            elapsed,
            series: lane.series,
            depths: lane.depths,
            depth: lane.depth(),
            failure: lane.failure,
            disks: lane
                .disks
                .into_iter()
                .zip(&seat.specs)
                .map(|(disk, spec)| DiskResult {
                    spec: spec.text().to_owned(),
                    info: DeviceInfo {
                        notes: [disk.device.info().notes, disk.notes].concat(),
                        ..disk.device.info()
                    },
                    tallies: disk.tallies,
                    elapsed,
                })
                .collect(),
        }
    }
}
