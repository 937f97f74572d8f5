//! The loop of one core: it turns its lanes, and sleeps when none of them has anything to do.
//!
//! What must always hold: a lane that has work is never kept waiting by one that has none; the
//! loop stops within a tick of being told to, however slow the disks are, except for what is in
//! flight; it burns no CPU while every disk is silent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isotherm_seam::{Clock, Completion, Due, Mono, Nanos, Park};
use isotherm_workload::Direction;

use crate::lane::Lane;
use crate::series::SAMPLE_EVERY;

/// How often the loop looks up: at the stop flag, and at what it publishes. A divisor of the
/// time between samples.
const TICK: Nanos = Nanos::from_millis(100);
const TICKS_PER_SAMPLE: u64 = SAMPLE_EVERY.0 / TICK.0;
const _: () = assert!(TICKS_PER_SAMPLE * TICK.0 == SAMPLE_EVERY.0);

/// Turns of a busy loop between two looks at the disks that wait for the kernel.
const TURNS_PER_PARK: u32 = 64;

/// What one core has done so far, for whoever watches from another thread.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// By [`Direction::index`]: requests completed.
    pub(crate) ios: [AtomicU64; 2],
    /// Lanes that still run.
    pub(crate) lanes: AtomicU64,
}

/// A lane that is not at its end. The table of them is short, so that a core with hundreds of
/// modelled disks looks at those only whose time has come.
struct Running {
    /// A turn before is of no use.
    rests_until: Mono,
    lane: Box<Lane>,
}

/// Drives `lanes` to their end and returns them with their books closed, in the order in which
/// they ended.
pub(crate) fn drive<C: Clock, P: Park>(
    lanes: Vec<Lane>,
    clock: &C,
    park: &mut P,
    stop: &AtomicBool,
    progress: &Progress,
) -> Vec<Lane> {
    assert!(!lanes.is_empty(), "a core without lanes has nothing to drive");
    let mut ended: Vec<Lane> = Vec::with_capacity(lanes.len());
    let depth_max = lanes.iter().map(Lane::depth).max().unwrap_or(0);
    let mut done: Vec<Completion> = Vec::with_capacity(depth_max as usize);
    let boxed = |lane| Running { rests_until: Mono::ZERO, lane: Box::new(lane) };
    let mut running: Vec<Running> = lanes.into_iter().map(boxed).collect();
    let mut now = clock.mono();
    running.iter_mut().for_each(|on| on.lane.start(now));
    let mut next_tick = now + TICK;
    let mut ticks = 0;
    let mut turns = 0u32;
    loop {
        let mut due = Due::Idle;
        let mut latest = Due::Now;
        let mut reaped = 0;
        for on in &mut running {
            let next = if on.rests_until > now {
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
                lane.end(now);
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
            ticks += 1;
            if stop.load(Ordering::Relaxed) {
                for on in &mut running {
                    on.lane.stop(now);
                    on.rests_until = Mono::ZERO;
                }
            }
            running.iter_mut().for_each(|on| on.lane.ramp(now));
            if ticks % TICKS_PER_SAMPLE == 0 {
                running.iter_mut().for_each(|on| on.lane.sample(now));
                let lanes = running.iter().map(|on| on.lane.as_ref()).chain(&ended);
                progress.publish(lanes, running.len());
            }
        }
    }
    progress.publish(ended.iter(), 0);
    ended
}

impl Progress {
    fn publish<'a>(&self, lanes: impl Iterator<Item = &'a Lane>, running: usize) {
        let mut sums = [0; 2];
        for lane in lanes {
            Direction::ALL.iter().for_each(|d| sums[d.index()] += lane.ios(*d));
        }
        for (shared, sum) in self.ios.iter().zip(sums) {
            shared.store(sum, Ordering::Relaxed);
        }
        self.lanes.store(running as u64, Ordering::Relaxed);
    }
}
