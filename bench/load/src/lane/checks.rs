//! Blocks that are sealed before they are written, and checked after they were read.
//!
//! What must always hold: a job that writes reads back all that it wrote, each block once, as it
//! was written last, and only while nothing is written; a job that only reads checks what it
//! reads. A flaw is counted as an error of its disk. What a job wrote is remembered by place, so
//! memory grows with it, as in fio.

use std::collections::BTreeMap;

use isotherm_seam::{IoBuf, Lba, Mono, Op, Request, Tag};
use isotherm_verify::{Blemish, Format, Stamp};
use isotherm_workload::Direction;

use super::{Lane, Slot};
use crate::failure::{Failure, Trouble};

/// Flaws that are told of one by one; the others are counted.
const TOLD_MAX: u32 = 10;

/// How a lane seals and checks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CheckOrder {
    pub(crate) format: Format,
    /// Read back what was written.
    pub(crate) after: bool,
    /// Write nothing.
    pub(crate) only: bool,
    /// The first flaw ends the job.
    pub(crate) fatal: bool,
    /// Flaws are counted, and are no failure.
    pub(crate) pass: bool,
    /// Keep flawed blocks in files.
    pub(crate) dump: bool,
    /// Check after so many writes, then so many.
    pub(crate) backlog: Option<(u64, u64)>,
    /// Which job of the run.
    pub(crate) thread: u16,
}

/// What was written to a place last.
#[derive(Clone, Copy, Debug)]
struct Written {
    bytes: u32,
    /// The block behind it.
    end: u64,
    /// Which write it was; not known of what an earlier run wrote.
    number: Option<u16>,
}

/// The checks of one lane.
pub(super) struct Checks {
    order: CheckOrder,
    /// By disk and first block, not yet checked.
    written: BTreeMap<(usize, u64), Written>,
    /// The number of the next write.
    number: u16,
    /// By slot, what is written or checked there.
    slots: Box<[Written]>,
    /// Writes since the last check.
    since: u64,
    state: State,
    told: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Writing,
    /// So many are to be checked before it goes on writing.
    Checking(u64),
}

impl Checks {
    pub(super) fn new(order: &CheckOrder, depth: u32) -> Checks {
        let none = Written { bytes: 0, end: 0, number: None };
        Checks {
            order: order.clone(),
            written: BTreeMap::new(),
            number: 0,
            slots: vec![none; depth as usize].into(),
            since: 0,
            state: State::Writing,
            told: 0,
        }
    }

    /// Whether nothing is written.
    pub(super) fn only(&self) -> bool {
        self.order.only
    }

    /// Whether nothing else may be sent now.
    #[inline]
    pub(super) fn is_checking(&self) -> bool {
        self.state != State::Writing
    }

    /// Seals what goes to byte `at` from this slot.
    pub(super) fn seal(&mut self, index: u32, at: u64, seed: u64, now: Mono, buf: &mut [u8]) {
        let time = ((now.0 / 1_000_000_000) as u32, (now.0 % 1_000_000_000) as u32);
        let stamp = Stamp { seed, time, thread: self.order.thread, number: self.number };
        self.order.format.seal(at, &stamp, buf);
        self.slots[index as usize] =
            Written { bytes: buf.len() as u32, end: 0, number: Some(self.number) };
        self.number = self.number.wrapping_add(1);
    }

    /// The write from this slot has completed; `end` is the block behind it.
    pub(super) fn wrote(&mut self, index: u32, disk: usize, lba: Lba, end: u64) {
        if !self.order.after {
            return;
        }
        self.remember(disk, lba, Written { end, ..self.slots[index as usize] });
        self.since += 1;
        if let Some((every, batch)) = self.order.backlog
            && self.since >= every
        {
            self.since = 0;
            self.state = State::Checking(batch);
        }
    }

    /// It was written there by an earlier run of the job.
    pub(super) fn was_written(&mut self, disk: usize, lba: Lba, end: u64, bytes: u32) {
        self.remember(disk, lba, Written { bytes, end, number: None });
    }

    fn remember(&mut self, disk: usize, lba: Lba, written: Written) {
        // What it has overwritten, in part or whole, is not there any more: those that begin
        // within it, and one that reaches into it from before.
        let before = self.written.range((disk, 0)..(disk, lba.0)).next_back();
        let reaching = before.filter(|(_, before)| before.end > lba.0).map(|(place, _)| *place);
        let within =
            self.written.range((disk, lba.0)..(disk, written.end)).map(|(place, _)| *place);
        let under: Vec<(usize, u64)> = reaching.into_iter().chain(within).collect();
        under.iter().for_each(|place| {
            self.written.remove(place);
        });
        self.written.insert((disk, lba.0), written);
    }

    /// Whether something that was written is still to be checked, now that all is written.
    pub(super) fn owes(&self) -> bool {
        (self.order.after || self.order.only) && !self.written.is_empty()
    }

    /// All is written: what is left is checked.
    pub(super) fn finish(&mut self) {
        self.state = State::Checking(u64::MAX);
    }

    /// Nothing is checked any more. Returns how many places were left.
    pub(super) fn give_up(&mut self) -> usize {
        let left = self.written.len();
        self.written.clear();
        self.state = State::Writing;
        left
    }

    fn next(&mut self, index: u32) -> Option<(usize, u64, u32)> {
        let State::Checking(left) = &mut self.state else { return None };
        if *left == 0 {
            return None;
        }
        let ((disk, lba), written) = self.written.pop_first()?;
        *left -= 1;
        self.slots[index as usize] = written;
        Some((disk, lba, written.bytes))
    }

    /// Goes on writing, if all that was to be checked is; `busy` if some are still in flight.
    fn rest(&mut self, busy: bool) {
        let over = match self.state {
            State::Writing => return,
            State::Checking(left) => left == 0 || self.written.is_empty(),
        };
        if over && !busy {
            self.state = State::Writing;
        }
    }
}

impl Lane {
    /// Whether something is still to be checked before all is done.
    pub(super) fn owes_check(&self) -> bool {
        self.checks.as_ref().is_some_and(|checks| checks.owes())
    }

    /// What an earlier run of this job has written, by drawing it again.
    pub(super) fn recall(&mut self) {
        let Some(mut checks) = self.checks.take_if(|checks| checks.only()) else { return };
        while let Some((disk, next)) = self.pick(Mono::ZERO) {
            if next.direction == Direction::Write {
                let end = next.lba.0 + (u64::from(next.bytes) >> self.disks[disk].block.shift());
                checks.was_written(disk, next.lba, end, next.bytes);
            }
        }
        self.checks = Some(checks);
    }

    /// Reads what is to be checked next, from this slot. If there is none, or its disk takes none,
    /// the buffer stays.
    pub(super) fn send_check(&mut self, index: u32, buf: &mut Option<IoBuf>, now: Mono) -> bool {
        let checks = self.checks.as_mut().expect("it is checking");
        // Nothing is written meanwhile: a block that is changing has no content.
        if self.inflight > self.checking {
            return false;
        }
        let Some((disk, lba, bytes)) = checks.next(index) else {
            checks.rest(self.checking > 0);
            return false;
        };
        let mut buffer = buf.take().expect("it rests with its slot");
        buffer.set_len(bytes as usize);
        let op = Op::Read { lba: Lba(lba), buf: buffer };
        let on = &mut self.disks[disk];
        if let Err(refused) = on.device.submit(now, Request { tag: Tag(u64::from(index)), op }) {
            *buf = refused.op.into_buf();
            let written = checks.slots[index as usize];
            checks.written.insert((disk, lba), written);
            if let State::Checking(left) = &mut checks.state {
                *left = left.saturating_add(1);
            }
            return false;
        }
        self.slots[index as usize] = Slot {
            start: now,
            intended: now,
            issued: now,
            lba: Lba(lba),
            bytes,
            direction: Direction::Read,
            flush: false,
            check: true,
        };
        self.inflight += 1;
        self.checking += 1;
        self.depths.level(self.inflight);
        true
    }

    /// Whether what is sent next is a check.
    pub(super) fn is_to_check(&mut self) -> bool {
        let drained = self.is_drained();
        let Some(checks) = &mut self.checks else { return false };
        if drained && self.inflight == 0 && !checks.is_checking() && checks.owes() {
            checks.finish();
        }
        checks.is_checking()
    }

    /// Nothing is checked any more, and that is said.
    pub(super) fn leave_unchecked(&mut self) {
        let left = self.checks.as_mut().map_or(0, |checks| checks.give_up());
        if left > 0 {
            self.disks[0].notes.push(format!("verify: {left} blocks were left unchecked"));
        }
    }

    /// A request has completed: what was written is remembered, what was read compared with what
    /// it is to hold.
    pub(super) fn checked(&mut self, disk: usize, index: u32, buf: &mut IoBuf, now: Mono) {
        let slot = self.slots[index as usize];
        let on = &self.disks[disk];
        let checks = self.checks.as_mut().expect("it checks");
        if slot.direction == Direction::Write {
            let end = slot.lba.0 + (u64::from(slot.bytes) >> on.block.shift());
            return checks.wrote(index, disk, slot.lba, end);
        }
        // Among its own writes a job reads what it has not written yet.
        if !slot.check && self.order.writes() {
            return;
        }
        let number = if slot.check { checks.slots[index as usize].number } else { None };
        let at = on.block.byte_offset(slot.lba);
        let kept = (checks.order.dump && checks.told < TOLD_MAX).then(|| buf.to_vec());
        if let Err(blemish) = checks.order.format.check(at, number, buf) {
            self.flawed(disk, slot, blemish, kept, now);
        }
    }

    fn flawed(
        &mut self,
        disk: usize,
        slot: Slot,
        blemish: Blemish,
        kept: Option<Vec<u8>>,
        now: Mono,
    ) {
        let checks = self.checks.as_mut().expect("it checks");
        let (pass, fatal) = (checks.order.pass, checks.order.fatal);
        checks.told += 1;
        let told = checks.told;
        let on = &mut self.disks[disk];
        on.tallies[Direction::Read.index()].errors += 1;
        let name = on.device.info().name;
        if told <= TOLD_MAX {
            on.notes.push(format!("verify: {blemish}"));
        }
        if let Some(bytes) = kept {
            let path = format!("{name}.{}.received", on.block.byte_offset(slot.lba));
            on.notes.push(match std::fs::write(&path, bytes) {
                Ok(()) => format!("verify: the block as it was read is in {path}"),
                Err(error) => format!("verify: {path} can't be written: {error}"),
            });
        }
        if pass {
            return;
        }
        let sector = blemish.offset / 512;
        let cause = Trouble::Flawed;
        let failure = Failure { disk: name, direction: Direction::Read, sector, cause };
        if fatal {
            self.fail(now, failure);
        } else {
            self.failure.get_or_insert(failure);
        }
    }
}
