//! Write pointers of a disk that is powered up.
//!
//! What must always hold: a pointer moves when a write is *submitted*, so several writes may be
//! in flight in a zone, in order. How far a zone is durable is the image's affair.

use std::collections::BTreeMap;

use isotherm_seam::{Lba, Mono, ZoneError, ZoneGeometry, ZoneId, ZoneInfo, ZoneState};

use crate::Image;

#[derive(Clone)]
pub(crate) struct Zones {
    geometry: ZoneGeometry,
    /// The zones that are not empty, and those that were.
    live: BTreeMap<ZoneId, Live>,
    open: u32,
}

#[derive(Clone, Copy)]
struct Live {
    pointer: Lba,
    /// When the last write submitted to it completes: writes of a zone complete in order.
    busy_until: Mono,
}

impl Zones {
    /// As the medium has them after a start.
    pub(crate) fn new(image: &Image) -> Option<Zones> {
        let geometry = *image.zones()?;
        let mut zones = Zones { geometry, live: BTreeMap::new(), open: 0 };
        for (zone, pointer) in image.pointers() {
            zones.set_pointer(zone, pointer);
        }
        Some(zones)
    }

    pub(crate) fn geometry(&self) -> &ZoneGeometry {
        &self.geometry
    }

    /// Takes a write: its zone's pointer moves past it.
    pub(crate) fn admit_write(&mut self, lba: Lba, blocks: u64) -> Result<(), ZoneError> {
        let first = self.geometry.zone_of(lba);
        let last = self.geometry.zone_of(lba.offset(blocks - 1));
        if !self.geometry.is_sequential(first) {
            return if self.geometry.is_sequential(last) {
                Err(ZoneError::Crosses)
            } else {
                Ok(())
            };
        }
        let (pointer, end) = (self.pointer(first), self.end(first));
        if pointer == end {
            return Err(ZoneError::Full);
        }
        if lba != pointer {
            return Err(ZoneError::NotAtWritePointer { write_pointer: pointer });
        }
        let after = lba.offset(blocks);
        if after > end {
            return Err(ZoneError::Crosses);
        }
        let opens = pointer == self.geometry.start(first) && after < end;
        if opens && self.geometry.open_max != 0 && self.open >= self.geometry.open_max {
            return Err(ZoneError::TooManyOpen);
        }
        self.set_pointer(first, after);
        Ok(())
    }

    /// Whether all of these blocks lie in one zone, or in conventional ones, and are written.
    pub(crate) fn admit_read(&self, lba: Lba, blocks: u64) -> Result<(), ZoneError> {
        let end = lba.offset(blocks);
        let first = self.geometry.zone_of(lba);
        let last = self.geometry.zone_of(lba.offset(blocks - 1));
        if !self.geometry.is_sequential(first) {
            return if self.geometry.is_sequential(last) {
                Err(ZoneError::Crosses)
            } else {
                Ok(())
            };
        }
        if end > self.end(first) {
            return Err(ZoneError::Crosses);
        }
        if end > self.pointer(first) { Err(ZoneError::Unwritten) } else { Ok(()) }
    }

    /// Whether a zone can be reset or finished.
    pub(crate) fn admit_change(&self, zone: ZoneId) -> Result<(), ZoneError> {
        if self.geometry.is_sequential(zone) { Ok(()) } else { Err(ZoneError::Conventional) }
    }

    /// When a write that was admitted completes: at `wanted`, and not before its predecessors.
    pub(crate) fn in_order(&mut self, lba: Lba, wanted: Mono) -> Mono {
        match self.live.get_mut(&self.geometry.zone_of(lba)) {
            Some(live) => {
                live.busy_until = live.busy_until.max(wanted);
                live.busy_until
            }
            None => wanted,
        }
    }

    /// The zones that are not empty, and some that are.
    pub(crate) fn touched(&self) -> impl Iterator<Item = ZoneId> {
        self.live.keys().copied()
    }

    pub(crate) fn pointer(&self, zone: ZoneId) -> Lba {
        self.live.get(&zone).map_or_else(|| self.geometry.start(zone), |live| live.pointer)
    }

    /// Behind the last block that can be written in a zone.
    pub(crate) fn end(&self, zone: ZoneId) -> Lba {
        self.geometry.start(zone).offset(self.geometry.capacity_blocks)
    }

    pub(crate) fn set_pointer(&mut self, zone: ZoneId, pointer: Lba) {
        self.open -= u32::from(self.is_open(zone));
        let fresh = Live { pointer, busy_until: Mono::ZERO };
        self.live.entry(zone).or_insert(fresh).pointer = pointer;
        self.open += u32::from(self.is_open(zone));
    }

    fn is_open(&self, zone: ZoneId) -> bool {
        let pointer = self.pointer(zone);
        pointer != self.geometry.start(zone) && pointer != self.end(zone)
    }

    pub(crate) fn info(&self, zone: ZoneId) -> ZoneInfo {
        let start = self.geometry.start(zone);
        let pointer = self.pointer(zone);
        let state = if !self.geometry.is_sequential(zone) {
            ZoneState::Conventional
        } else if pointer == start {
            ZoneState::Empty
        } else if pointer == self.end(zone) {
            ZoneState::Full
        } else {
            ZoneState::Open
        };
        ZoneInfo {
            start,
            capacity_blocks: self.geometry.capacity_blocks,
            write_pointer: pointer,
            state,
        }
    }
}
