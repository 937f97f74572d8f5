//! The counter at which disks are asked and answers are given: one thread, which owns them all.
//!
//! What must always hold: asks of a disk reach its device in the order in which they came; an
//! answer is given once. A write that is not of whole blocks is read, changed and written with
//! nothing else in the device, as two of them may share a block. An answer leaves a *lead* before the device's time: the way back through
//! the kernel takes so long, and the program is to see the device's time, not the way's. So the
//! device is polled with a time that is ahead by the lead, and asked with the later of the real
//! time and the time of the last poll, for its time must never run backwards.

use std::collections::VecDeque;

use crossbeam::channel::Receiver;
use fuser::Errno;
use isotherm_host::{HostClock, ThreadPark};
use isotherm_seam::{
    BlockDevice, BufPool, Clock, Completion, Due, IoError, Mono, Nanos, Op, Park, Persist, Request,
    Tag,
};

use crate::ask::{Ask, Want};
use crate::tally::DiskTally;

/// One disk behind the counter.
pub(crate) struct Desk {
    device: Box<dyn BlockDevice>,
    bytes: u64,
    /// Not yet sent: the device or the pool is full.
    waiting: VecDeque<(Want, Mono)>,
    /// Sent, by tag.
    sent: Vec<Option<Sent>>,
    free: Vec<u32>,
    /// A write of parts of blocks is under way: nothing else may be.
    alone: bool,
    /// The latest time that the device was told.
    told: Mono,
    pub(crate) tally: DiskTally,
}

struct Sent {
    want: Want,
    arrived: Mono,
    /// Where its bytes begin in the buffer, and how many they are.
    slice: (usize, usize),
    /// What is under way is the read of the blocks that a write changes in part.
    changes: bool,
}

/// What a device is to do for an ask.
enum Order {
    Do {
        op: Op,
        slice: (usize, usize),
        changes: bool,
    },
    /// Nothing: it is answered at once.
    Answer,
    Refuse(Errno),
    /// No buffer now.
    Later,
}

impl Desk {
    pub(crate) fn new(device: Box<dyn BlockDevice>) -> Desk {
        let depth = device.geometry().depth_max;
        Desk {
            bytes: device.geometry().capacity_bytes(),
            device,
            waiting: VecDeque::new(),
            sent: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
            alone: false,
            told: Mono::ZERO,
            tally: DiskTally::default(),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn tell(&mut self, now: Mono) -> Mono {
        self.told = self.told.max(now);
        self.told
    }

    /// Sends what waits, as much as the device takes.
    fn send(&mut self, now: Mono, pool: &BufPool) {
        while !self.alone
            && let Some((want, arrived)) = self.waiting.pop_front()
        {
            let Some(tag) = self.free.pop() else {
                self.waiting.push_front((want, arrived));
                return;
            };
            let (op, slice, changes) = match self.order(&want, pool) {
                Order::Do { op, slice, changes } => (op, slice, changes),
                Order::Answer => {
                    self.free.push(tag);
                    self.tally.count(&want, Nanos::ZERO);
                    answer(want, &[]);
                    continue;
                }
                Order::Refuse(errno) => {
                    self.free.push(tag);
                    self.tally.errors += 1;
                    want.refuse(errno);
                    continue;
                }
                Order::Later => {
                    self.free.push(tag);
                    self.waiting.push_front((want, arrived));
                    return;
                }
            };
            let time = self.tell(now);
            let request = Request { tag: Tag(u64::from(tag)), op };
            if self.device.submit(time, request).is_err() {
                self.free.push(tag);
                self.waiting.push_front((want, arrived));
                return;
            }
            self.alone = changes;
            self.sent[tag as usize] = Some(Sent { want, arrived, slice, changes });
        }
    }

    fn order(&self, want: &Want, pool: &BufPool) -> Order {
        let block = self.device.geometry().logical;
        let unit = u64::from(block.bytes());
        // The whole blocks around some bytes.
        let around = |offset: u64, end: u64| (offset / unit * unit, end.next_multiple_of(unit));
        match want {
            Want::Read { offset, len, .. } => {
                let end = offset.saturating_add(u64::from(*len)).min(self.bytes);
                if *offset >= end {
                    return Order::Answer;
                }
                let (first, last) = around(*offset, end);
                let Ok(buf) = pool.alloc((last - first) as usize) else { return Order::Later };
                let slice = ((offset - first) as usize, (end - offset) as usize);
                Order::Do { op: Op::Read { lba: block.lba_of(first), buf }, slice, changes: false }
            }
            Want::Write { bytes, .. } if bytes.is_empty() => Order::Answer,
            Want::Write { offset, bytes, .. } => {
                let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.bytes);
                let Some(end) = end else { return Order::Refuse(Errno::ENOSPC) };
                let (first, last) = around(*offset, end);
                let changes = last - first != bytes.len() as u64;
                if changes && self.free.len() + 1 != self.sent.len() {
                    return Order::Later;
                }
                let Ok(mut buf) = pool.alloc((last - first) as usize) else { return Order::Later };
                let (lba, slice) = (block.lba_of(first), ((offset - first) as usize, bytes.len()));
                let op = if changes {
                    Op::Read { lba, buf }
                } else {
                    buf.copy_from_slice(bytes);
                    Op::Write { lba, buf, persist: Persist::Flush }
                };
                Order::Do { op, slice, changes }
            }
            Want::Flush { .. } => Order::Do { op: Op::Flush, slice: (0, 0), changes: false },
            Want::Discard { offset, len, .. } => {
                let end = offset.checked_add(*len).filter(|end| *end <= self.bytes);
                let whole = end.is_some() && block.divides(*offset) && block.divides(*len);
                if !self.device.geometry().discard || !whole || *len == 0 {
                    return Order::Refuse(Errno::EOPNOTSUPP);
                }
                let (lba, blocks) = (block.lba_of(*offset), block.blocks_in(*len));
                Order::Do { op: Op::Discard { lba, blocks }, slice: (0, 0), changes: false }
            }
        }
    }

    /// Answers what will be done when the answers have arrived, at `ahead`. Returns how many.
    fn reap(&mut self, ahead: Mono, done: &mut Vec<Completion>) -> usize {
        let time = self.tell(ahead);
        let count = self.device.poll(time, done);
        for completion in done.drain(..) {
            let tag = completion.tag.0 as u32;
            let sent = self.sent[tag as usize].take().expect("what completes was sent");
            let (at, len) = sent.slice;
            match (completion.result, completion.buf, sent.want) {
                (Ok(()), Some(mut buf), Want::Write { offset, bytes, reply }) if sent.changes => {
                    buf[at..at + len].copy_from_slice(&bytes);
                    let lba = self.device.geometry().logical.lba_of(offset - at as u64);
                    let op = Op::Write { lba, buf, persist: Persist::Flush };
                    let taken = self.device.submit(time, Request { tag: completion.tag, op });
                    assert!(taken.is_ok(), "it is alone in the device");
                    let want = Want::Write { offset, bytes, reply };
                    self.sent[tag as usize] = Some(Sent { want, changes: false, ..sent });
                    continue;
                }
                (Ok(()), buf, want) => {
                    self.tally.count(&want, ahead.since(sent.arrived));
                    answer(want, buf.as_deref().map_or(&[][..], |buf| &buf[at..at + len]));
                }
                (Err(error), _, want) => {
                    self.tally.errors += 1;
                    want.refuse(errno_of(&error));
                }
            }
            self.free.push(tag);
            self.alone = false;
        }
        count
    }
}

impl DiskTally {
    fn count(&mut self, want: &Want, took: Nanos) {
        self.busy += took;
        match want {
            Want::Read { len, .. } => {
                self.reads += 1;
                self.read_bytes += u64::from(*len);
            }
            Want::Write { bytes, .. } => {
                self.writes += 1;
                self.written_bytes += bytes.len() as u64;
            }
            Want::Flush { .. } | Want::Discard { .. } => self.flushes += 1,
        }
    }
}

fn answer(want: Want, read: &[u8]) {
    match want {
        Want::Read { reply, .. } => reply.data(read),
        Want::Write { bytes, reply, .. } => reply.written(bytes.len() as u32),
        Want::Flush { reply } | Want::Discard { reply, .. } => reply.ok(),
    }
}

/// As the kernel would say it of a real disk.
fn errno_of(error: &IoError) -> Errno {
    match error {
        IoError::ReadOnly => Errno::EROFS,
        IoError::NoSpace => Errno::ENOSPC,
        IoError::TimedOut => Errno::ETIMEDOUT,
        IoError::Gone => Errno::ENODEV,
        IoError::Misfit(_) => Errno::EINVAL,
        IoError::Os { errno } => Errno::from_i32(*errno),
        IoError::Media { .. } | IoError::Zone(_) => Errno::EIO,
    }
}

pub(crate) struct Counter {
    pub(crate) clock: HostClock,
    pub(crate) park: ThreadPark,
    pub(crate) pool: BufPool,
    pub(crate) asks: Receiver<Ask>,
    pub(crate) desks: Vec<Desk>,
    pub(crate) lead: Nanos,
    pub(crate) done: Vec<Completion>,
}

impl Counter {
    /// Serves until `over` says so, which is asked at every turn and at least so often.
    pub(crate) fn serve(&mut self, patience: Nanos, over: &mut dyn FnMut() -> bool) {
        while !over() {
            self.turn(patience);
        }
    }

    fn turn(&mut self, patience: Nanos) {
        let mut now = self.clock.mono();
        let mut moved = 0;
        for Ask { disk, want } in self.asks.try_iter() {
            self.desks[disk].waiting.push_back((want, now));
            moved += 1;
        }
        let mut due = Some(now + patience);
        for desk in &mut self.desks {
            desk.send(now, &self.pool);
            now = self.clock.mono();
            let answered = desk.reap(now + self.lead, &mut self.done);
            if answered > 0 {
                moved += answered;
                desk.send(now, &self.pool);
            }
            match desk.device.due() {
                Due::Now => moved += 1,
                Due::At(at) => {
                    let at = Mono(at.0.saturating_sub(self.lead.0));
                    due = due.map(|due| due.min(at));
                }
                Due::Event | Due::Idle => {}
            }
        }
        if moved == 0 {
            let now = self.clock.mono();
            self.park.park(now, due);
        }
    }
}

/// So that no ask is left without an answer.
impl Drop for Counter {
    fn drop(&mut self) {
        for desk in &mut self.desks {
            desk.waiting.drain(..).for_each(|(want, _)| want.refuse(Errno::ENODEV));
            let sent = desk.sent.iter_mut().filter_map(Option::take);
            sent.for_each(|sent| sent.want.refuse(Errno::ENODEV));
        }
        self.asks.try_iter().for_each(|ask| ask.want.refuse(Errno::ENODEV));
    }
}
