//! `hdd`: a mechanical disk over any other device.
//!
//! What must always hold: data moves to and from the inner device at once; its completion is
//! released at the later of the inner completion and the time at which the modelled drive is
//! done. So errors, crash behaviour and zone rules are the inner device's, and time is ours.
//! Time enters through `now` alone: the model behaves the same by a real and by a virtual clock,
//! and the same commands at the same times with the same seed complete at the same times.
//!
//! ```text
//! submit ─┬─> inner device (data) ──────────────────────────┐
//!         └─> buffer hit / cached write: a fixed time ──────┼─> later of both ─> poll
//!             queue (NCQ) ─> arm ─> done at T ──────────────┘
//!             write cache ─> arm, when nobody waits for it
//! ```
//!
//! The formulas, the constants and what is known to be wrong stand in docs/HDD-MODEL.md.

mod arm;
mod cache;
mod drive;
mod geometry;
mod options;
mod profile;
mod queue;
mod read_ahead;
mod seek;
#[cfg(test)]
mod tests;
mod trouble;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, IoBuf, IoError, Mono, Op, OpenCause,
    Persist, Request, Tag,
};

pub use arm::ArmStats;
pub use drive::{Command, Drive};
pub use geometry::{Span, Tracks};
pub use options::{HddOptions, KIND};
pub use profile::{EXOS_X24, FUTURE_200T, HC670, PROFILES, Profile};
pub use queue::{DEPTH_MAX, Order};
pub use seek::SeekCurve;
pub use trouble::Slow;

use queue::bits;

/// A mechanical disk over another device.
pub struct Hdd {
    inner: Box<dyn BlockDevice>,
    geometry: Geometry,
    name: &'static str,
    drive: Drive,
    /// Without a write cache, a completed write is durable: a FUA write below.
    durable_by_fua: bool,
    slots: Vec<Slot>,
    /// Slots, as bits: unused, ...
    free: u32,
    /// ... answered by the device below, ...
    answered: u32,
    /// ... flushes that the device below has yet to be told of, ...
    unsent: u32,
    /// ... and those of them that it handed back when told.
    refused: u32,
    inner_done: Vec<Completion>,
}

#[derive(Debug)]
struct Slot {
    tag: Tag,
    buf: Option<IoBuf>,
    result: Result<(), IoError>,
}

impl Hdd {
    /// A drive over `inner`, which gives it its size. `seed` decides where the spindle stands at
    /// time zero, and what is retried.
    pub fn new(
        inner: Box<dyn BlockDevice>,
        options: &HddOptions,
        seed: u64,
    ) -> Result<Hdd, OpenCause> {
        let profile = &options.profile;
        let below = inner.geometry();
        let (bytes, needed_bytes) = (below.capacity_bytes(), profile.smallest_backing_bytes());
        if bytes < needed_bytes {
            return Err(OpenCause::TooSmall { bytes, needed_bytes });
        }
        if profile.host_managed && below.zones.is_none() {
            let why = format!(
                "{0} is host-managed and needs zones below it: hdd:{0},zoned,...",
                profile.name
            );
            return Err(OpenCause::BadSpec { why });
        }
        let depth = options.depth.clamp(1, DEPTH_MAX).min(below.depth_max);
        let geometry =
            Geometry { depth_max: depth, volatile_cache: options.write_cache, ..below.clone() };
        let slot = || Slot { tag: Tag(0), buf: None, result: Ok(()) };
        Ok(Hdd {
            name: profile.name,
            drive: Drive::new(options, below.logical, below.blocks, seed),
            durable_by_fua: !options.write_cache && below.volatile_cache,
            slots: (0..depth).map(|_| slot()).collect(),
            free: u32::MAX >> (32 - depth),
            answered: 0,
            unsent: 0,
            refused: 0,
            inner_done: Vec::with_capacity(depth as usize),
            geometry,
            inner,
        })
    }

    /// The drive itself.
    pub fn drive(&self) -> &Drive {
        &self.drive
    }

    fn occupy(&mut self, slot: usize, tag: Tag) {
        self.free &= !(1 << slot);
        self.slots[slot].tag = tag;
    }

    /// Keeps what the device below (or a check) says until the drive is done.
    fn answer(&mut self, slot: usize, buf: Option<IoBuf>, result: Result<(), IoError>) {
        debug_assert!(self.answered & 1 << slot == 0, "each request completes once");
        self.slots[slot].buf = buf;
        self.slots[slot].result = result;
        self.answered |= 1 << slot;
    }

    /// Collects what the device below has done.
    fn collect(&mut self, now: Mono) {
        let mut done = core::mem::take(&mut self.inner_done);
        self.inner.poll(now, &mut done);
        for Completion { tag, buf, result } in done.drain(..) {
            self.answer(tag.0 as usize, buf, result);
        }
        self.inner_done = done;
    }

    /// Tells the device below of flushes for which the drive has cleaned its cache.
    fn send_flushes(&mut self, now: Mono) {
        self.refused = 0;
        for slot in bits(self.unsent & self.drive.timed()) {
            if self.drive.done_at(slot) > now {
                continue;
            }
            let request = Request { tag: Tag(slot as u64), op: Op::Flush };
            if self.inner.submit(now, request).is_err() {
                self.refused |= 1 << slot; // Full below: a completion there brings us back.
            } else {
                self.unsent &= !(1 << slot);
            }
        }
        if self.inner.due() == Due::Now {
            self.collect(now);
        }
    }
}

impl BlockDevice for Hdd {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        self.inner.info().under(&format!("hdd:{}", self.name))
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        if self.free == 0 {
            return Err(request);
        }
        let slot = self.free.trailing_zeros() as usize;
        let Request { tag, mut op } = request;
        if let Err(misfit) = self.geometry.check(&op) {
            self.occupy(slot, tag);
            self.answer(slot, op.into_buf(), Err(misfit.into()));
            self.drive.submit(now, slot, Command::Other);
            return Ok(());
        }
        let count = |buf: &IoBuf| self.geometry.logical.blocks_in(buf.len() as u64);
        let mut asked = Persist::Flush;
        let command = match &mut op {
            Op::Read { lba, buf } => Command::Read { first: lba.0, count: count(buf) },
            Op::Write { lba, buf, persist } => {
                asked = *persist;
                if self.durable_by_fua {
                    *persist = Persist::Fua;
                }
                let through = asked == Persist::Fua;
                Command::Write { first: lba.0, count: count(buf), through }
            }
            Op::Flush => Command::Flush,
            _ => Command::Other,
        };
        if command == Command::Flush {
            self.unsent |= 1 << slot;
        } else {
            let below = Request { tag: Tag(slot as u64), op };
            if let Err(Request { mut op, .. }) = self.inner.submit(now, below) {
                if let Op::Write { persist, .. } = &mut op {
                    *persist = asked;
                }
                return Err(Request { tag, op });
            }
        }
        self.occupy(slot, tag);
        if self.inner.due() == Due::Now {
            self.collect(now);
        }
        // What breaks a rule (of zones, say) is told at once, and the arm stays where it is.
        let refused = self.answered & 1 << slot != 0
            && matches!(self.slots[slot].result, Err(IoError::Misfit(_) | IoError::Zone(_)));
        self.drive.submit(now, slot, if refused { Command::Other } else { command });
        Ok(())
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        if self.inner.inflight() > 0 {
            self.collect(now);
        }
        self.drive.advance(now);
        if self.unsent != 0 {
            self.send_flushes(now);
        }
        let mut count = 0;
        for slot in bits(self.drive.timed() & self.answered) {
            if done.len() == done.capacity() {
                break;
            }
            if self.drive.done_at(slot) > now {
                continue;
            }
            let Slot { tag, buf, result } = &mut self.slots[slot];
            done.push(Completion { tag: *tag, buf: buf.take(), result: *result });
            count += 1;
            self.drive.release(slot);
            self.answered &= !(1 << slot);
            self.free |= 1 << slot;
        }
        count
    }

    fn due(&self) -> Due {
        if self.inflight() == 0 {
            return Due::Idle; // The arm may be cleaning the cache: nobody waits for that.
        }
        // What is done but has its data still below wakes the caller through the device below.
        let timed = self.drive.timed();
        let ready = timed & (self.answered | self.unsent & !self.refused);
        let mut due =
            bits(ready).map(|slot| Due::At(self.drive.done_at(slot))).min().unwrap_or(Due::Event);
        let used = !self.free & (u32::MAX >> (32 - self.geometry.depth_max));
        if used & !timed != 0 {
            let next = self.drive.next().expect("the arm works as long as a command waits for it");
            due = due.min(Due::At(next));
        }
        if self.inner.inflight() > 0 { due.min(self.inner.due()) } else { due }
    }

    fn inflight(&self) -> usize {
        self.slots.len() - self.free.count_ones() as usize
    }
}
