//! Flushes: after so many writes, and at the end.
//!
//! What must always hold: a flush takes a slot, whose buffer stays here meanwhile; a lane that is
//! to flush at its end does so when all its writes have completed, and is not done before. As in
//! fio, the flushes at the end are not among those that are told of, and what a flush covers is
//! what had completed before it.

use isotherm_seam::{Completion, IoBuf, IoError, Lba, Mono, Op, Request, Tag};
use isotherm_workload::Direction;

use super::{Lane, Slot};
use crate::Failure;
use crate::failure::Trouble;

/// The flushes of one lane.
pub(super) struct Flushes {
    /// After so many writes.
    every: Option<u64>,
    /// Sent since the last flush.
    writes: u64,
    /// Which disk was written last.
    disk: usize,
    /// One is to go out however many were written.
    demanded: bool,
    /// By slot, the buffer of one that flushes.
    parked: Box<[Option<IoBuf>]>,
    at_end: bool,
    /// Disks that have been told to flush at the end.
    ended: usize,
}

impl Flushes {
    /// None, if it never flushes.
    pub(super) fn new(every: Option<u64>, at_end: bool, depth: u32) -> Option<Flushes> {
        (every.is_some() || at_end).then(|| Flushes {
            every,
            writes: 0,
            disk: 0,
            demanded: false,
            parked: (0..depth).map(|_| None).collect(),
            at_end,
            ended: 0,
        })
    }

    /// A write goes to this disk.
    #[inline]
    pub(super) fn wrote(&mut self, disk: usize) {
        self.writes += 1;
        self.disk = disk;
    }

    /// A flush of this disk comes before the next request.
    pub(super) fn demand(&mut self, disk: usize) {
        self.demanded = true;
        self.disk = disk;
    }

    /// Whether a flush comes before the next request.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.demanded || self.every.is_some_and(|every| self.writes >= every)
    }

    /// Whether one is to go out even if it is the last.
    pub(super) fn is_demanded(&self) -> bool {
        self.demanded
    }

    /// None goes out any more but at the end.
    pub(super) fn forget(&mut self) {
        self.demanded = false;
    }

    /// Nothing is to be flushed any more.
    pub(super) fn give_up(&mut self) {
        self.at_end = false;
    }
}

impl Lane {
    /// Whether a flush is still to be sent before all is done.
    pub(super) fn owes_flush(&self) -> bool {
        self.flushes.as_ref().is_some_and(|f| f.at_end && f.ended < self.disks.len())
    }

    /// Flushes from this slot, as so many writes have been sent. If the disk takes nothing now,
    /// the buffer stays.
    pub(super) fn send_flush(&mut self, index: u32, buf: &mut Option<IoBuf>, now: Mono) -> bool {
        let flushes = self.flushes.as_mut().expect("one is due");
        if now >= self.stop_at || (self.left == 0 && !flushes.demanded) {
            return false;
        }
        let disk = flushes.disk;
        let request = Request { tag: Tag(u64::from(index)), op: Op::Flush };
        if self.disks[disk].device.submit(now, request).is_err() {
            return false;
        }
        flushes.writes = 0;
        flushes.demanded = false;
        flushes.parked[index as usize] = buf.take();
        self.flushing(index, now);
        true
    }

    /// Sends the flushes of the end, as many as can be sent. Returns how many.
    pub(super) fn send_end(&mut self, now: Mono) -> usize {
        let mut sent = 0;
        while self.owes_flush() {
            let Some((index, buf)) = self.idle.pop() else { break };
            let flushes = self.flushes.as_mut().expect("looked at above");
            let request = Request { tag: Tag(u64::from(index)), op: Op::Flush };
            if self.disks[flushes.ended].device.submit(now, request).is_err() {
                self.idle.push((index, buf));
                break;
            }
            flushes.ended += 1;
            flushes.parked[index as usize] = Some(buf);
            self.flushing(index, now);
            sent += 1;
        }
        sent
    }

    fn flushing(&mut self, index: u32, now: Mono) {
        self.slots[index as usize] = Slot {
            start: now,
            intended: now,
            issued: now,
            lba: Lba(0),
            bytes: 0,
            direction: Direction::Write,
            flush: true,
            check: false,
        };
        self.inflight += 1;
    }

    /// Counts a flush and gives its slot the buffer back.
    #[cold]
    pub(super) fn complete_flush(&mut self, disk: usize, completion: &mut Completion, now: Mono) {
        let index = completion.tag.0 as usize;
        let flushes = self.flushes.as_mut().expect("it was sent by them");
        completion.buf = flushes.parked[index].take();
        let of_the_end = flushes.ended > 0;
        match completion.result {
            Ok(()) if !of_the_end => self.meter.sync(now.since(self.slots[index].start)),
            Ok(()) => {}
            Err(error) => self.flush_failed(disk, error, now),
        }
    }

    fn flush_failed(&mut self, disk: usize, error: IoError, now: Mono) {
        self.fail(
            now,
            Failure {
                disk: self.disks[disk].device.info().name,
                direction: Direction::Write,
                sector: 0,
                cause: Trouble::Flush(error),
            },
        );
    }
}
