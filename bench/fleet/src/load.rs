//! The runner: one thread, any number of disks, an open-loop load on each.
//!
//! What must always hold: arrivals come by their own clock, whether or not the disks keep up,
//! and latency counts from the intended start. The same code runs by a real and by a virtual
//! clock; by a virtual one the same disks and seed give the same result, to the last bit.
//!
//! ```text
//! turn:  now -> each lane: collect, admit what is due, submit -> sleep until the earliest due
//! ```

use std::sync::atomic::{AtomicBool, Ordering};

use isotherm_heat::{DiskReport, PeerGroup};
use isotherm_seam::{
    BlockDevice, BufPool, Clock, DeviceInfo, DiskId, Due, IoError, Mono, Nanos, Park, PoolExhausted,
};

use crate::lane::{Arrived, Lane};
use crate::measure::Times;
use crate::progress::Progress;

/// The load on each disk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LoadConfig {
    /// Reads a second, Poisson, uniform over the disk.
    pub rate_per_s: f64,
    /// For how long.
    pub duration: Nanos,
    /// Bytes of a read: whole logical blocks of every disk.
    pub read_bytes: u32,
    /// Reads that a device holds at once. At 1 the service time does not depend on the load.
    pub depth: u32,
    /// Reads that wait for a disk at most; what comes on top is refused and counted.
    pub queue_max: usize,
    /// The span is cut into so many windows.
    pub windows: u32,
    /// How long the last reads are waited for after the load has ended.
    pub drain: Nanos,
    /// How often the run is looked at.
    pub look_every: Nanos,
    /// Where arrivals and addresses come from.
    pub seed: u64,
}

impl LoadConfig {
    /// 4 KiB reads, one in the device and up to 64 waiting, in ten windows.
    pub fn new(rate_per_s: f64, duration: Nanos, seed: u64) -> LoadConfig {
        LoadConfig {
            rate_per_s,
            duration,
            read_bytes: 4_096,
            depth: 1,
            queue_max: 64,
            windows: 10,
            drain: Nanos::from_secs(3),
            look_every: Nanos::from_millis(500),
            seed,
        }
    }
}

/// Later than this after its planned time a turn counts as late: the host was elsewhere.
const LATE: Nanos = Nanos::from_millis(2);
/// The longest sleep, so that a request to stop is seen.
const NAP: Nanos = Nanos::from_millis(100);

/// A disk to be put under load.
pub struct Subject {
    /// The device; it must be idle.
    pub device: Box<dyn BlockDevice>,
    /// Whom it may be compared with.
    pub peers: PeerGroup,
}

/// What was measured.
pub struct Measured {
    /// The load.
    pub config: LoadConfig,
    /// How long the load ran; less than it should have where it was stopped.
    pub span: Nanos,
    /// It was stopped before its time.
    pub stopped: bool,
    /// Each disk, in the order given.
    pub disks: Vec<DiskMeasured>,
    /// How well the host kept time.
    pub host: HostPace,
}

/// What was measured of one disk.
pub struct DiskMeasured {
    /// What it ran on.
    pub info: DeviceInfo,
    /// What came of its arrivals.
    pub arrived: Arrived,
    /// What the verdict is made of.
    pub report: DiskReport,
    /// Share of the span during which the device held a read.
    pub busy_share: f64,
    /// The first error, if there was one.
    pub first_error: Option<IoError>,
    /// Bytes of its logical block.
    pub block_bytes: u32,
    pub(crate) response: Times,
    pub(crate) service: Times,
}

/// How well the host kept time: stalls of the host lie on all disks alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HostPace {
    /// Turns of the loop.
    pub turns: u64,
    /// Turns that came more than 2 ms late.
    pub late_turns: u64,
    /// The latest.
    pub lag_max: Nanos,
}

impl DiskMeasured {
    /// A quantile of the time from the intended start to the answer.
    pub fn response(&self, q: f64) -> Nanos {
        self.response.quantile(q)
    }

    /// A quantile of the time from handing the read to the device to the answer.
    pub fn service(&self, q: f64) -> Nanos {
        self.service.quantile(q)
    }
}

/// Runs the load over all disks on the calling thread, until it has lasted, or `stop` is set.
/// `look` is called every `look_every`. Fails only where `pool` has no buffers for the depth.
pub fn run<C: Clock, P: Park + ?Sized>(
    clock: &C,
    park: &mut P,
    subjects: Vec<Subject>,
    pool: &BufPool,
    config: &LoadConfig,
    stop: &AtomicBool,
    look: &mut dyn FnMut(&Progress),
) -> Result<Measured, PoolExhausted> {
    let start = clock.mono();
    let mut peers = Vec::with_capacity(subjects.len());
    let mut lanes = Vec::with_capacity(subjects.len());
    for (index, subject) in subjects.into_iter().enumerate() {
        peers.push(subject.peers);
        lanes.push(Lane::new(DiskId(index as u32), subject.device, config, pool, start)?);
    }
    let mut runner = Runner {
        lanes,
        config: *config,
        start,
        load_end: start + config.duration,
        next_look: start + config.look_every,
        windows_closed: 0,
        host: HostPace::default(),
    };

    let mut planned = start;
    let stopped = loop {
        let now = clock.mono();
        if now >= runner.load_end {
            break false;
        }
        if stop.load(Ordering::Relaxed) {
            runner.load_end = now;
            break true;
        }
        planned = runner.turn(now, planned, look);
        if planned > now {
            park.park(now, Some(planned));
        }
    };
    // What arrived until the end is taken in; what then waits is left over.
    runner.turn(clock.mono(), planned, &mut |_| {});
    runner.lanes.iter_mut().for_each(Lane::stop);
    let give_up = runner.load_end + config.drain;
    loop {
        let now = clock.mono();
        if now >= give_up || runner.lanes.iter().all(Lane::is_idle) {
            break;
        }
        planned = runner.turn(now, planned, &mut |_| {}).min(give_up);
        if planned > now {
            park.park(now, Some(planned));
        }
    }
    Ok(runner.end(clock.mono(), stopped, &peers))
}

struct Runner {
    lanes: Vec<Lane>,
    config: LoadConfig,
    start: Mono,
    load_end: Mono,
    next_look: Mono,
    windows_closed: u32,
    host: HostPace,
}

impl Runner {
    /// One turn. Returns when the next is planned; `now` where it should come at once.
    fn turn(&mut self, now: Mono, planned: Mono, look: &mut dyn FnMut(&Progress)) -> Mono {
        let lag = now.since(planned);
        self.host.turns += 1;
        self.host.late_turns += u64::from(lag > LATE);
        self.host.lag_max = self.host.lag_max.max(lag);
        self.close_windows(now);
        for lane in &mut self.lanes {
            lane.turn(now, self.load_end, lag);
        }
        if now >= self.next_look && now < self.load_end {
            // Looks that were slept through are not made up for.
            while self.next_look <= now {
                self.next_look = self.next_look + self.config.look_every;
            }
            look(&self.progress(now));
        }
        let due = self.lanes.iter().map(|lane| lane.due(self.load_end)).min();
        let until = (now + NAP).min(self.next_look.max(now));
        let until = if now < self.load_end { until.min(self.load_end) } else { now + NAP };
        match due.unwrap_or(Due::Idle) {
            Due::Now => now,
            Due::At(at) => at.max(now).min(until),
            Due::Event | Due::Idle => until,
        }
    }

    /// Ends every window whose time is over but the last: that one takes what comes at the end.
    fn close_windows(&mut self, now: Mono) {
        let windows = u64::from(self.config.windows);
        let reached = now.since(self.start).0 * windows / self.config.duration.0.max(1);
        while u64::from(self.windows_closed) < reached.min(windows - 1) {
            self.lanes.iter_mut().for_each(|lane| lane.measure.close_window());
            self.windows_closed += 1;
        }
    }

    fn progress(&self, now: Mono) -> Progress {
        let elapsed = now.since(self.start);
        Progress {
            elapsed,
            duration: self.config.duration,
            lanes: self.lanes.iter().map(|lane| lane.progress(now, elapsed)).collect(),
        }
    }

    fn end(self, now: Mono, stopped: bool, peers: &[PeerGroup]) -> Measured {
        let span = self.load_end.since(self.start);
        let whole = now.since(self.start).as_secs_f64().max(1e-9);
        let end = |(mut lane, &peers): (Lane, &PeerGroup)| {
            lane.measure.close_window();
            let arrived = lane.end(now);
            let report = lane.report(peers, now, span);
            let busy_share = lane.busy(now).as_secs_f64() / whole;
            let Lane { device, measure, .. } = lane;
            DiskMeasured {
                info: device.info(),
                arrived,
                report,
                busy_share,
                first_error: measure.first_error,
                block_bytes: device.geometry().logical.bytes(),
                response: measure.response,
                service: measure.service,
            }
        };
        let disks = self.lanes.into_iter().zip(peers).map(end).collect();
        Measured { config: self.config, span, stopped, disks, host: self.host }
    }
}

#[cfg(test)]
mod tests {
    use isotherm_block::{Null, Shape};
    use isotherm_seam::{Completion, Geometry, PoolLayout, Request};
    use isotherm_sim::{SimClock, SimPark};

    use super::*;

    /// Answers from a null device until `dies_at`; then it fails, or says nothing any more.
    struct Dying {
        inner: Null,
        dies_at: Mono,
        silent: bool,
        dead: Vec<Request>,
    }

    impl BlockDevice for Dying {
        fn geometry(&self) -> &Geometry {
            self.inner.geometry()
        }
        fn info(&self) -> DeviceInfo {
            self.inner.info()
        }
        fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
            if now < self.dies_at {
                return self.inner.submit(now, request);
            }
            self.dead.push(request);
            Ok(())
        }
        fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
            let before = done.len();
            self.inner.poll(now, done);
            if !self.silent {
                done.extend(self.dead.drain(..).map(|r| r.complete(Err(IoError::Gone))));
            }
            done.len() - before
        }
        fn due(&self) -> Due {
            let dead = match (self.dead.is_empty(), self.silent) {
                (true, _) => Due::Idle,
                (false, true) => Due::Event,
                (false, false) => Due::Now,
            };
            self.inner.due().min(dead)
        }
        fn inflight(&self) -> usize {
            self.inner.inflight() + self.dead.len()
        }
    }

    fn measure(disks: u32, dying: Option<(Mono, bool)>, config: &LoadConfig) -> Measured {
        let subject = |disk| {
            let inner = Null::new(&Shape::new(1 << 30));
            let device: Box<dyn BlockDevice> = match dying {
                Some((dies_at, silent)) if disk == 0 => {
                    Box::new(Dying { inner, dies_at, silent, dead: Vec::new() })
                }
                _ => Box::new(inner),
            };
            Subject { device, peers: PeerGroup(0) }
        };
        let pool = BufPool::new(&PoolLayout::uniform(4_096, disks * config.depth)).unwrap();
        let clock = SimClock::new();
        let mut park = SimPark::new(clock.clone());
        let subjects = (0..disks).map(subject).collect();
        let stop = AtomicBool::new(false);
        run(&clock, &mut park, subjects, &pool, config, &stop, &mut |_| {}).unwrap()
    }

    fn config() -> LoadConfig {
        LoadConfig::new(100.0, Nanos::from_secs(20), 1)
    }

    #[test]
    fn the_load_is_what_was_asked_for() {
        let measured = measure(3, None, &config());
        for disk in &measured.disks {
            // Poisson with mean 2,000 and deviation 45.
            assert!((1_800..2_200).contains(&disk.arrived.offered), "{:?}", disk.arrived);
            assert_eq!(disk.arrived.reads, disk.arrived.offered);
            assert_eq!(disk.report.windows.len(), 10);
            let windows: u64 = disk.report.windows.iter().map(|w| w.reads).sum();
            assert_eq!(windows, disk.arrived.reads);
            let covered: u64 = disk.report.coverage.iter().map(|&c| u64::from(c)).sum();
            assert_eq!(covered, disk.arrived.reads);
        }
        assert_eq!((measured.span, measured.stopped), (Nanos::from_secs(20), false));
    }

    #[test]
    fn a_disk_that_goes_takes_nothing_with_it() {
        let measured = measure(6, Some((Mono(5_000_000_000), false)), &config());
        let dead = &measured.disks[0];
        assert!(dead.report.gone && dead.first_error == Some(IoError::Gone));
        assert!((400..600).contains(&dead.arrived.reads) && dead.arrived.errors == 1);
        assert!(dead.arrived.refused > 1_300, "{:?}", dead.arrived);
        assert!(measured.disks[1..].iter().all(|d| d.arrived.reads == d.arrived.offered));
    }

    #[test]
    fn a_silent_disk_is_given_up_and_accounted_for() {
        let measured = measure(6, Some((Mono(5_000_000_000), true)), &config());
        let silent = &measured.disks[0];
        assert_eq!((silent.arrived.unanswered, silent.arrived.left_over), (1, 64));
        assert!(silent.report.unanswered >= Nanos::from_secs(15));
        let reports: Vec<DiskReport> = measured.disks.iter().map(|d| d.report.clone()).collect();
        let judged = isotherm_heat::judge(&reports, &isotherm_heat::Thresholds::default());
        assert_eq!(judged[0].verdict, isotherm_heat::Verdict::Gone, "{}", judged[0]);
        assert!(judged[1..].iter().all(|j| !j.verdict.is_flagged()));
    }
}
