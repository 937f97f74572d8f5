//! Geometry, misfits and back-pressure.

use isotherm_seam::{IoBuf, IoError, Lba, Misfit, Op, Persist, ZoneId};

use super::blocks::{fill, version_of};
use super::rig::Rig;

pub(super) fn geometry_is_sane(rig: &Rig<'_>) {
    let geometry = &rig.geometry;
    assert!(geometry.logical <= geometry.physical);
    assert!(geometry.blocks > 0 && geometry.depth_max > 0);
    assert!(geometry.buf_align.is_power_of_two());
    assert!(geometry.io_bytes_max >= geometry.physical.bytes());
    assert!(geometry.logical.divides(geometry.io_bytes_max.into()));
    if let Some(zones) = &geometry.zones {
        assert!(zones.capacity_blocks > 0 && zones.capacity_blocks <= zones.zone_blocks);
        assert!(zones.conventional <= zones.zones);
        assert_eq!(u64::from(zones.zones) * zones.zone_blocks, geometry.blocks);
    }
}

/// A request that does not fit completes with just that error, and changes nothing.
pub(super) fn misfits_complete_with_their_error(rig: &mut Rig<'_>) {
    let geometry = rig.geometry.clone();
    let block = geometry.logical.bytes() as usize;
    let last = Lba(geometry.blocks - 1);
    let sequential_end = geometry.zones.is_some_and(|zones| zones.conventional < zones.zones);
    let witness = rig.expect.keeps_data && !rig.expect.fails && !sequential_end;
    if witness {
        let mut buf = rig.buf(1).expect("a buffer");
        fill(&mut buf, rig.seed, last, 1);
        let (result, _) = rig.call(Op::Write { lba: last, buf, persist: Persist::Flush });
        assert_eq!(result, Ok(()));
    }
    let buf = |len: usize| -> IoBuf { rig.pool.alloc(len).expect("a buffer") };
    let read = |lba, len| Op::Read { lba: Lba(lba), buf: buf(len) };
    let write = |lba, len| {
        let mut buf = buf(len);
        buf.fill(0xee);
        Op::Write { lba: Lba(lba), buf, persist: Persist::Flush }
    };
    let mut cases = vec![
        (read(geometry.blocks, block), Misfit::OutOfRange),
        (read(last.0, 2 * block), Misfit::OutOfRange),
        (read(u64::MAX, block), Misfit::OutOfRange),
        (write(last.0, 2 * block), Misfit::OutOfRange),
        (write(u64::MAX - 1, block), Misfit::OutOfRange),
        (read(last.0, 0), Misfit::Misaligned),
        (read(last.0, block - 1), Misfit::Misaligned),
        (write(last.0, block - 8), Misfit::Misaligned),
        (Op::Discard { lba: last, blocks: 2 }, Misfit::OutOfRange),
        (Op::Discard { lba: last, blocks: 0 }, Misfit::Misaligned),
    ];
    let zones = geometry.zones.map_or(0, |zones| zones.zones);
    let nowhere = ZoneId(zones);
    let zone_misfit = if zones == 0 { Misfit::Unsupported } else { Misfit::OutOfRange };
    cases.push((Op::ZoneReset { zone: nowhere }, zone_misfit));
    cases.push((Op::ZoneFinish { zone: nowhere }, zone_misfit));
    cases.push((Op::ZoneReport { zone: nowhere, buf: buf(4096) }, zone_misfit));
    if (geometry.io_bytes_max as usize) < super::IO_BYTES {
        cases.push((read(0, geometry.io_bytes_max as usize + block), Misfit::TooLong));
    }
    if !geometry.discard {
        cases.push((Op::Discard { lba: Lba(0), blocks: 1 }, Misfit::Unsupported));
    }
    for (op, misfit) in cases {
        let what = format!("{op:?}");
        let (result, _) = rig.call(op);
        assert_eq!(result, Err(IoError::Misfit(misfit)), "{what}");
    }
    if witness {
        let buf = rig.buf(1).expect("a buffer");
        let (result, buf) = rig.call(Op::Read { lba: last, buf });
        assert_eq!(result, Ok(()));
        let found = version_of(&buf.expect("a read's buffer"), rig.seed, last);
        assert_eq!(found, Some(1), "what does not fit changes nothing");
    }
}

/// It takes as many as it says, hands back the next, and takes one more after a completion.
pub(super) fn a_full_queue_hands_back(rig: &mut Rig<'_>) {
    let depth = rig.geometry.depth_max as usize;
    let op = |rig: &Rig<'_>| match rig.buf(1) {
        Some(buf) if rig.geometry.zones.is_none() => Op::Read { lba: Lba(0), buf },
        _ => Op::Flush,
    };
    for taken in 0..depth {
        let next = op(rig);
        assert!(rig.submit(next).is_ok(), "it takes {depth} requests, and refused {taken}");
    }
    for _ in 0..3 {
        let next = op(rig);
        assert!(rig.submit(next).is_err(), "it takes {depth} requests, and took one more");
    }
    let freed = rig.turn().len();
    for _ in 0..freed {
        let next = op(rig);
        assert!(rig.submit(next).is_ok(), "it takes another after a completion");
    }
    let next = op(rig);
    assert!(rig.submit(next).is_err(), "it is full again");
    drop(rig.drain());
}

/// With no room nothing comes; with room for one, one at a time.
pub(super) fn poll_keeps_within_the_room_it_is_given(rig: &mut Rig<'_>) {
    let count = 6.min(rig.geometry.depth_max as usize);
    for _ in 0..count {
        assert!(rig.submit(Op::Flush).is_ok());
    }
    for _ in 0..4 {
        assert!(rig.poll(0).is_empty());
    }
    let mut seen = rig.turn().len();
    while seen < count {
        seen += rig.poll(1).len();
        if seen < count {
            seen += rig.turn().len();
        }
    }
    assert!(rig.is_idle());
}
