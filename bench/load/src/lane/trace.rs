//! A lane that draws its requests from a log.
//!
//! What must always hold: requests go out in the order of the log, none before its time; one that
//! must wait for a write that it overlaps holds up those behind it. A flush goes out in its turn,
//! and covers what had completed by then.

use std::fs::File;
use std::io::BufReader;

use isotherm_seam::{Due, Mono};
use isotherm_workload::{Act, Direction, Step, Trace};

use super::Lane;
use super::disk::Next;
use crate::failure::{Failure, Trouble};

/// Where a lane is in its log.
pub(crate) struct LaneTrace {
    trace: Trace<BufReader<File>>,
    ahead: Option<Step>,
    start: Mono,
}

impl LaneTrace {
    pub(crate) fn new(trace: Trace<BufReader<File>>) -> LaneTrace {
        LaneTrace { trace, ahead: None, start: Mono::ZERO }
    }

    pub(super) fn start(&mut self, now: Mono) {
        self.start = now;
    }

    /// When the next request is to go out, of those that were looked at.
    pub(super) fn due(&self) -> Due {
        let at = self.ahead.as_ref().and_then(|step| step.at);
        at.map_or(Due::Idle, |at| Due::At(self.start + at))
    }
}

impl Lane {
    /// What to send now, and to which disk.
    pub(super) fn next_traced(&mut self, now: Mono) -> Option<(usize, Next)> {
        if let Some(disk) = self.held_on.take() {
            let held = self.disks[disk].held.take().expect("noted with it");
            return self.unless_overlapping(disk, held);
        }
        if self.left == 0 {
            return None;
        }
        let log = self.trace.as_mut().expect("looked at by the caller");
        if log.ahead.is_none() {
            match log.trace.next_step() {
                Ok(Some(step)) => log.ahead = Some(step),
                Ok(None) => {
                    self.left = 0;
                    return None;
                }
                Err(error) => {
                    self.trace_failed(error.to_string(), now);
                    return None;
                }
            }
        }
        let intended = match log.ahead.as_ref().and_then(|step| step.at) {
            Some(at) if log.start + at > now => return None,
            Some(at) => log.start + at,
            None => now,
        };
        let Step { file, act, .. } = log.ahead.take().expect("just read");
        let (direction, offset, bytes) = match act {
            Act::Read { offset, bytes } => (Direction::Read, offset, bytes),
            Act::Write { offset, bytes } => (Direction::Write, offset, bytes),
            Act::Sync => {
                self.left -= 1;
                if let Some(flushes) = &mut self.flushes {
                    flushes.demand(file);
                }
                return None;
            }
        };
        self.left -= 1;
        let lba = self.disks[file].block.lba_of(offset);
        self.unless_overlapping(file, Next { direction, lba, bytes, intended })
    }

    /// The request, unless it must wait for one that writes to the same place.
    fn unless_overlapping(&mut self, disk: usize, next: Next) -> Option<(usize, Next)> {
        let on = &mut self.disks[disk];
        let end = next.lba.0 + (u64::from(next.bytes) >> on.block.shift());
        if next.direction == Direction::Write && on.overlaps(next.lba.0, end) {
            on.held = Some(next);
            self.held_on = Some(disk);
            return None;
        }
        Some((disk, next))
    }

    /// It was read through before the run, so somebody has changed it.
    #[cold]
    fn trace_failed(&mut self, said: String, now: Mono) {
        self.disks[0].notes.push(format!("the log can't be read on: {said}"));
        let disk = self.disks[0].device.info().name;
        let cause = Trouble::Trace;
        self.fail(now, Failure { disk, direction: Direction::Read, sector: 0, cause });
    }
}
