//! The rules of zones, and appends to several zones side by side.

use isotherm_seam::{
    IoError, Lba, Op, Persist, ZoneError, ZoneGeometry, ZoneId, ZoneInfo, ZoneReport, ZoneState,
};

use super::blocks::{Version, fill};
use super::random::check_content;
use super::rig::Rig;

/// Sequential zones under test at most.
const ZONES_MAX: u32 = 12;

pub(super) fn rules(rig: &mut Rig<'_>) {
    let Some(zones) = rig.geometry.zones else { return };
    if rig.expect.fails || zones.conventional == zones.zones {
        return;
    }
    reports_agree_with_the_geometry(rig, &zones);
    let first = ZoneId(zones.conventional);
    let tested = zones.zones.min(zones.conventional + ZONES_MAX);
    let sequential: Vec<ZoneId> = (zones.conventional..tested).map(ZoneId).collect();
    for &zone in &sequential {
        assert_eq!(reset(rig, zone), Ok(()));
        let info = report(rig, zone);
        assert_eq!((info.state, info.write_pointer), (ZoneState::Empty, info.start));
    }
    writes_start_at_the_write_pointer(rig, &zones, first);
    finish_makes_full(rig, &zones, first);
    open_zones_are_limited(rig, &zones, &sequential);
    if zones.conventional > 0 {
        let conventional = Err(IoError::Zone(ZoneError::Conventional));
        assert_eq!(reset(rig, ZoneId(0)), conventional);
        assert_eq!(finish(rig, ZoneId(0)), conventional);
    }
}

fn reports_agree_with_the_geometry(rig: &mut Rig<'_>, zones: &ZoneGeometry) {
    let mut next = 0;
    while next < zones.zones {
        let buf = rig.pool.alloc(5 * ZoneReport::ENTRY_BYTES + 3).expect("a buffer");
        let (result, buf) = rig.call(Op::ZoneReport { zone: ZoneId(next), buf });
        assert_eq!(result, Ok(()));
        let buf = buf.expect("a report's buffer");
        let expected = 5.min(zones.zones - next) as usize;
        assert_eq!(buf.len(), expected * ZoneReport::ENTRY_BYTES, "as many as it holds");
        for index in 0..expected {
            let zone = ZoneId(next + index as u32);
            let info = ZoneReport::get(&buf, index);
            assert_eq!(info.start, zones.start(zone));
            assert_eq!(info.capacity_blocks, zones.capacity_blocks);
            let conventional = info.state == ZoneState::Conventional;
            assert_eq!(conventional, !zones.is_sequential(zone));
            let end = info.start.offset(info.capacity_blocks);
            assert!((info.start..=end).contains(&info.write_pointer));
        }
        next += expected as u32;
    }
}

fn writes_start_at_the_write_pointer(rig: &mut Rig<'_>, zones: &ZoneGeometry, zone: ZoneId) {
    let start = zones.start(zone);
    let unit = unit(rig);
    assert_eq!(read(rig, start, unit), Err(IoError::Zone(ZoneError::Unwritten)));
    let misplaced =
        |pointer| Err(IoError::Zone(ZoneError::NotAtWritePointer { write_pointer: pointer }));
    assert_eq!(write(rig, start.offset(unit), unit), misplaced(start));
    assert_eq!(report(rig, zone).state, ZoneState::Empty, "a refused write changes nothing");
    assert_eq!(write(rig, start, unit), Ok(()));
    let info = report(rig, zone);
    assert_eq!((info.state, info.write_pointer), (ZoneState::Open, start.offset(unit)));
    assert_eq!(write(rig, start, unit), misplaced(start.offset(unit)));
    assert_eq!(read(rig, start, unit), Ok(()));
    assert_eq!(
        read(rig, start, 2 * unit),
        Err(IoError::Zone(ZoneError::Unwritten)),
        "half of it is not written"
    );
    // The pointer moves when a write is submitted: several in flight, in order.
    let depth = 4.min(u64::from(rig.geometry.depth_max)).min(zones.capacity_blocks / unit - 1);
    for index in 0..depth {
        let buf = rig.buf(unit).expect("a buffer");
        let lba = start.offset(unit * (1 + index));
        assert!(rig.submit(Op::Write { lba, buf, persist: Persist::Flush }).is_ok());
    }
    assert!(rig.drain().iter().all(|completion| completion.result.is_ok()));
    assert_eq!(report(rig, zone).write_pointer, start.offset(unit * (1 + depth)));
}

fn finish_makes_full(rig: &mut Rig<'_>, zones: &ZoneGeometry, zone: ZoneId) {
    let start = zones.start(zone);
    let unit = unit(rig);
    assert_eq!(reset(rig, zone), Ok(()));
    assert_eq!(write(rig, start, unit), Ok(()));
    assert_eq!(finish(rig, zone), Ok(()));
    assert_eq!(report(rig, zone).state, ZoneState::Full);
    assert_eq!(write(rig, start.offset(unit), unit), Err(IoError::Zone(ZoneError::Full)));
    assert_eq!(read(rig, start, unit), Ok(()), "what was written stays readable");
    assert_eq!(reset(rig, zone), Ok(()));
    assert_eq!(read(rig, start, unit), Err(IoError::Zone(ZoneError::Unwritten)));
    // Written to its last block it is full by itself, and one block more crosses its end.
    let mut at = 0;
    while at < zones.capacity_blocks {
        // Not a power of two, so that a rest is left to cross the end with.
        let longest = (super::IO_BYTES as u64 >> rig.geometry.logical.shift()) - unit;
        let left = zones.capacity_blocks - at;
        let count = longest.min(left);
        if left < longest {
            let crossing = write(rig, start.offset(at), left + unit);
            assert_eq!(crossing, Err(IoError::Zone(ZoneError::Crosses)));
        }
        assert_eq!(write(rig, start.offset(at), count), Ok(()));
        at += count;
    }
    assert_eq!(report(rig, zone).state, ZoneState::Full);
    assert_eq!(write(rig, start, unit), Err(IoError::Zone(ZoneError::Full)));
    if zone.0 + 1 < zones.zones {
        let last = start.offset(zones.capacity_blocks - unit);
        let crossing = read(rig, last, 2 * unit);
        assert_eq!(crossing, Err(IoError::Zone(ZoneError::Crosses)));
    }
    assert_eq!(reset(rig, zone), Ok(()));
}

fn open_zones_are_limited(rig: &mut Rig<'_>, zones: &ZoneGeometry, sequential: &[ZoneId]) {
    let limit = zones.open_max as usize;
    if limit == 0 || limit >= sequential.len() {
        return;
    }
    let unit = unit(rig);
    for &zone in &sequential[..limit] {
        assert_eq!(write(rig, zones.start(zone), unit), Ok(()));
    }
    let next = zones.start(sequential[limit]);
    assert_eq!(write(rig, next, unit), Err(IoError::Zone(ZoneError::TooManyOpen)));
    assert_eq!(finish(rig, sequential[0]), Ok(()));
    assert_eq!(write(rig, next, unit), Ok(()), "a finished zone is open no more");
    for &zone in &sequential[..=limit] {
        assert_eq!(reset(rig, zone), Ok(()));
    }
}

/// Appends, reads, resets and finishes at random, several in flight, against a model.
pub(super) fn appends(rig: &mut Rig<'_>) {
    let Some(zones) = rig.geometry.zones else { return };
    if !rig.expect.keeps_data || rig.expect.fails || zones.conventional == zones.zones {
        return;
    }
    let limit = if zones.open_max == 0 { ZONES_MAX } else { zones.open_max.min(ZONES_MAX) };
    let tested = zones.zones.min(zones.conventional + limit);
    let mut model: Vec<Tape> = (zones.conventional..tested)
        .map(|zone| Tape { zone: ZoneId(zone), versions: Vec::new(), full: false })
        .collect();
    for tape in &model {
        assert_eq!(reset(rig, tape.zone), Ok(()));
    }
    let unit = unit(rig);
    let mut version: Version = 0;
    for _ in 0..rig.expect.operations {
        let index = rig.draws.below(model.len() as u64) as usize;
        let tape = &mut model[index];
        let start = zones.start(tape.zone);
        let pointer = tape.versions.len() as u64;
        let left = (zones.capacity_blocks - pointer) / unit;
        let choice = rig.draws.below(100);
        let append = choice < 60 && left > 0 && !tape.full;
        if !append || rig.inflight() as u32 >= rig.geometry.depth_max {
            for completion in rig.drain() {
                assert_eq!(completion.result, Ok(()));
            }
        }
        if append {
            let count = unit * (1 + rig.draws.below(left.min(4)));
            let Some(mut buf) = rig.buf(count) else { continue };
            version += 1;
            let size = rig.geometry.logical.bytes() as usize;
            for (i, block) in buf.chunks_exact_mut(size).enumerate() {
                fill(block, rig.seed, start.offset(pointer + i as u64), version);
            }
            let lba = start.offset(pointer);
            let op = Op::Write { lba, buf, persist: Persist::Flush };
            assert!(rig.submit(op).is_ok(), "below the depth");
            tape.versions.extend((0..count).map(|_| version));
        } else if !(60..96).contains(&choice) {
            assert_eq!(reset(rig, tape.zone), Ok(()));
            tape.versions.clear();
            tape.full = false;
        } else if choice >= 92 {
            assert_eq!(finish(rig, tape.zone), Ok(()));
            tape.full = true;
        } else if pointer > 0 {
            let at = rig.draws.below(pointer);
            let buf = rig.buf(1).expect("a buffer");
            let lba = start.offset(at);
            let (result, buf) = rig.call(Op::Read { lba, buf });
            assert_eq!(result, Ok(()));
            let expected = tape.versions[at as usize];
            check_content(rig, &buf.expect("a read's buffer"), 0, lba, expected, expected);
        }
    }
    drop(rig.drain());
    for tape in &model {
        assert_eq!(reset(rig, tape.zone), Ok(()));
    }
}

/// A zone as the model knows it: the version of each block up to its write pointer.
struct Tape {
    zone: ZoneId,
    versions: Vec<Version>,
    full: bool,
}

/// Logical blocks of a physical one: zones are written in whole ones.
fn unit(rig: &Rig<'_>) -> u64 {
    u64::from(rig.geometry.physical.bytes() / rig.geometry.logical.bytes())
}

fn report(rig: &mut Rig<'_>, zone: ZoneId) -> ZoneInfo {
    let buf = rig.pool.alloc(ZoneReport::ENTRY_BYTES).expect("a buffer");
    let (result, buf) = rig.call(Op::ZoneReport { zone, buf });
    assert_eq!(result, Ok(()));
    ZoneReport::get(&buf.expect("a report's buffer"), 0)
}

fn reset(rig: &mut Rig<'_>, zone: ZoneId) -> Result<(), IoError> {
    settled(rig);
    rig.call(Op::ZoneReset { zone }).0
}

fn finish(rig: &mut Rig<'_>, zone: ZoneId) -> Result<(), IoError> {
    settled(rig);
    rig.call(Op::ZoneFinish { zone }).0
}

fn settled(rig: &Rig<'_>) {
    assert!(rig.is_idle(), "zones are reset and finished at rest");
}

fn read(rig: &mut Rig<'_>, lba: Lba, blocks: u64) -> Result<(), IoError> {
    let buf = rig.buf(blocks).expect("a buffer");
    rig.call(Op::Read { lba, buf }).0
}

fn write(rig: &mut Rig<'_>, lba: Lba, blocks: u64) -> Result<(), IoError> {
    let buf = rig.buf(blocks).expect("a buffer");
    rig.call(Op::Write { lba, buf, persist: Persist::Flush }).0
}
