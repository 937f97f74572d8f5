//! The medium of a disk under its cache: what requests do to it once they take effect.
//!
//! What must always hold: a request that was not admitted has no effect. Every sector that
//! differs from what the owner of the disk was told is marked as harmed until it is rewritten.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use isotherm_seam::{
    Draws, Geometry, IoBuf, IoError, Lba, Misfit, Mono, Op, ZoneError, ZoneId, ZoneReport,
};

use crate::cache::WriteCache;
use crate::zones::Zones;
use crate::{Harm, Image, Sector, Unsettled};

#[derive(Clone)]
pub(crate) struct Medium {
    geometry: Geometry,
    blocks_per_sector: u64,
    versions_max: usize,
    cache: WriteCache,
    zones: Option<Zones>,
    harm: BTreeMap<u64, Harm>,
}

/// What discarded blocks read as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Discarded {
    Unchanged,
    Zeros,
    Noise(u64),
}

/// Something in flight that a power cut may leave done, in part or not at all.
pub(crate) enum InFlight<'a> {
    Write { lba: Lba, bytes: &'a [u8] },
    Reset(ZoneId),
    Finish(ZoneId),
}

impl Medium {
    pub(crate) fn new(geometry: &Geometry, image: Image, versions_max: usize) -> Medium {
        Medium {
            geometry: geometry.clone(),
            blocks_per_sector: u64::from(geometry.physical.bytes() / geometry.logical.bytes()),
            versions_max,
            zones: Zones::new(&image),
            cache: WriteCache::new(image, versions_max),
            harm: BTreeMap::new(),
        }
    }

    /// Powers up with this on it. Harm stays known.
    pub(crate) fn load(&mut self, image: Image) {
        self.zones = Zones::new(&image);
        self.cache = WriteCache::new(image, self.versions_max);
    }

    /// What is durable.
    pub(crate) fn image(&self) -> &Image {
        self.cache.image()
    }

    /// Accepts a request, which moves a zone's write pointer, or says why not.
    pub(crate) fn admit(&mut self, op: &Op) -> Result<(), IoError> {
        self.geometry.check(op)?;
        if matches!(op, Op::Discard { .. }) && !self.geometry.discard {
            return Err(Misfit::Unsupported.into());
        }
        let Some(zones) = &mut self.zones else { return Ok(()) };
        let blocks = |buf: &IoBuf| self.geometry.logical.blocks_in(buf.len() as u64);
        match op {
            Op::Read { lba, buf } => zones.admit_read(*lba, blocks(buf))?,
            Op::Write { lba, buf, .. } => zones.admit_write(*lba, blocks(buf))?,
            Op::ZoneReset { zone } | Op::ZoneFinish { zone } => zones.admit_change(*zone)?,
            Op::Flush | Op::Discard { .. } | Op::ZoneReport { .. } => {}
        }
        Ok(())
    }

    /// Whether a block can hold something: not so beyond the write pointer of its zone.
    pub(crate) fn is_writable_at(&self, lba: Lba, bytes: usize) -> bool {
        let end = lba.offset(self.geometry.logical.blocks_in(bytes as u64));
        match (&self.zones, self.sequential_zone(lba)) {
            (Some(zones), Some(zone)) => end <= zones.pointer(zone),
            _ => true,
        }
    }

    /// Moves a zone's write pointer past a write that another device has accepted.
    pub(crate) fn advance_pointer(&mut self, lba: Lba, bytes: usize) {
        let end = lba.offset(self.geometry.logical.blocks_in(bytes as u64));
        if let (Some(zone), Some(zones)) = (self.sequential_zone(lba), &mut self.zones) {
            zones.set_pointer(zone, zones.pointer(zone).max(end));
        }
    }

    /// The sequential zone that holds a block.
    pub(crate) fn sequential_zone(&self, lba: Lba) -> Option<ZoneId> {
        let zones = self.zones.as_ref()?.geometry();
        let zone = zones.zone_of(lba);
        zones.is_sequential(zone).then_some(zone)
    }

    /// The sectors that hold some of these bytes.
    pub(crate) fn sectors(&self, lba: Lba, bytes: usize) -> Range<u64> {
        let end = lba.offset(self.geometry.logical.blocks_in(bytes as u64)).0;
        lba.0 / self.blocks_per_sector..end.div_ceil(self.blocks_per_sector)
    }

    pub(crate) fn first_block(&self, sector: u64) -> Lba {
        Lba(sector * self.blocks_per_sector)
    }

    /// The pieces of a range by sector: (sector, offset in the sector, range in the buffer).
    fn pieces(
        &self,
        lba: Lba,
        bytes: usize,
    ) -> impl Iterator<Item = (u64, usize, Range<usize>)> + use<> {
        let physical = u64::from(self.geometry.physical.bytes());
        let start = self.geometry.logical.byte_offset(lba);
        let end = start + bytes as u64;
        (start / physical..end.div_ceil(physical)).map(move |sector| {
            let from = start.max(sector * physical);
            let to = end.min((sector + 1) * physical);
            let range = (from - start) as usize..(to - start) as usize;
            (sector, (from - sector * physical) as usize, range)
        })
    }

    /// A write cut up by sector: (sector, first block, bytes).
    pub(crate) fn split<'a>(
        &self,
        lba: Lba,
        bytes: &'a [u8],
    ) -> impl Iterator<Item = (u64, Lba, &'a [u8])> + use<'a> {
        let logical = self.geometry.logical;
        self.pieces(lba, bytes.len()).map(move |(sector, _, range)| {
            (sector, lba.offset(logical.blocks_in(range.start as u64)), &bytes[range])
        })
    }

    /// A sector with these bytes written into it; `None` if the rest of it can't be read.
    fn merged(&self, sector: u64, offset: usize, bytes: &[u8]) -> Option<Sector> {
        let physical = self.geometry.physical.bytes() as usize;
        if bytes.len() == physical {
            return Some(Sector::Data(Rc::from(bytes)));
        }
        let mut whole = vec![0; physical];
        if !self.image().render(sector, self.cache.visible(sector), 0, &mut whole) {
            return None;
        }
        whole[offset..offset + bytes.len()].copy_from_slice(bytes);
        Some(Sector::Data(whole.into()))
    }

    /// The content as a read would find it.
    pub(crate) fn read(&self, lba: Lba, out: &mut [u8]) -> Result<(), IoError> {
        for (sector, offset, range) in self.pieces(lba, out.len()) {
            if !self.image().render(sector, self.cache.visible(sector), offset, &mut out[range]) {
                return Err(IoError::Media { lba: self.first_block(sector).max(lba) });
            }
        }
        Ok(())
    }

    /// Writes, `durable` at once or with a later flush.
    pub(crate) fn write(&mut self, lba: Lba, bytes: &[u8], durable: bool) -> Result<(), IoError> {
        self.cache.begin_write();
        for (sector, offset, range) in self.pieces(lba, bytes.len()) {
            let Some(content) = self.merged(sector, offset, &bytes[range]) else {
                return Err(IoError::Media { lba: self.first_block(sector).max(lba) });
            };
            self.put(sector, content, durable);
            if !self.harm.is_empty() {
                self.harm.remove(&sector);
            }
        }
        Ok(())
    }

    fn put(&mut self, sector: u64, content: Sector, durable: bool) {
        if durable {
            self.cache.put_durable(sector, content);
        } else {
            self.cache.put(sector, content);
        }
    }

    /// A write that fails: each sector old, new or unreadable. In a sequential zone the write
    /// pointer ends somewhere within it, and nothing lies beyond; returns that pointer.
    pub(crate) fn tear(
        &mut self,
        lba: Lba,
        bytes: &[u8],
        durable: bool,
        draws: &mut Draws,
    ) -> Option<(ZoneId, Lba)> {
        let stopped = self.sequential_zone(lba).map(|zone| {
            let blocks = self.geometry.logical.blocks_in(bytes.len() as u64);
            (zone, lba.offset(draws.below(blocks + 1)))
        });
        let mut reach = bytes.len();
        if let Some((zone, pointer)) = stopped {
            reach = self.geometry.logical.byte_offset(Lba(pointer.0 - lba.0)) as usize;
            self.zones.as_mut().expect("it has a zone").set_pointer(zone, pointer);
        }
        self.cache.begin_write();
        for (sector, offset, range) in self.pieces(lba, reach) {
            match draws.below(3) {
                0 => {}
                1 => {
                    if let Some(content) = self.merged(sector, offset, &bytes[range]) {
                        self.put(sector, content, durable);
                    }
                }
                _ => {
                    self.put(sector, Sector::Unreadable, durable);
                    self.harm.insert(sector, Harm::Unreadable);
                }
            }
        }
        stopped
    }

    /// How many writes have taken effect: a flush submitted now covers those.
    pub(crate) fn writes(&self) -> u64 {
        self.cache.writes()
    }

    /// Makes the first so many writes durable.
    pub(crate) fn flush(&mut self, writes: u64) {
        self.cache.settle(writes);
    }

    /// Whole sectors of these blocks are no longer needed; sectors discarded in part stay.
    pub(crate) fn discard(&mut self, lba: Lba, blocks: u64, becomes: Discarded) {
        let content = match becomes {
            Discarded::Unchanged => return,
            Discarded::Zeros => {
                Sector::Data(vec![0; self.geometry.physical.bytes() as usize].into())
            }
            Discarded::Noise(key) => Sector::Noise(key),
        };
        let start = lba.0.div_ceil(self.blocks_per_sector);
        let sectors = start..start.max(lba.offset(blocks).0 / self.blocks_per_sector);
        let mut written: Vec<u64> =
            self.image().written(sectors.clone()).map(|(sector, _)| sector).collect();
        written.extend(self.cache.dirty().range(sectors).map(|(&sector, _)| sector));
        written.sort_unstable();
        written.dedup();
        self.cache.begin_write();
        for sector in written {
            self.cache.put(sector, content.clone());
            self.harm.remove(&sector);
        }
    }

    /// Writes entries on zones from `zone` on, as many as fit.
    pub(crate) fn report(&self, zone: ZoneId, buf: &mut IoBuf) {
        let zones = self.zones.as_ref().expect("admitted: it has zones");
        let room = ZoneReport::entries_in(buf.len());
        let entries = room.min((zones.geometry().zones - zone.0) as usize);
        for (at, number) in (zone.0..).take(entries).enumerate() {
            ZoneReport::put(buf, at, &zones.info(ZoneId(number)));
        }
        buf.set_len(entries * ZoneReport::ENTRY_BYTES);
    }

    /// Empties a zone, for good.
    pub(crate) fn reset(&mut self, zone: ZoneId) {
        let zones = self.zones.as_mut().expect("admitted: it has zones");
        let start = zones.geometry().start(zone);
        let sectors = start.0..start.0 + zones.geometry().zone_blocks;
        zones.set_pointer(zone, start);
        self.cache.forget(sectors.clone());
        self.cache.image_mut().set_pointer(zone, start);
        self.harm.retain(|sector, _| !sectors.contains(sector));
    }

    /// Makes a zone full, for good.
    pub(crate) fn finish(&mut self, zone: ZoneId) {
        let zones = self.zones.as_mut().expect("admitted: it has zones");
        let end = zones.end(zone);
        zones.set_pointer(zone, end);
        self.cache.image_mut().set_pointer(zone, end);
    }

    /// When a write to a zone completes that would at `wanted`: not before its predecessors.
    pub(crate) fn in_order(&mut self, lba: Lba, wanted: Mono) -> Mono {
        match &mut self.zones {
            Some(zones) => zones.in_order(lba, wanted),
            None => wanted,
        }
    }

    // Damage.

    pub(crate) fn make_unreadable(&mut self, sector: u64) {
        self.cache.corrupt(sector, Sector::Unreadable);
        self.harm.insert(sector, Harm::Unreadable);
    }

    /// Flips a bit; `false` where there is none to flip, since nothing can be read.
    pub(crate) fn rot(&mut self, sector: u64, bit: u64) -> bool {
        let mut bytes = vec![0; self.geometry.physical.bytes() as usize];
        if !self.image().render(sector, self.cache.visible(sector), 0, &mut bytes) {
            return false;
        }
        let bit = bit as usize % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.cache.corrupt(sector, Sector::Data(bytes.into()));
        self.harm.insert(sector, Harm::Rotten);
        true
    }

    /// Marks sectors as harmed.
    pub(crate) fn mark(&mut self, lba: Lba, bytes: usize, harm: Harm) {
        for sector in self.sectors(lba, bytes) {
            self.harm.insert(sector, harm);
        }
    }

    /// Marks every sector in which `image`, about to be loaded, differs from what is durable.
    pub(crate) fn mark_outdated(&mut self, image: &Image) {
        let mut either: Vec<u64> = Vec::new();
        for side in [self.image(), image] {
            either.extend(side.written(0..u64::MAX).map(|(sector, _)| sector));
        }
        for sector in either {
            if self.image().sector(sector) != image.sector(sector) {
                self.harm.insert(sector, Harm::Outdated);
            }
        }
    }

    pub(crate) fn forget_harm(&mut self) {
        self.harm.clear();
    }

    pub(crate) fn harm(&self, blocks: Range<Lba>) -> Vec<(Lba, Harm)> {
        let end = blocks.end.0.div_ceil(self.blocks_per_sector);
        let sectors = blocks.start.0 / self.blocks_per_sector..end;
        self.harm.range(sectors).map(|(&sector, &harm)| (self.first_block(sector), harm)).collect()
    }

    // Power cuts.

    /// Everything that a power cut may decide, with what is in flight in the order of its
    /// submission.
    pub(crate) fn unsettled<'a>(&self, in_flight: impl Iterator<Item = InFlight<'a>>) -> Unsettled {
        let mut sectors = Vec::new();
        let mut changes = Vec::new();
        // For each zone that is not empty: up to where it may be written.
        let mut reach: BTreeMap<ZoneId, Lba> = BTreeMap::new();
        if let Some(zones) = &self.zones {
            reach.extend(zones.touched().map(|zone| (zone, zones.pointer(zone))));
        }
        for what in in_flight {
            match what {
                InFlight::Write { lba, bytes } => {
                    if let Some(zone) = self.sequential_zone(lba) {
                        let end = lba.offset(self.geometry.logical.blocks_in(bytes.len() as u64));
                        let far = reach.entry(zone).or_insert(end);
                        *far = end.max(*far);
                    }
                    for (sector, offset, range) in self.pieces(lba, bytes.len()) {
                        let content = self.merged(sector, offset, &bytes[range]);
                        sectors.extend(content.map(|content| (sector, content)));
                    }
                }
                InFlight::Reset(zone) => changes.push((zone, true)),
                InFlight::Finish(zone) => changes.push((zone, false)),
            }
        }
        let mut unsettled = Unsettled::new(&self.cache, sectors);
        let Some(zones) = &self.zones else { return unsettled };
        for (zone, _) in &changes {
            reach.entry(*zone).or_insert_with(|| zones.pointer(*zone));
        }
        for (zone, far) in reach {
            let durable = self.image().pointer(zone);
            let mut pointers: Vec<Lba> = (durable.0..=far.0.max(durable.0)).map(Lba).collect();
            for (_, is_reset) in changes.iter().filter(|(changed, _)| *changed == zone) {
                let start = zones.geometry().start(zone);
                pointers.push(if *is_reset { start } else { zones.end(zone) });
            }
            if pointers.len() > 1 {
                unsettled.add_zone(zone, pointers);
            }
        }
        unsettled
    }

    /// Why a write behind one that failed is refused.
    pub(crate) fn refused_behind(write_pointer: Lba) -> IoError {
        ZoneError::NotAtWritePointer { write_pointer }.into()
    }
}
