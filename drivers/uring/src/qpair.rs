//! One disk's requests on a ring: a fixed table of slots, those that have completed, and how
//! each becomes an entry of the submission queue.
//!
//! What must always hold: while the kernel (or the helper thread) may touch a buffer, the
//! buffer sits in its slot and nobody reads or writes it. The slot is given back only by
//! `finish`, which is called once the completion is there. A queue pair dropped earlier leaks
//! its buffers.
#![allow(unsafe_code, reason = "island: entries that point into buffers held by slots")]

use std::collections::VecDeque;

use io_uring::{opcode, squeue, types};
use isotherm_seam::{
    BlockSize, Completion, IoBuf, IoError, Op, Persist, Request, ZoneId, ZoneInfo, ZoneReport,
};

use crate::helper::{Job, Task};
use crate::medium::Medium;
use crate::outcome::{Progress, Verdict, cause};
use crate::raw::RawRing;
use crate::setup::FixedSpan;
use crate::zones::ZoneTable;

/// One disk's requests.
pub(crate) struct Qpair {
    /// Number of this disk in the ring: the upper half of its user data.
    index: u32,
    medium: Medium,
    block: BlockSize,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Completed, not yet polled.
    ready: VecDeque<u32>,
    /// Reads to be made by the core itself.
    plain: VecDeque<u32>,
    /// Requests that the ring or the helper has.
    away: u32,
    /// The device said that nothing further will succeed.
    gone: bool,
    orphan: bool,
    /// Reads are made by the core itself, in `poll`.
    plain_reads: bool,
    zones: Option<ZoneTable>,
    /// Accepted writes of zones that have one in the kernel, in order.
    held: VecDeque<u32>,
}

#[derive(Default)]
struct Slot {
    request: Option<Request>,
    start_bytes: u64,
    progress: Progress,
    result: Option<IoError>,
}

/// What became of a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Landed {
    /// The request is done: `poll` returns it.
    Ready,
    /// The rest of it must be sent.
    Again,
    /// The request is done, and this one, which had to wait for it, can be sent.
    ReadyAndNext(u32),
}

/// Who makes a request.
pub(crate) enum Route {
    /// The kernel, through the ring.
    Ring,
    /// The core itself, in `poll`.
    Plain,
    /// The helper thread.
    Helper(Job),
    /// Nobody yet.
    Held,
}

impl Qpair {
    /// An empty table of `depth` slots. Nothing is allocated after this.
    pub(crate) fn new(
        index: u32,
        medium: Medium,
        block: BlockSize,
        depth: u32,
        plain_reads: bool,
        zones: Option<ZoneTable>,
    ) -> Qpair {
        let depth_slots = depth as usize;
        Qpair {
            index,
            medium,
            block,
            slots: (0..depth).map(|_| Slot::default()).collect(),
            free: (0..depth).rev().collect(),
            ready: VecDeque::with_capacity(depth_slots),
            plain: VecDeque::with_capacity(depth_slots),
            away: 0,
            gone: false,
            orphan: false,
            plain_reads,
            held: VecDeque::with_capacity(if zones.is_some() { depth_slots } else { 0 }),
            zones,
        }
    }

    pub(crate) fn depth(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(crate) fn medium(&self) -> &Medium {
        &self.medium
    }

    pub(crate) fn medium_mut(&mut self) -> &mut Medium {
        &mut self.medium
    }

    #[inline]
    pub(crate) fn inflight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    #[inline]
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    #[inline]
    pub(crate) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Takes a request that `refusal` does not keep from being sent. The caller has seen that
    /// the table is not full.
    #[inline]
    pub(crate) fn admit(&mut self, request: Request) -> u32 {
        let (start, len) = match &request.op {
            Op::Read { lba, buf } | Op::Write { lba, buf, .. } => {
                (self.block.byte_offset(*lba), buf.len() as u32)
            }
            Op::Discard { lba, .. } => (self.block.byte_offset(*lba), 0),
            Op::Flush | Op::ZoneReport { .. } | Op::ZoneReset { .. } | Op::ZoneFinish { .. } => {
                (0, 0)
            }
        };
        let index = self.free.pop().expect("a free slot, as the caller has seen");
        let slot = &mut self.slots[index as usize];
        slot.start_bytes = start;
        slot.progress = Progress::new(len);
        slot.result = None;
        slot.request = Some(request);
        index
    }

    /// Takes a request that fails at once.
    pub(crate) fn admit_failed(&mut self, request: Request, error: IoError) {
        let slot = self.admit(request);
        self.slots[slot as usize].result = Some(error);
        self.ready.push_back(slot);
    }

    /// Why a request is not sent at all: known without asking the kernel. A write that may be
    /// sent has moved the write pointer of its zone.
    #[inline]
    pub(crate) fn refusal(&mut self, op: &Op) -> Option<IoError> {
        if self.gone {
            return Some(IoError::Gone);
        }
        let changes = match op {
            Op::Read { .. } | Op::Flush | Op::ZoneReport { .. } => false,
            Op::Write { .. } | Op::Discard { .. } => true,
            Op::ZoneReset { .. } | Op::ZoneFinish { .. } => true,
        };
        if changes && !self.medium.writable() {
            return Some(IoError::ReadOnly);
        }
        self.zones.as_mut().and_then(|zones| {
            let blocks = |buf: &IoBuf| self.block.blocks_in(buf.len() as u64);
            let allowed = match op {
                Op::Read { lba, buf } => zones.check_read(*lba, blocks(buf)).map_err(Into::into),
                Op::Write { lba, buf, .. } => zones.accept_write(*lba, blocks(buf)),
                Op::ZoneReset { zone } | Op::ZoneFinish { zone } => {
                    zones.check_manage(*zone).map_err(Into::into)
                }
                Op::Flush | Op::Discard { .. } | Op::ZoneReport { .. } => Ok(()),
            };
            allowed.err()
        })
    }

    /// Who makes an accepted request. A write of a busy zone is kept until the zone is free.
    #[inline]
    pub(crate) fn route(&mut self, slot: u32) -> Route {
        let op = &self.slots[slot as usize].request.as_ref().expect("a slot in use").op;
        match op {
            Op::Read { .. } if self.plain_reads => {
                self.plain.push_back(slot);
                Route::Plain
            }
            Op::Write { lba, .. } => {
                let zones = self.zones.as_mut();
                if zones.is_none_or(|zones| zones.start_write(*lba)) {
                    return Route::Ring;
                }
                self.held.push_back(slot);
                Route::Held
            }
            Op::Read { .. } | Op::Flush => Route::Ring,
            Op::Discard { .. } if !self.medium.is_block_device() => Route::Ring,
            Op::Discard { lba, blocks } => {
                let len_bytes = blocks << self.block.shift();
                self.lend(
                    slot,
                    Task::Discard { start_bytes: self.block.byte_offset(*lba), len_bytes },
                )
            }
            Op::ZoneReport { zone, buf } => {
                let zones = ZoneReport::entries_in(buf.len());
                let (start_bytes, _) = self.zone_range(*zone);
                self.lend(slot, Task::ZoneReport { start_bytes, zones, block: self.block })
            }
            Op::ZoneReset { zone } => {
                let (start_bytes, len_bytes) = self.zone_range(*zone);
                self.lend(slot, Task::ZoneReset { start_bytes, len_bytes })
            }
            Op::ZoneFinish { zone } => {
                let (start_bytes, len_bytes) = self.zone_range(*zone);
                self.lend(slot, Task::ZoneFinish { start_bytes, len_bytes })
            }
        }
    }

    fn lend(&mut self, slot: u32, task: Task) -> Route {
        self.away += 1;
        Route::Helper(Job { user_data: self.user_data(slot), file: self.medium.share(), task })
    }

    /// Start and length of a zone, in bytes.
    fn zone_range(&self, zone: ZoneId) -> (u64, u64) {
        let zones = self.zones.as_ref().expect("zone requests pass the check of zoned disks only");
        let geometry = zones.geometry();
        let start = self.block.byte_offset(geometry.start(zone));
        (start, geometry.zone_blocks << self.block.shift())
    }

    fn user_data(&self, slot: u32) -> u64 {
        u64::from(self.index) << 32 | u64::from(slot)
    }

    /// Reads the next queued one here and now.
    #[inline]
    pub(crate) fn read_plain(&mut self) -> Option<Completion> {
        let index = self.plain.pop_front()?;
        loop {
            let slot = &mut self.slots[index as usize];
            let Some(Request { op: Op::Read { buf, .. }, .. }) = &mut slot.request else {
                unreachable!("only reads are queued for the core");
            };
            let from = slot.progress.moved_bytes as usize;
            let answer = self.medium.read_at(&mut buf[from..], slot.start_bytes + from as u64);
            if self.settle(index, answer) == Landed::Ready {
                return Some(self.finish(index));
            }
        }
    }

    /// Hands a slot to the ring. False when the submission queue is full.
    #[inline]
    pub(crate) fn push(&mut self, slot: u32, ring: &RawRing, fixed: &FixedSpan) -> bool {
        let Some(entry) = self.entry(slot, fixed) else {
            unreachable!("this operation goes to the helper");
        };
        let entry = entry.user_data(self.user_data(slot));
        // SAFETY: the entry points into the buffer in the slot. It stays there, untouched,
        // until `land` has been given this entry's completion (module documentation).
        let pushed = unsafe { ring.push(&entry) };
        self.away += u32::from(pushed);
        pushed
    }

    #[inline]
    fn entry(&mut self, slot: u32, fixed: &FixedSpan) -> Option<squeue::Entry> {
        let Slot { request, start_bytes, progress, .. } = &mut self.slots[slot as usize];
        let request = request.as_mut().expect("a slot in use holds its request");
        let moved = progress.moved_bytes;
        let (offset, len) = (*start_bytes + u64::from(moved), progress.len_bytes - moved);
        let at = |buf: &mut IoBuf| {
            // SAFETY: moved <= len <= the buffer's capacity.
            let ptr = unsafe { buf.as_raw().add(moved as usize) };
            (ptr, fixed.index(ptr, len))
        };
        let target = self.medium.target();
        // The two kinds of descriptor are two types to io-uring.
        macro_rules! build {
            ($fd:ident => $entry:expr) => {
                match target {
                    Target::Registered(index) => {
                        let $fd = types::Fixed(index);
                        $entry.build()
                    }
                    Target::Descriptor(fd) => {
                        let $fd = types::Fd(fd);
                        $entry.build()
                    }
                }
            };
        }
        Some(match &mut request.op {
            Op::Read { buf, .. } => match at(buf) {
                (ptr, Some(i)) => {
                    build!(fd => opcode::ReadFixed::new(fd, ptr, len, i).offset(offset))
                }
                (ptr, None) => build!(fd => opcode::Read::new(fd, ptr, len).offset(offset)),
            },
            Op::Write { buf, persist, .. } => {
                let flags = match persist {
                    Persist::Flush => 0,
                    Persist::Fua => libc::RWF_DSYNC,
                };
                match at(buf) {
                    (ptr, Some(i)) => build!(fd => opcode::WriteFixed::new(fd, ptr, len, i)
                        .offset(offset).rw_flags(flags)),
                    (ptr, None) => build!(fd => opcode::Write::new(fd, ptr, len)
                        .offset(offset).rw_flags(flags)),
                }
            }
            Op::Flush => {
                build!(fd => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC))
            }
            Op::Discard { blocks, .. } => {
                let bytes = *blocks << self.block.shift();
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                build!(fd => opcode::Fallocate::new(fd, bytes).offset(offset).mode(mode))
            }
            Op::ZoneReport { .. } | Op::ZoneReset { .. } | Op::ZoneFinish { .. } => return None,
        })
    }

    /// Takes the kernel's answer for a slot.
    #[inline]
    pub(crate) fn land(&mut self, slot: u32, answer: i32) -> Landed {
        self.away -= 1;
        let landed = self.settle(slot, answer);
        if landed == Landed::Again {
            return landed;
        }
        self.ready.push_back(slot);
        if self.zones.is_some()
            && let Some(next) = self.release_zone(slot)
        {
            return Landed::ReadyAndNext(next);
        }
        landed
    }

    /// Takes the helper's answer for a slot.
    pub(crate) fn land_ioctl(&mut self, slot: u32, answer: Result<Vec<ZoneInfo>, i32>) -> Landed {
        let ok = answer.is_ok();
        if let Some(zones) = &mut self.zones {
            let request = self.slots[slot as usize].request.as_mut().expect("a slot in use");
            match &mut request.op {
                Op::ZoneReset { zone } => zones.managed(*zone, true, ok),
                Op::ZoneFinish { zone } => zones.managed(*zone, false, ok),
                Op::ZoneReport { zone, buf } => {
                    let report = answer.as_deref().unwrap_or(&[]);
                    for (i, info) in report.iter().enumerate() {
                        ZoneReport::put(buf, i, info);
                        zones.reported(ZoneId(zone.0 + i as u32), info);
                    }
                    buf.set_len(report.len() * ZoneReport::ENTRY_BYTES);
                }
                Op::Read { .. } | Op::Write { .. } | Op::Flush | Op::Discard { .. } => {}
            }
        }
        self.land(slot, answer.map_or_else(|errno| -errno, |_| 0))
    }

    /// Tells the zones that a write is done. Returns the next write of the same zone.
    #[cold]
    fn release_zone(&mut self, slot: u32) -> Option<u32> {
        let (zones, done) = (self.zones.as_mut()?, &self.slots[slot as usize]);
        let Some(Request { op: Op::Write { lba, .. }, .. }) = &done.request else { return None };
        zones.end_write(*lba, done.result.is_none());
        let zone = zones.geometry().zone_of(*lba);
        let slots = &self.slots;
        let start_of = |held: u32| match &slots[held as usize].request {
            Some(Request { op: Op::Write { lba, .. }, .. }) => *lba,
            _ => unreachable!("only writes are held"),
        };
        let same_zone = |held: &u32| zones.geometry().zone_of(start_of(*held)) == zone;
        let place = self.held.iter().position(same_zone)?;
        let next = self.held.remove(place)?;
        let free = zones.start_write(start_of(next));
        assert!(free, "the zone was freed just above");
        Some(next)
    }

    #[inline]
    fn settle(&mut self, index: u32, answer: i32) -> Landed {
        let slot = &mut self.slots[index as usize];
        match slot.progress.take(answer, self.medium.unit_bytes()) {
            Verdict::Done => Landed::Ready,
            Verdict::Again => Landed::Again,
            failure => {
                let at = slot.progress.stopped_at(slot.start_bytes, self.block);
                let error = cause(failure, at, || self.medium.shrunk());
                self.gone |= error == IoError::Gone;
                slot.result = Some(error);
                Landed::Ready
            }
        }
    }

    /// The next completed request.
    #[inline]
    pub(crate) fn pop_ready(&mut self) -> Option<Completion> {
        let index = self.ready.pop_front()?;
        Some(self.finish(index))
    }

    /// Forgets what is done, and reads that the core would make: the disk was dropped and
    /// nobody will ask. Returns how many were done and how many were such reads.
    pub(crate) fn abandon(&mut self) -> (u32, u32) {
        let counts = (self.ready.len() as u32, self.plain.len() as u32);
        while let Some(slot) = self.ready.pop_front().or_else(|| self.plain.pop_front()) {
            drop(self.finish(slot));
        }
        counts
    }

    /// The disk is gone and its requests are not: they are abandoned as they come back.
    pub(crate) fn orphan(&mut self) {
        self.orphan = true;
    }

    pub(crate) fn is_orphan(&self) -> bool {
        self.orphan
    }

    #[inline]
    fn finish(&mut self, index: u32) -> Completion {
        let slot = &mut self.slots[index as usize];
        let request = slot.request.take().expect("a slot in use holds its request");
        self.free.push(index);
        request.complete(slot.result.take().map_or(Ok(()), Err))
    }
}

impl Drop for Qpair {
    fn drop(&mut self) {
        if self.away == 0 {
            return;
        }
        for slot in &mut self.slots {
            if let Some(buf) = slot.request.take().and_then(|r| r.op.into_buf()) {
                buf.leak();
            }
        }
    }
}

/// How an entry names the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// By its place in the table of registered files.
    Registered(u32),
    /// By its descriptor.
    Descriptor(i32),
}
