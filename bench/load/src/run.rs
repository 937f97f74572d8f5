//! A run: its phases one after the other, its cores side by side.
//!
//! What must always hold: no lane of a phase sends anything before all devices of the phase are
//! open and checked; a run that was told to stop, or in which a disk failed, still reports all
//! that was measured.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use isotherm_block::Spec;
use isotherm_host::{HostClock, Limits, Topology, pin};
use isotherm_seam::{Clock, CoreId, DeviceInfo, Mono, Nanos};
use isotherm_sim::{SimClock, SimPark};
use isotherm_workload::{Direction, Job, Parsed};

use crate::SetupCause;
use crate::company::Company;
use crate::drive::{DiskSight, Onlookers, Progress, Timelines, drive};
use crate::lane::{Lane, LaneDisk, Standing};
use crate::layout::LayOut;
use crate::open::Drivers;
use crate::plan::{Plan, Seat};
use crate::report::{DiskResult, LaneResult, Report};
use crate::setup::{Setup, SetupError, TimeSource};
use crate::usage::{CpuUse, DiskCounters, DiskUse};

/// How often the watcher hears of a run.
const WATCH_EVERY: Nanos = Nanos::from_millis(1000);

/// How often it is looked whether a core has answered.
const ANSWER_EVERY: Duration = Duration::from_millis(5);

/// How long an answer is waited for: a core that does not look up is shown as it was.
const ANSWER_PATIENCE: Nanos = Nanos::from_millis(500);

/// What a watcher is told once a second.
#[derive(Debug)]
pub struct Sight {
    /// Lanes that still run.
    pub lanes: u64,
    /// By [`Direction::index`]: I/Os a second since the last time.
    pub iops: [f64; Direction::ALL.len()],
    /// By [`Direction::index`]: bytes a second since the last time.
    pub bytes: [f64; Direction::ALL.len()],
    /// Since the phase began, by the machine's clock.
    pub elapsed: Nanos,
    /// How the disks do, in the order of the jobs, if [`Setup::show_disks`] wants it.
    pub disks: Vec<DiskSight>,
    /// The results so far, as often as [`Setup::status_every`] wants them.
    pub report: Option<Box<Report>>,
}

/// Who watches a run.
pub type Watch<'a> = &'a mut dyn FnMut(Sight);

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
    let plan = Plan::new(parsed, setup, &cores)?;
    for lay_out in &plan.lay_outs {
        lay_out.make().map_err(|cause| SetupError::new(&plan.jobs[0], "filename", cause))?;
    }
    let clock = HostClock::new();
    let mut report = Report::new(&plan, parsed, setup, clock.wall());
    report.messages.extend(plan.lay_outs.iter().filter_map(LayOut::message));
    report.notes.extend(Limits::read().shortfalls());
    let counters = counters(&plan);
    let before = counters.iter().map(DiskCounters::read).collect();
    let mut course = Course {
        jobs: &plan.jobs,
        plan: &plan,
        company: Arc::new(plan.company()),
        earlier: Nanos::ZERO,
        setup,
        cores: &cores,
        began: clock.mono(),
        clock,
        stop,
        report,
        counters,
        before,
        status_at: setup.status_every,
    };
    for phase in &plan.phases {
        let phase_began = course.clock.mono().since(course.began);
        if setup.time == TimeSource::Host {
            course.earlier = phase_began;
        }
        let mut longest = Nanos::ZERO;
        for result in course.run_phase(phase, watch)? {
            longest = longest.max(result.took());
            course.report.add(result, phase_began);
        }
        course.earlier += longest;
        if stop.load(Ordering::Relaxed) {
            course.report.interrupted = true;
            break;
        }
        if !course.company.next_phase() {
            break;
        }
    }
    for path in plan.unlinked() {
        // A device stays, and so does what another copy of the job has removed.
        if path.is_file() && fs::remove_file(path).is_err() {
            course.report.notes.push(format!("{} could not be removed", path.display()));
        }
    }
    Ok(course.close())
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
    pub(crate) timelines: Timelines,
    pub(crate) cpu: CpuUse,
    pub(crate) notes: Vec<String>,
}

impl CoreResult {
    /// How long its longest lane ran.
    fn took(&self) -> Nanos {
        self.lanes.iter().map(|lane| lane.elapsed).max().unwrap_or(Nanos::ZERO)
    }
}

/// A run under way.
struct Course<'a> {
    jobs: &'a [Arc<Job>],
    plan: &'a Plan,
    company: Arc<Company>,
    /// How long the phases before took, in the time of the run.
    earlier: Nanos,
    setup: &'a Setup,
    cores: &'a [CoreId],
    clock: HostClock,
    began: Mono,
    stop: &'a AtomicBool,
    /// With the phases that are over.
    report: Report,
    counters: Vec<DiskCounters>,
    /// What they were when the run began.
    before: Vec<Option<DiskUse>>,
    /// When the results so far are due next, since the run began.
    status_at: Option<Nanos>,
}

impl Course<'_> {
    fn run_phase(
        &mut self,
        phase: &[Vec<Seat>],
        watch: Watch<'_>,
    ) -> Result<Vec<CoreResult>, SetupError> {
        let progress: Vec<Progress> = phase.iter().map(|_| Progress::default()).collect();
        let (jobs, stop) = (self.jobs, self.stop);
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
                    core: seats.first().and_then(|(seat, _)| self.cores.get(seat.core)).copied(),
                    seats,
                    plan: self.plan,
                    company: Arc::clone(&self.company),
                    earlier: self.earlier,
                    time: self.setup.time,
                    opened: opened_to.clone(),
                    gate,
                    _ended: ended_to.clone(),
                };
                let name = format!("bench-{index}");
                let thread = thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, move || worker.run(stop, progress));
                threads.push(
                    thread
                        .map_err(|_| SetupError::new(&jobs[0], "name", SetupCause::ThreadLost))?,
                );
            }
            drop((opened_to, ended_to));
            // All open, or nobody starts: a dropped gate sends its thread home.
            for _ in &threads {
                match opened.recv() {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(error),
                    Err(_) => {
                        return Err(SetupError::new(&jobs[0], "name", SetupCause::ThreadLost));
                    }
                }
            }
            for gate in gates {
                // A thread that is gone is noticed when it is joined.
                let _ = gate.send(());
            }
            self.watch_until_ended(&ended, &progress, watch);
            let join = |thread: thread::ScopedJoinHandle<'_, Option<CoreResult>>| {
                let result = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result.expect("its gate was opened")
            };
            Ok(threads.into_iter().map(join).collect())
        })
    }

    /// Tells the watcher how it goes, until all threads have let go of their end of `ended`.
    fn watch_until_ended(&mut self, ended: &Receiver<()>, progress: &[Progress], watch: Watch<'_>) {
        let phase_began = self.clock.mono();
        let mut next = phase_began + WATCH_EVERY;
        let (mut before, mut at) = ([[0u64; Direction::ALL.len()]; 2], phase_began);
        loop {
            let status_at = self.status_at.map(|at| self.began + at);
            let due = status_at.map_or(next, |at| at.min(next));
            let wait = due.since(self.clock.mono());
            match ended.recv_timeout(Duration::from_nanos(wait.0)) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
            let now = self.clock.mono();
            let status = status_at.is_some_and(|at| now >= at);
            for one in progress {
                one.want(self.setup.show_disks, status);
            }
            // Within a tick; a core that has just ended answers no more.
            while !progress.iter().all(Progress::is_shown) {
                match ended.recv_timeout(ANSWER_EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
                if self.clock.mono().since(now) > ANSWER_PATIENCE {
                    break;
                }
            }
            let now = self.clock.mono();
            let mut sums = [[0u64; Direction::ALL.len()]; 2];
            let mut sight = Sight {
                lanes: 0,
                iops: [0.0; Direction::ALL.len()],
                bytes: [0.0; Direction::ALL.len()],
                elapsed: now.since(phase_began),
                disks: Vec::new(),
                report: None,
            };
            for one in progress {
                let shown = one.lock();
                sight.lanes += shown.lanes;
                sums[0].iter_mut().zip(shown.ios).for_each(|(sum, part)| *sum += part);
                sums[1].iter_mut().zip(shown.bytes).for_each(|(sum, part)| *sum += part);
                sight.disks.extend_from_slice(&shown.disks);
            }
            sight.disks.sort_by_key(|disk| disk.order);
            let seconds = now.since(at).as_secs_f64();
            // A ramp that ends sets the counts back to zero.
            let rate = |kind: usize, i: usize| {
                sums[kind][i].saturating_sub(before[kind][i]) as f64 / seconds
            };
            sight.iops = std::array::from_fn(|i| rate(0, i));
            sight.bytes = std::array::from_fn(|i| rate(1, i));
            (before, at) = (sums, now);
            if status {
                sight.report = Some(Box::new(self.so_far(progress, phase_began)));
                let every = self.setup.status_every.unwrap_or(WATCH_EVERY);
                self.status_at = Some(now.since(self.began) + every);
            }
            watch(sight);
            next = next.max(now) + WATCH_EVERY;
        }
    }

    /// The results as of now.
    fn so_far(&self, progress: &[Progress], phase_began: Mono) -> Report {
        let mut report = self.report.clone();
        for one in progress {
            if let Some((lanes, timelines)) = one.lock().results.take() {
                let cpu = CpuUse::default();
                let core = CoreResult { lanes, timelines, cpu, notes: Vec::new() };
                report.add(core, phase_began.since(self.began));
            }
        }
        self.finish(report)
    }

    fn close(self) -> Report {
        let report = self.report.clone();
        self.finish(report)
    }

    fn finish(&self, mut report: Report) -> Report {
        report.took = self.clock.mono().since(self.began);
        let after = self.counters.iter().map(DiskCounters::read);
        for (now, then) in after.zip(&self.before) {
            let used = now.zip(then.as_ref()).map(|(now, then)| now.since(then));
            report.disk_uses.extend(used);
        }
        report.finish();
        report
    }
}

/// What one thread is given.
struct Worker<'a> {
    core: Option<CoreId>,
    seats: Vec<(Seat, Arc<Job>)>,
    plan: &'a Plan,
    company: Arc<Company>,
    /// How long before this phase the run began.
    earlier: Nanos,
    time: TimeSource,
    opened: Sender<Result<(), SetupError>>,
    gate: Receiver<()>,
    /// Dropped when the thread ends, however it ends.
    _ended: Sender<()>,
}

impl Worker<'_> {
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
        let result = |lane: &Lane| self.result(lane);
        let onlookers = Onlookers { stop, progress, result: &result };
        let (lanes, timelines) = match self.time {
            TimeSource::Host => drive(lanes, &HostClock::new(), &mut bed, &onlookers, self.earlier),
            TimeSource::Virtual => {
                let clock = SimClock::new();
                let mut park = SimPark::new(clock.clone());
                drive(lanes, &clock, &mut park, &onlookers, self.earlier)
            }
        };
        let cpu = CpuUse::of_thread().since(&before);
        let close =
            |mut lane: Lane| LaneResult { book: lane.meter.book.take(), ..self.result(&lane) };
        let lanes = lanes.into_iter().map(close).collect();
        Some(CoreResult { lanes, timelines, cpu, notes })
    }

    fn open(&self, notes: &mut Vec<String>) -> Result<(Vec<Lane>, crate::open::Bed), SetupError> {
        let blame = |cause| SetupError::new(&self.seats[0].1, "iodepth", cause);
        let (mut drivers, bed) = Drivers::new(&self.seats).map_err(blame)?;
        let mut lanes = Vec::with_capacity(self.seats.len());
        for (index, (seat, job)) in self.seats.iter().enumerate() {
            let standing = Standing {
                seat: index,
                job: seat.job,
                group: self.plan.groups[seat.job],
                rank: seat.rank,
                delay: seat.delay,
                after: seat.after.clone(),
                exit: job.exit,
                company: Arc::clone(&self.company),
            };
            let steady = self.plan.steady_key(seat.job, seat.rank);
            lanes.push(drivers.open(seat, job, standing, steady)?);
        }
        notes.extend(drivers.notes());
        Ok((lanes, bed))
    }

    /// What a lane has to show, but for its logs.
    fn result(&self, lane: &Lane) -> LaneResult {
        let (seat, _) = &self.seats[lane.standing.seat];
        let elapsed = lane.elapsed();
        let disk = |(disk, spec): (&LaneDisk, &Spec)| DiskResult {
            spec: spec.text().to_owned(),
            info: DeviceInfo {
                notes: [disk.device.info().notes, disk.notes.clone()].concat(),
                ..disk.device.info()
            },
            tallies: disk.tallies.clone(),
            elapsed,
        };
        LaneResult {
            job: seat.job,
            rank: seat.rank,
            elapsed,
            rates: lane.meter.rates,
            book: None,
            syncs: lane.meter.syncs.clone(),
            depths: lane.depths,
            depth: lane.depth(),
            failure: lane.failure.clone(),
            found_depth: lane.found_depth,
            steady: lane.order.rules.steady.map(|(key, _)| Arc::new(self.company.steady(key))),
            disks: lane.disks.iter().zip(&seat.specs).map(disk).collect(),
        }
    }
}
