//! The write pointers of a zoned disk, as this core knows them.
//!
//! The disk itself answers a write that is not at the write pointer with EIO, which says
//! nothing; so the pointers are kept here, and such a write is answered with the rule it breaks.
//! What must always hold: at most one write of a sequential zone is in the kernel, since the
//! kernel may start two of them in the wrong order (one punted to a worker, one not). A pointer
//! that a failed write made unknown is not checked until a report or a reset makes it known.

use isotherm_seam::{IoError, Lba, Misfit, ZoneError, ZoneGeometry, ZoneId, ZoneInfo, ZoneState};

/// All zones of one disk.
pub(crate) struct ZoneTable {
    geometry: ZoneGeometry,
    /// Logical blocks of a physical one: writes are whole ones of those.
    sector_blocks: u64,
    zones: Vec<Zone>,
}

#[derive(Clone, Copy)]
struct Zone {
    info: ZoneInfo,
    /// A failed write left the write pointer unknown.
    unsure: bool,
    /// The kernel has a write of this zone.
    writing: bool,
    /// Accepted writes that are not done.
    accepted: u32,
}

impl ZoneTable {
    /// From a report of all zones, in order.
    pub(crate) fn new(geometry: ZoneGeometry, sector_blocks: u64, report: &[ZoneInfo]) -> Self {
        assert_eq!(report.len(), geometry.zones as usize, "a report of every zone");
        let zone =
            |info: &ZoneInfo| Zone { info: *info, unsure: false, writing: false, accepted: 0 };
        ZoneTable { geometry, sector_blocks, zones: report.iter().map(zone).collect() }
    }

    pub(crate) fn geometry(&self) -> &ZoneGeometry {
        &self.geometry
    }

    /// Whether a read may be sent.
    pub(crate) fn check_read(&self, lba: Lba, blocks: u64) -> Result<(), ZoneError> {
        let first = self.zone(self.geometry.zone_of(lba));
        let last = self.zone(self.geometry.zone_of(lba.offset(blocks - 1)));
        if [first, last].iter().any(|zone| zone.info.state == ZoneState::Offline) {
            return Err(ZoneError::OutOfService);
        }
        if last.info.state == ZoneState::Conventional {
            return Ok(());
        }
        if first.info.start != last.info.start {
            return Err(ZoneError::Crosses);
        }
        let written = last.unsure || lba.offset(blocks) <= last.info.write_pointer;
        if written { Ok(()) } else { Err(ZoneError::Unwritten) }
    }

    /// Whether a write may be accepted; if so, moves the write pointer.
    pub(crate) fn accept_write(&mut self, lba: Lba, blocks: u64) -> Result<(), IoError> {
        let id = self.geometry.zone_of(lba);
        let last = self.zone(self.geometry.zone_of(lba.offset(blocks - 1)));
        let ends_conventional = last.info.state == ZoneState::Conventional;
        let sector_blocks = self.sector_blocks;
        let zone = &mut self.zones[id.0 as usize];
        match zone.info.state {
            ZoneState::Conventional if ends_conventional => return Ok(()),
            ZoneState::Conventional => return Err(ZoneError::Crosses.into()),
            ZoneState::ReadOnly | ZoneState::Offline => return Err(ZoneError::OutOfService.into()),
            ZoneState::Full if !zone.unsure => return Err(ZoneError::Full.into()),
            _ => {}
        }
        if !zone.unsure && lba != zone.info.write_pointer {
            let write_pointer = zone.info.write_pointer;
            return Err(ZoneError::NotAtWritePointer { write_pointer }.into());
        }
        if !blocks.is_multiple_of(sector_blocks) {
            return Err(Misfit::Misaligned.into());
        }
        let end = lba.offset(blocks);
        let zone_end = zone.info.start.offset(zone.info.capacity_blocks);
        if end > zone_end {
            return Err(ZoneError::Crosses.into());
        }
        zone.info.write_pointer = end;
        zone.info.state = if end == zone_end { ZoneState::Full } else { ZoneState::Open };
        zone.accepted += 1;
        Ok(())
    }

    /// Whether a zone can be reset or finished.
    pub(crate) fn check_manage(&self, id: ZoneId) -> Result<(), ZoneError> {
        match self.zone(id).info.state {
            ZoneState::Conventional => Err(ZoneError::Conventional),
            ZoneState::ReadOnly | ZoneState::Offline => Err(ZoneError::OutOfService),
            ZoneState::Empty | ZoneState::Open | ZoneState::Full => Ok(()),
        }
    }

    /// Whether an accepted write may go to the kernel now; if so, the zone is taken.
    pub(crate) fn start_write(&mut self, lba: Lba) -> bool {
        let id = self.geometry.zone_of(lba);
        let zone = &mut self.zones[id.0 as usize];
        if zone.info.state == ZoneState::Conventional {
            return true;
        }
        !std::mem::replace(&mut zone.writing, true)
    }

    /// A write is done. The zone is free for the next one.
    pub(crate) fn end_write(&mut self, lba: Lba, ok: bool) {
        let id = self.geometry.zone_of(lba);
        let zone = &mut self.zones[id.0 as usize];
        if zone.info.state != ZoneState::Conventional {
            zone.writing = false;
            zone.accepted -= 1;
            zone.unsure |= !ok;
        }
    }

    /// A reset (or else a finish) is done.
    pub(crate) fn managed(&mut self, id: ZoneId, reset: bool, ok: bool) {
        let zone = &mut self.zones[id.0 as usize];
        zone.unsure = !ok;
        if !ok {
            return;
        }
        let blocks = if reset { 0 } else { zone.info.capacity_blocks };
        zone.info.write_pointer = zone.info.start.offset(blocks);
        zone.info.state = if reset { ZoneState::Empty } else { ZoneState::Full };
    }

    /// The disk reported this zone. What it says is older than writes still on their way.
    pub(crate) fn reported(&mut self, id: ZoneId, info: &ZoneInfo) {
        let zone = &mut self.zones[id.0 as usize];
        if zone.accepted == 0 {
            zone.info = *info;
            zone.unsure = false;
        }
    }

    fn zone(&self, id: ZoneId) -> &Zone {
        &self.zones[id.0 as usize]
    }
}

/// The shape of a disk's zones, from a report of all of them. `None` if it is not one that
/// [`ZoneGeometry`] can say: zones of unequal length.
pub(crate) fn geometry_of(report: &[ZoneInfo], open_max: u32) -> Option<ZoneGeometry> {
    let [first, rest @ ..] = report else { return None };
    let zone_blocks = match rest.first() {
        Some(second) => second.start.0 - first.start.0,
        None => first.capacity_blocks,
    };
    let regular = |(i, zone): (usize, &ZoneInfo)| zone.start.0 == i as u64 * zone_blocks;
    let is_conventional = |zone: &&ZoneInfo| zone.state == ZoneState::Conventional;
    let capacity_blocks = report.iter().map(|zone| zone.capacity_blocks).min()?;
    (zone_blocks > 0 && report.iter().enumerate().all(regular)).then(|| ZoneGeometry {
        zone_blocks,
        capacity_blocks,
        zones: report.len() as u32,
        conventional: report.iter().take_while(is_conventional).count() as u32,
        open_max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Zone 0 conventional, 1 empty, 2 open at 4 of 16, 3 full, 4 read-only, 5 offline.
    fn table() -> ZoneTable {
        let states = [
            (ZoneState::Conventional, 0),
            (ZoneState::Empty, 0),
            (ZoneState::Open, 4),
            (ZoneState::Full, 16),
            (ZoneState::ReadOnly, 8),
            (ZoneState::Offline, 0),
        ];
        let zone = |(i, (state, written)): (usize, &(ZoneState, u64))| {
            let start = Lba(i as u64 * 16);
            ZoneInfo {
                start,
                capacity_blocks: 16,
                write_pointer: start.offset(*written),
                state: *state,
            }
        };
        let report: Vec<ZoneInfo> = states.iter().enumerate().map(zone).collect();
        ZoneTable::new(geometry_of(&report, 8).unwrap(), 2, &report)
    }

    #[test]
    fn the_geometry_is_what_the_report_shows() {
        let geometry = *table().geometry();
        let expected = ZoneGeometry {
            zone_blocks: 16,
            capacity_blocks: 16,
            zones: 6,
            conventional: 1,
            open_max: 8,
        };
        assert_eq!(geometry, expected);
        let odd: Vec<ZoneInfo> = [0, 16, 40]
            .map(|start| ZoneInfo {
                start: Lba(start),
                capacity_blocks: 16,
                write_pointer: Lba(start),
                state: ZoneState::Empty,
            })
            .into();
        assert_eq!(geometry_of(&odd, 0), None);
        assert_eq!(geometry_of(&[], 0), None);
    }

    #[test]
    fn each_rule_that_a_write_breaks_is_named() {
        let mut table = table();
        let zone = |e: ZoneError| Err(IoError::Zone(e));
        assert_eq!(table.accept_write(Lba(3), 5), Ok(()), "conventional: anywhere");
        assert_eq!(table.accept_write(Lba(14), 4), zone(ZoneError::Crosses));
        assert_eq!(table.accept_write(Lba(32), 2), zone(not_at(36)));
        assert_eq!(table.accept_write(Lba(36), 3), Err(Misfit::Misaligned.into()));
        assert_eq!(table.accept_write(Lba(36), 14), zone(ZoneError::Crosses));
        assert_eq!(table.accept_write(Lba(62), 2), zone(ZoneError::Full));
        assert_eq!(table.accept_write(Lba(72), 2), zone(ZoneError::OutOfService));
        assert_eq!(table.accept_write(Lba(80), 2), zone(ZoneError::OutOfService));
        assert_eq!(table.check_manage(ZoneId(0)), Err(ZoneError::Conventional));
        assert_eq!(table.check_manage(ZoneId(5)), Err(ZoneError::OutOfService));
    }

    fn not_at(lba: u64) -> ZoneError {
        ZoneError::NotAtWritePointer { write_pointer: Lba(lba) }
    }

    #[test]
    fn reads_stay_below_the_write_pointer() {
        let table = table();
        assert_eq!(table.check_read(Lba(0), 16), Ok(()));
        assert_eq!(table.check_read(Lba(14), 4), Err(ZoneError::Crosses));
        assert_eq!(table.check_read(Lba(16), 1), Err(ZoneError::Unwritten));
        assert_eq!(table.check_read(Lba(32), 4), Ok(()));
        assert_eq!(table.check_read(Lba(32), 5), Err(ZoneError::Unwritten));
        assert_eq!(table.check_read(Lba(64), 8), Ok(()), "read-only zones are read");
        assert_eq!(table.check_read(Lba(80), 1), Err(ZoneError::OutOfService));
    }

    #[test]
    fn writes_are_accepted_in_order_and_go_one_at_a_time() {
        let mut table = table();
        for lba in [16, 18, 20] {
            assert_eq!(table.accept_write(Lba(lba), 2), Ok(()));
        }
        assert!(table.start_write(Lba(16)));
        assert!(!table.start_write(Lba(18)), "the zone is busy");
        assert!(table.start_write(Lba(3)) && table.start_write(Lba(5)), "conventional never is");
        table.end_write(Lba(16), true);
        assert!(table.start_write(Lba(18)));
        table.end_write(Lba(18), true);
        assert_eq!(table.accept_write(Lba(22), 10), Ok(()));
        assert_eq!(table.accept_write(Lba(32), 2), Err(IoError::Zone(not_at(36))));
        assert_eq!(table.accept_write(Lba(30), 2), Err(IoError::Zone(ZoneError::Full)));
    }

    #[test]
    fn a_failed_write_leaves_the_pointer_unknown_until_a_report() {
        let mut table = table();
        table.accept_write(Lba(16), 2).unwrap();
        assert!(table.start_write(Lba(16)));
        let zone = ZoneId(1);
        let info = ZoneInfo {
            start: Lba(16),
            capacity_blocks: 16,
            write_pointer: Lba(16),
            state: ZoneState::Empty,
        };
        table.reported(zone, &info);
        assert_eq!(table.check_read(Lba(16), 2), Ok(()), "the report is older than the write");
        table.end_write(Lba(16), false);
        assert_eq!(table.check_read(Lba(16), 16), Ok(()), "let the disk say");
        table.reported(zone, &info);
        assert_eq!(table.check_read(Lba(16), 1), Err(ZoneError::Unwritten));
        table.managed(zone, false, true);
        assert_eq!(table.accept_write(Lba(16), 2), Err(IoError::Zone(ZoneError::Full)));
        table.managed(zone, true, true);
        assert_eq!(table.accept_write(Lba(16), 2), Ok(()));
    }
}
