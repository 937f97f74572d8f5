//! A file or block device on a ring, as the block device seam wants it.

use std::rc::Rc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, Misfit, Mono, Op, Request,
};

use crate::ring::Core;

/// An open file or block device. It keeps its ring alive.
///
/// Dropping it waits a bounded time for requests in flight; what the kernel does not give back
/// by then stays with the ring, buffers included, until it does.
pub struct UringDisk {
    core: Rc<Core>,
    index: u32,
    geometry: Geometry,
    info: DeviceInfo,
}

impl UringDisk {
    pub(crate) fn new(core: Rc<Core>, index: u32, geometry: Geometry, info: DeviceInfo) -> Self {
        UringDisk { core, index, geometry, info }
    }
}

impl BlockDevice for UringDisk {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    #[inline]
    fn submit(&mut self, _now: Mono, request: Request) -> Result<(), Request> {
        let refusal = match self.geometry.check(&request.op) {
            Err(misfit) => Some(misfit),
            Ok(()) if matches!(request.op, Op::Discard { .. }) && !self.geometry.discard => {
                Some(Misfit::Unsupported)
            }
            Ok(()) => None,
        };
        self.core.submit(self.index, request, refusal.map(Into::into))
    }

    #[inline]
    fn poll(&mut self, _now: Mono, done: &mut Vec<Completion>) -> usize {
        self.core.poll(self.index, done)
    }

    fn due(&self) -> Due {
        self.core.due(self.index)
    }

    fn inflight(&self) -> usize {
        self.core.inflight(self.index)
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        self.core.detach(self.index);
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{
        BlockSize, BufPool, IoBuf, IoError, Lba, Park, Persist, PoolLayout, Tag, ZoneError, ZoneId,
        ZoneInfo, ZoneState,
    };

    use super::*;
    use crate::medium::{Medium, MediumKind};
    use crate::qpair::Qpair;
    use crate::zones::{ZoneTable, geometry_of};
    use crate::{Ring, RingConfig};

    /// A regular file that is taken for a disk of four sequential zones of 64 KiB.
    fn zoned() -> (Ring, UringDisk) {
        let pool = BufPool::new(&PoolLayout::uniform(4096, 32)).unwrap();
        let ring = Ring::new(&RingConfig { entries: 256, pool }).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(256 << 10).unwrap();
        let zone = |i: u64| ZoneInfo {
            start: Lba(i * 16),
            capacity_blocks: 16,
            write_pointer: Lba(i * 16),
            state: ZoneState::Empty,
        };
        let report: Vec<ZoneInfo> = (0..4).map(zone).collect();
        let zones = geometry_of(&report, 0).unwrap();
        let geometry = Geometry {
            logical: BlockSize::B4096,
            physical: BlockSize::B4096,
            blocks: 64,
            io_bytes_max: 1 << 20,
            buf_align: 4096,
            depth_max: 16,
            volatile_cache: true,
            discard: false,
            zones: Some(zones),
        };
        let medium = Medium::new(file, MediumKind::Regular, true, 1);
        let table = ZoneTable::new(zones, 1, &report);
        let index = ring.core().attach(16, true, |index| {
            Qpair::new(index, medium, BlockSize::B4096, 16, false, Some(table))
        });
        let info = DeviceInfo {
            name: "zoned".into(),
            driver: "uring".into(),
            path: None,
            direct: Some(false),
            notes: Vec::new(),
        };
        let disk = UringDisk::new(Rc::clone(ring.core()), index.unwrap(), geometry, info);
        (ring, disk)
    }

    fn buf(ring: &Ring, byte: u8) -> IoBuf {
        let mut buf = ring.pool().alloc(4096).unwrap();
        buf.fill(byte);
        buf
    }

    fn finish(ring: &mut Ring, disk: &mut UringDisk) -> Vec<Completion> {
        let mut done = Vec::with_capacity(16);
        while disk.inflight() > 0 {
            if disk.due() == Due::Event {
                ring.park(Mono::ZERO, None);
            }
            disk.poll(Mono::ZERO, &mut done);
        }
        done
    }

    #[test]
    fn writes_of_a_zone_go_one_at_a_time_and_all_arrive() {
        let (mut ring, mut disk) = zoned();
        let mut done = Vec::with_capacity(24);
        for i in 0..24u64 {
            // Two zones in turns: each in order, neither waiting for the other.
            let lba = Lba(i / 2 + i % 2 * 16);
            let op = Op::Write { lba, buf: buf(&ring, i as u8), persist: Persist::Flush };
            let mut request = Request { tag: Tag(i), op };
            while let Err(back) = disk.submit(Mono::ZERO, request) {
                request = back;
                ring.park(Mono::ZERO, None);
                disk.poll(Mono::ZERO, &mut done);
            }
            assert!(ring.core().sent() <= 2, "one of each zone");
        }
        done.extend(finish(&mut ring, &mut disk));
        assert!(done.iter().all(|c| c.result == Ok(())) && done.len() == 24);
        for zone in 0..2 {
            let tags = done.iter().map(|c| c.tag.0).filter(|tag| tag % 2 == zone);
            assert!(tags.is_sorted(), "in order");
        }
        drop(done);
        for first in [0, 12] {
            for i in first..first + 12u64 {
                let op = Op::Read { lba: Lba(i / 2 + i % 2 * 16), buf: buf(&ring, 0xff) };
                disk.submit(Mono::ZERO, Request { tag: Tag(i), op }).unwrap();
            }
            for completion in finish(&mut ring, &mut disk) {
                let byte = completion.tag.0 as u8;
                assert!(completion.buf.unwrap().iter().all(|&b| b == byte));
            }
        }
    }

    #[test]
    fn a_broken_rule_of_zones_is_named_and_goes_nowhere() {
        let (mut ring, mut disk) = zoned();
        let pointer = ZoneError::NotAtWritePointer { write_pointer: Lba(16) };
        let write = Op::Write { lba: Lba(17), buf: buf(&ring, 1), persist: Persist::Flush };
        let read = Op::Read { lba: Lba(0), buf: buf(&ring, 1) };
        for (op, error) in [(write, pointer), (read, ZoneError::Unwritten)] {
            disk.submit(Mono::ZERO, Request { tag: Tag(1), op }).unwrap();
            assert_eq!(disk.due(), Due::Now);
            assert_eq!(finish(&mut ring, &mut disk)[0].result, Err(IoError::Zone(error)));
        }
        assert_eq!(ring.enters(), 0);
    }

    #[test]
    fn the_helper_s_answer_wakes_the_core() {
        let (mut ring, mut disk) = zoned();
        let report = Op::ZoneReport { zone: ZoneId(0), buf: buf(&ring, 0) };
        for op in [report, Op::ZoneReset { zone: ZoneId(1) }, Op::ZoneFinish { zone: ZoneId(2) }] {
            disk.submit(Mono::ZERO, Request { tag: Tag(1), op }).unwrap();
            // A regular file knows none of the ioctls, and says so.
            let done = finish(&mut ring, &mut disk);
            assert_eq!(done[0].result, Err(Misfit::Unsupported.into()));
        }
        // The failed reset left the pointer unknown: what the disk says counts.
        let op = Op::Write { lba: Lba(20), buf: buf(&ring, 1), persist: Persist::Flush };
        disk.submit(Mono::ZERO, Request { tag: Tag(1), op }).unwrap();
        assert_eq!(finish(&mut ring, &mut disk)[0].result, Ok(()));
    }
}
