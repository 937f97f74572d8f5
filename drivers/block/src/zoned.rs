//! `zoned`: a host-managed zoned disk over a conventional device.
//!
//! What must always hold: a sequential zone is written at its write pointer only, and the
//! pointer moves when the write is accepted below; a block that is not written since the last
//! reset can't be read. A rule that is broken is answered here, and nothing of it goes down.
//!
//! Write pointers live in memory: a conventional device has no place for them, and a scan could
//! not tell what was written from what was left by an earlier life. Every zone is empty when the
//! device is made. Who reopens a medium brings the pointers along: [`Zoned::write_pointers`] and
//! [`Zoned::restore`]. A reset moves the pointer and leaves the bytes, so it costs nothing and
//! can't race a write that follows it.

use std::collections::VecDeque;
use std::sync::Arc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, IoBuf, IoError, Lba, Misfit, Mono, Op,
    OpenCause, Request, ZoneError, ZoneGeometry, ZoneId, ZoneInfo, ZoneReport, ZoneState,
};

use crate::spec::{LayerKind, OptionHelp, parse_bytes};

pub(crate) const KIND: LayerKind = LayerKind {
    name: "zoned",
    summary: "a host-managed zoned disk over a conventional device",
    options: &[
        OptionHelp { name: "zone", value: "256M", meaning: "size of a zone; 256M where absent" },
        OptionHelp {
            name: "cap",
            value: "256M",
            meaning: "writable bytes of a zone; all of it where absent",
        },
        OptionHelp {
            name: "conv",
            value: "0",
            meaning: "so many zones are conventional; none where absent",
        },
        OptionHelp {
            name: "open",
            value: "0",
            meaning: "zones open at once; 0, where absent too, is no limit",
        },
    ],
    example: "zoned:zone=4M:open=8,memory:1G",
    parse: |args| {
        args.no_value(KIND.options)?;
        let size = |text: &str| parse_bytes(text).filter(|bytes| *bytes > 0);
        let number = |text: &str| text.parse::<u32>().ok();
        let zone_bytes = args.option("zone", "a size such as 256M", size)?.unwrap_or(256 << 20);
        let plan = Zones {
            zone_bytes,
            capacity_bytes: args.option("cap", "a size such as 256M", size)?.unwrap_or(zone_bytes),
            conventional: args.option("conv", "a number of zones", number)?.unwrap_or(0),
            open_max: args.option("open", "a number of zones", number)?.unwrap_or(0),
        };
        Ok(Arc::new(move |inner, _| Ok(Box::new(Zoned::new(inner, &plan)?))))
    },
};

/// The zones that a device shall have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Zones {
    /// From the start of one zone to the next, in bytes.
    pub zone_bytes: u64,
    /// Writable bytes of each zone.
    pub capacity_bytes: u64,
    /// The first so many are conventional.
    pub conventional: u32,
    /// Sequential zones that may be partly written at once; 0 is no limit.
    pub open_max: u32,
}

/// Why a device can't have such zones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadZones {
    /// The device below has zones of its own.
    #[error("the device below `zoned` has zones of its own")]
    Already,
    /// Not whole physical blocks.
    #[error("a zone and its capacity are whole physical blocks of {physical_bytes} bytes")]
    Misaligned {
        /// The physical block size below.
        physical_bytes: u32,
    },
    /// More capacity than zone, or less where there are conventional zones.
    #[error("a zone's capacity is at most the zone, and all of it where some are conventional")]
    Capacity,
    /// Not even one zone fits, or more than 2^32.
    #[error("a device of {device_bytes} bytes can't be cut into zones of {zone_bytes}")]
    Count {
        /// The device's size.
        device_bytes: u64,
        /// The zone's size.
        zone_bytes: u64,
    },
    /// More conventional zones than zones.
    #[error("{conventional} conventional zones of {zones}")]
    Conventional {
        /// Wanted.
        conventional: u32,
        /// There are.
        zones: u32,
    },
}

impl From<BadZones> for OpenCause {
    fn from(error: BadZones) -> OpenCause {
        match error {
            BadZones::Count { device_bytes, zone_bytes } if device_bytes < zone_bytes => {
                OpenCause::TooSmall { bytes: device_bytes, needed_bytes: zone_bytes }
            }
            error => OpenCause::BadSpec { why: error.to_string() },
        }
    }
}

/// A layer that keeps the rules of zones.
pub struct Zoned {
    inner: Box<dyn BlockDevice>,
    geometry: Geometry,
    zones: ZoneGeometry,
    tapes: Vec<Tape>,
    /// Sequential zones that are partly written.
    open: u32,
    /// Answered here: never more than the depth.
    answered: VecDeque<Completion>,
}

/// One zone.
#[derive(Clone, Copy, Default)]
struct Tape {
    /// Blocks written or being written, from its start.
    written: u64,
    /// Finished before its end.
    finished: bool,
}

impl Zoned {
    /// Zones over `inner`, all sequential ones empty. What is left behind the last whole zone is
    /// not used.
    pub fn new(inner: Box<dyn BlockDevice>, plan: &Zones) -> Result<Zoned, BadZones> {
        let mut geometry = inner.geometry().clone();
        if geometry.zones.is_some() {
            return Err(BadZones::Already);
        }
        let Zones { zone_bytes, capacity_bytes, conventional, open_max } = *plan;
        let physical = geometry.physical;
        if !physical.divides(zone_bytes) || !physical.divides(capacity_bytes) || zone_bytes == 0 {
            return Err(BadZones::Misaligned { physical_bytes: physical.bytes() });
        }
        let short = capacity_bytes < zone_bytes;
        if capacity_bytes == 0 || capacity_bytes > zone_bytes || short && conventional > 0 {
            return Err(BadZones::Capacity);
        }
        let device_bytes = geometry.capacity_bytes();
        let zones = u32::try_from(device_bytes / zone_bytes).ok().filter(|zones| *zones > 0);
        let zones = zones.ok_or(BadZones::Count { device_bytes, zone_bytes })?;
        if conventional > zones {
            return Err(BadZones::Conventional { conventional, zones });
        }
        let zones = ZoneGeometry {
            zone_blocks: geometry.logical.blocks_in(zone_bytes),
            capacity_blocks: geometry.logical.blocks_in(capacity_bytes),
            zones,
            conventional,
            open_max,
        };
        geometry.blocks = u64::from(zones.zones) * zones.zone_blocks;
        geometry.discard = false;
        geometry.zones = Some(zones);
        Ok(Zoned {
            tapes: vec![Tape::default(); zones.zones as usize],
            open: 0,
            answered: VecDeque::with_capacity(geometry.depth_max as usize),
            inner,
            geometry,
            zones,
        })
    }

    /// The write pointer of each zone, to bring along to the same medium's next life. A finished
    /// zone is at its end.
    pub fn write_pointers(&self) -> Vec<Lba> {
        (0..self.zones.zones).map(|zone| self.describe(ZoneId(zone)).write_pointer).collect()
    }

    /// Sets each zone's write pointer, as they were on this medium. Panics on pointers outside
    /// their zones, or with requests in flight: that is a bug.
    pub fn restore(&mut self, pointers: &[Lba]) {
        assert_eq!(pointers.len(), self.tapes.len(), "one pointer a zone");
        assert_eq!(self.inflight(), 0, "restored before use");
        for (index, pointer) in pointers.iter().enumerate() {
            let zone = ZoneId(index as u32);
            let start = self.zones.start(zone);
            let end = start.offset(self.zones.capacity_blocks);
            assert!((start..=end).contains(pointer), "a pointer lies in its zone");
            self.tapes[index] = Tape { written: pointer.0 - start.0, finished: false };
        }
        let open = |zone: &u32| self.state(ZoneId(*zone)) == ZoneState::Open;
        self.open = (0..self.zones.zones).filter(open).count() as u32;
    }

    fn state(&self, zone: ZoneId) -> ZoneState {
        let tape = &self.tapes[zone.0 as usize];
        if !self.zones.is_sequential(zone) {
            ZoneState::Conventional
        } else if tape.finished || tape.written == self.zones.capacity_blocks {
            ZoneState::Full
        } else if tape.written > 0 {
            ZoneState::Open
        } else {
            ZoneState::Empty
        }
    }

    fn describe(&self, zone: ZoneId) -> ZoneInfo {
        let start = self.zones.start(zone);
        let state = self.state(zone);
        let moved = match state {
            ZoneState::Full => self.zones.capacity_blocks,
            _ => self.tapes[zone.0 as usize].written,
        };
        ZoneInfo {
            start,
            capacity_blocks: self.zones.capacity_blocks,
            write_pointer: start.offset(moved),
            state,
        }
    }

    /// Whether a read may go down.
    fn check_read(&self, lba: Lba, blocks: u64) -> Result<(), ZoneError> {
        let first = self.zones.zone_of(lba);
        let last = self.zones.zone_of(lba.offset(blocks - 1));
        if !self.zones.is_sequential(last) {
            return Ok(());
        }
        let end = lba.offset(blocks).0 - self.zones.start(first).0;
        if first != last || end > self.zones.capacity_blocks {
            return Err(ZoneError::Crosses);
        }
        if end > self.tapes[first.0 as usize].written {
            return Err(ZoneError::Unwritten);
        }
        Ok(())
    }

    /// Whether a write may go down, and the zone whose pointer it moves.
    fn check_write(&self, lba: Lba, blocks: u64) -> Result<Option<ZoneId>, IoError> {
        let zone = self.zones.zone_of(lba);
        if !self.zones.is_sequential(zone) {
            let last = self.zones.zone_of(lba.offset(blocks - 1));
            let crosses = self.zones.is_sequential(last);
            return if crosses { Err(ZoneError::Crosses.into()) } else { Ok(None) };
        }
        let sector = u64::from(self.geometry.physical.bytes() / self.geometry.logical.bytes());
        let state = self.state(zone);
        let write_pointer = self.describe(zone).write_pointer;
        if state == ZoneState::Full {
            return Err(ZoneError::Full.into());
        }
        if lba != write_pointer {
            return Err(ZoneError::NotAtWritePointer { write_pointer }.into());
        }
        if !blocks.is_multiple_of(sector) {
            return Err(Misfit::Misaligned.into());
        }
        if self.tapes[zone.0 as usize].written + blocks > self.zones.capacity_blocks {
            return Err(ZoneError::Crosses.into());
        }
        let limit = self.zones.open_max;
        if state == ZoneState::Empty && limit > 0 && self.open >= limit {
            return Err(ZoneError::TooManyOpen.into());
        }
        Ok(Some(zone))
    }

    /// Moves the write pointer of a zone, and keeps count of the open ones.
    fn change(&mut self, zone: ZoneId, change: impl FnOnce(&mut Tape)) {
        let was = self.state(zone) == ZoneState::Open;
        change(&mut self.tapes[zone.0 as usize]);
        let is = self.state(zone) == ZoneState::Open;
        self.open = self.open + u32::from(is) - u32::from(was);
    }

    fn reset_or_finish(&mut self, zone: ZoneId, finish: bool) -> Result<(), IoError> {
        if !self.zones.is_sequential(zone) {
            return Err(ZoneError::Conventional.into());
        }
        self.change(zone, |tape| {
            if finish {
                tape.finished = true;
            } else {
                *tape = Tape::default();
            }
        });
        Ok(())
    }

    fn report(&self, from: ZoneId, buf: &mut IoBuf) {
        let left = (self.zones.zones - from.0) as usize;
        let count = ZoneReport::entries_in(buf.len()).min(left);
        for index in 0..count {
            ZoneReport::put(buf, index, &self.describe(ZoneId(from.0 + index as u32)));
        }
        buf.set_len(count * ZoneReport::ENTRY_BYTES);
    }

    /// What a request comes to here: an answer, or the way down, with the zone that it moves.
    fn admit(&mut self, op: &mut Op) -> Verdict {
        if let Err(misfit) = self.geometry.check(op) {
            return Verdict::Answer(Err(misfit.into()));
        }
        let logical = self.geometry.logical;
        match op {
            Op::Read { lba, buf } => {
                match self.check_read(*lba, logical.blocks_in(buf.len() as u64)) {
                    Ok(()) => Verdict::Down { moves: None },
                    Err(error) => Verdict::Answer(Err(error.into())),
                }
            }
            Op::Write { lba, buf, .. } => {
                let blocks = logical.blocks_in(buf.len() as u64);
                match self.check_write(*lba, blocks) {
                    Ok(zone) => Verdict::Down { moves: zone.map(|zone| (zone, blocks)) },
                    Err(error) => Verdict::Answer(Err(error)),
                }
            }
            Op::Flush => Verdict::Down { moves: None },
            Op::Discard { .. } => Verdict::Answer(Err(Misfit::Unsupported.into())),
            Op::ZoneReport { zone, buf } => {
                self.report(*zone, buf);
                Verdict::Answer(Ok(()))
            }
            Op::ZoneReset { zone } => Verdict::Answer(self.reset_or_finish(*zone, false)),
            Op::ZoneFinish { zone } => Verdict::Answer(self.reset_or_finish(*zone, true)),
        }
    }
}

enum Verdict {
    Answer(Result<(), IoError>),
    Down { moves: Option<(ZoneId, u64)> },
}

impl BlockDevice for Zoned {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        self.inner.info().under("zoned")
    }

    fn submit(&mut self, now: Mono, mut request: Request) -> Result<(), Request> {
        if self.inflight() >= self.geometry.depth_max as usize {
            return Err(request);
        }
        match self.admit(&mut request.op) {
            Verdict::Answer(result) => self.answered.push_back(request.complete(result)),
            Verdict::Down { moves } => {
                self.inner.submit(now, request)?;
                if let Some((zone, blocks)) = moves {
                    self.change(zone, |tape| tape.written += blocks);
                }
            }
        }
        Ok(())
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        while done.len() < done.capacity() {
            let Some(completion) = self.answered.pop_front() else { break };
            done.push(completion);
        }
        done.len() - before + self.inner.poll(now, done)
    }

    fn due(&self) -> Due {
        if self.answered.is_empty() { self.inner.due() } else { Due::Now }
    }

    fn inflight(&self) -> usize {
        self.inner.inflight() + self.answered.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, Shape};

    fn memory() -> Box<dyn BlockDevice> {
        Box::new(Memory::new(&Shape::new(1 << 20)).unwrap())
    }

    const PLAN: Zones =
        Zones { zone_bytes: 64 << 10, capacity_bytes: 64 << 10, conventional: 0, open_max: 0 };

    #[test]
    fn zones_that_can_not_be_are_refused() {
        let bad = |plan| Zoned::new(memory(), &plan).err().unwrap();
        let misaligned = Zones { zone_bytes: 10_000, ..PLAN };
        assert_eq!(bad(misaligned), BadZones::Misaligned { physical_bytes: 4096 });
        assert_eq!(bad(Zones { capacity_bytes: 128 << 10, ..PLAN }), BadZones::Capacity);
        let short = Zones { capacity_bytes: 32 << 10, conventional: 1, ..PLAN };
        assert_eq!(bad(short), BadZones::Capacity);
        let large = Zones { zone_bytes: 2 << 20, capacity_bytes: 2 << 20, ..PLAN };
        assert!(matches!(bad(large), BadZones::Count { .. }));
        assert!(matches!(OpenCause::from(bad(large)), OpenCause::TooSmall { .. }));
        assert!(matches!(bad(Zones { conventional: 17, ..PLAN }), BadZones::Conventional { .. }));
        let twice = Zoned::new(memory(), &PLAN).unwrap();
        assert!(matches!(Zoned::new(Box::new(twice), &PLAN), Err(BadZones::Already)));
    }

    #[test]
    fn write_pointers_live_on_in_a_second_life() {
        let mut device =
            Zoned::new(memory(), &Zones { conventional: 1, open_max: 2, ..PLAN }).unwrap();
        let blocks = 128u64;
        let mut pointers: Vec<Lba> = (0..16).map(|zone| Lba(zone * blocks)).collect();
        pointers[1] = Lba(blocks + 8);
        pointers[2] = Lba(3 * blocks);
        device.restore(&pointers);
        assert_eq!(device.write_pointers(), pointers);
        assert_eq!(
            (device.state(ZoneId(1)), device.state(ZoneId(2))),
            (ZoneState::Open, ZoneState::Full)
        );
        assert_eq!(device.open, 1);
        assert_eq!(device.check_read(Lba(blocks), 8), Ok(()));
        assert_eq!(device.check_read(Lba(blocks), 9), Err(ZoneError::Unwritten));
    }
}
