//! The loop of one core: it turns its lanes, and sleeps when none of them has anything to do.
//!
//! What must always hold: a lane that has work is never kept waiting by one that has none; the
//! loop stops within a tick of being told to, however slow the disks are, except for what is in
//! flight; it burns no CPU while every disk is silent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use isotherm_seam::{Clock, Completion, Due, Mono, Nanos, Park};
use isotherm_workload::Direction;

use crate::lane::Lane;
use crate::report::LaneResult;
use crate::timeline::Timeline;

/// How often the loop looks up: at the stop flag, at who watches, and to take samples.
const TICK: Nanos = Nanos::from_millis(100);

/// Turns of a busy loop between two looks at the disks that wait for the kernel.
const TURNS_PER_PARK: u32 = 64;

/// What one core has done so far, for whoever watches from another thread.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    wanted: AtomicU64,
    shown: Mutex<Shown>,
}

/// What is shown of a core.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Lanes that still run.
    pub(crate) lanes: u64,
    /// By [`Direction::index`]: requests completed.
    pub(crate) ios: [u64; Direction::ALL.len()],
    /// What they carried.
    pub(crate) bytes: [u64; Direction::ALL.len()],
    pub(crate) disks: Vec<DiskSight>,
    /// Results as of now, if they were wanted.
    pub(crate) results: Option<(Vec<LaneResult>, Timelines)>,
}

/// How one disk of one lane does.
#[derive(Clone, PartialEq, Debug)]
pub struct DiskSight {
    /// What it is called.
    pub name: String,
    /// Orders disks as they were named.
    pub(crate) order: (u64, usize),
    /// Requests completed since measuring began.
    pub ios: u64,
    /// Requests that failed.
    pub errors: u64,
    /// 99 of 100 requests that completed last took no longer than about this, in nanoseconds:
    /// of the lane, where it has several disks.
    pub p99_ns: f64,
}

/// Timelines by the index of the job.
pub(crate) type Timelines = BTreeMap<usize, Timeline>;

/// What a watcher may ask for: counts, counts by disk, results.
const COUNTS: u64 = 1;
const DISKS: u64 = 2;
const RESULTS: u64 = 4;

/// Who looks on while lanes are driven.
pub(crate) struct Onlookers<'a> {
    pub(crate) stop: &'a AtomicBool,
    pub(crate) progress: &'a Progress,
    /// Makes a result of a lane that may still run.
    pub(crate) result: &'a dyn Fn(&Lane) -> LaneResult,
}

/// A lane that is not at its end. The table of them is short, so that a core with hundreds of
/// modelled disks looks at those only whose time has come.
struct Running {
    /// It has not started: it waits for its time, or for another job.
    waits: bool,
    /// A turn before is of no use.
    rests_until: Mono,
    lane: Box<Lane>,
}

impl Running {
    /// Starts the lane if it is time; `run_began` is when its run did.
    fn start(&mut self, now: Mono, run_began: Mono) {
        let standing = &self.lane.standing;
        let after = standing.after.iter().all(|&job| standing.company.live(job) == 0);
        if after && now >= run_began + standing.delay {
            self.waits = false;
            self.lane.start(now);
        }
    }

    /// Ends it, whether or not it has started.
    fn halt(&mut self, now: Mono) {
        if self.waits {
            self.waits = false;
            self.lane.start(now);
        }
        self.lane.stop(now);
        self.rests_until = Mono::ZERO;
    }

    /// When it is next to be asked whether it may start.
    fn start_due(&self, now: Mono, run_began: Mono) -> Due {
        let at = run_began + self.lane.standing.delay;
        // For other jobs it is asked at each tick.
        if at > now { Due::At(at) } else { Due::At(now + TICK) }
    }
}

/// Drives `lanes` to their end and returns them with their books closed, in the order in which
/// they ended, and what happened when, by job. The run began `earlier` than now.
pub(crate) fn drive<C: Clock, P: Park>(
    lanes: Vec<Lane>,
    clock: &C,
    park: &mut P,
    onlookers: &Onlookers<'_>,
    earlier: Nanos,
) -> (Vec<Lane>, Timelines) {
    assert!(!lanes.is_empty(), "a core without lanes has nothing to drive");
    let mut ended: Vec<Lane> = Vec::with_capacity(lanes.len());
    let depth_max = lanes.iter().map(Lane::depth).max().unwrap_or(0);
    let mut done: Vec<Completion> = Vec::with_capacity(depth_max as usize);
    let mut timelines: Timelines =
        lanes.iter().map(|lane| (lane.standing.job, Timeline::new(Direction::ALL.len()))).collect();
    let boxed = |lane| Running { waits: true, rests_until: Mono::ZERO, lane: Box::new(lane) };
    let mut running: Vec<Running> = lanes.into_iter().map(boxed).collect();
    let mut now = clock.mono();
    // What is left of a delay counts from here.
    for on in &mut running {
        let standing = &mut on.lane.standing;
        standing.delay = Nanos(standing.delay.0.saturating_sub(earlier.0));
    }
    let run_began = now;
    running.iter_mut().for_each(|on| on.start(now, run_began));
    let mut next_tick = now + TICK;
    let mut turns = 0u32;
    loop {
        let mut due = Due::Idle;
        let mut latest = Due::Now;
        let mut reaped = 0;
        for on in &mut running {
            if on.waits {
                on.start(now, run_began);
            }
            let next = if on.waits {
                on.start_due(now, run_began)
            } else if on.rests_until > now {
                Due::At(on.rests_until)
            } else {
                reaped += on.lane.turn(clock, &mut now, &mut done);
                let next = on.lane.due();
                on.rests_until = on.lane.rests_until(next);
                next
            };
            due = due.min(next);
            latest = latest.max(next);
        }
        if latest == Due::Idle {
            for on in running.extract_if(.., |on| on.lane.is_done()) {
                let mut lane = *on.lane;
                lane.end(now, timeline_of(&mut timelines, &lane));
                ended.push(lane);
            }
            if running.is_empty() {
                break;
            }
        }
        turns = turns.wrapping_add(1);
        if due > Due::Now {
            let until = match due {
                Due::At(at) => at.min(next_tick),
                _ => next_tick,
            };
            park.park(now, Some(until));
            now = clock.mono();
        } else {
            if latest > Due::Now && turns.is_multiple_of(TURNS_PER_PARK) {
                // Busy with some disks. Others may still need the kernel to be entered for them.
                park.park(now, Some(now));
            }
            if reaped == 0 {
                now = clock.mono();
            }
        }
        if now >= next_tick {
            next_tick = now + TICK;
            if onlookers.stop.load(Ordering::Relaxed) {
                for on in &mut running {
                    on.halt(now);
                }
            }
            for on in &mut running {
                if on.waits {
                    if on.lane.is_called_off() {
                        on.halt(now);
                    }
                    continue;
                }
                on.lane.ramp(now);
                if on.lane.tick(now) {
                    on.rests_until = Mono::ZERO;
                }
                on.lane.sample(now, timeline_of(&mut timelines, &on.lane), false);
            }
            let wanted = onlookers.progress.wanted.load(Ordering::Relaxed);
            if wanted > 0 {
                if wanted & RESULTS > 0 {
                    running.iter_mut().for_each(|on| on.lane.settle(now));
                }
                let lanes = || running.iter().map(|on| on.lane.as_ref()).chain(&ended);
                onlookers.show(wanted, &lanes, running.len(), &timelines);
            }
        }
    }
    (ended, timelines)
}

fn timeline_of<'a>(timelines: &'a mut Timelines, lane: &Lane) -> &'a mut Timeline {
    timelines.get_mut(&lane.standing.job).expect("there is one for each job of these lanes")
}

impl Onlookers<'_> {
    fn show<'l, I: Iterator<Item = &'l Lane>>(
        &self,
        wanted: u64,
        lanes: &dyn Fn() -> I,
        running: usize,
        timelines: &Timelines,
    ) {
        let mut shown = Shown { lanes: running as u64, ..Shown::default() };
        for direction in Direction::ALL {
            let index = direction.index();
            shown.ios[index] = lanes().map(|lane| lane.ios(direction)).sum();
            shown.bytes[index] = lanes().map(|lane| lane.bytes(direction)).sum();
        }
        if wanted & DISKS > 0 {
            shown.disks = lanes().flat_map(Lane::sights).collect();
        }
        if wanted & RESULTS > 0 {
            shown.results = Some((lanes().map(self.result).collect(), timelines.clone()));
        }
        *self.progress.lock() = shown;
        self.progress.wanted.fetch_and(!wanted, Ordering::Release);
    }
}

impl Progress {
    /// Asks for what is to be shown next, within a tick.
    pub(crate) fn want(&self, disks: bool, results: bool) {
        let wanted = COUNTS | if disks { DISKS } else { 0 } | if results { RESULTS } else { 0 };
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Whether what was asked for last is there.
    pub(crate) fn is_shown(&self) -> bool {
        self.wanted.load(Ordering::Acquire) == 0
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
