//! A disk with a clock and buffers, driven one request at a time.

use std::collections::BTreeMap;

use isotherm_seam::{
    BlockDevice, BufPool, Completion, DiskId, Due, IoBuf, IoError, Lba, Mono, Nanos, Op, Persist,
    PoolLayout, Request, Tag, ZoneGeometry,
};
use isotherm_sim::{Latency, SimDiskConfig};

pub(crate) const BLOCK: usize = 4096;

/// A disk of 256 blocks; what was never written reads as zeros.
pub(crate) fn config(seed: u64) -> SimDiskConfig {
    SimDiskConfig {
        blank: isotherm_sim::Blank::Zeros,
        unreadable_p: 0.0,
        ..SimDiskConfig::new(seed, DiskId(0), 256)
    }
}

/// The same, in 16 sequential zones.
pub(crate) fn zoned(seed: u64) -> SimDiskConfig {
    let mut config = config(seed);
    config.geometry.discard = false;
    config.geometry.zones = Some(ZoneGeometry {
        zone_blocks: 16,
        capacity_blocks: 16,
        zones: 16,
        conventional: 0,
        open_max: 0,
    });
    config
}

/// Every request takes just as long as this, so that completion times are known.
pub(crate) fn even(each: Nanos) -> Latency {
    Latency { read: (each, each), write: (each, each), flush: (each, each), bytes_per_s: 0 }
}

pub(crate) struct Rig<D> {
    pub(crate) device: D,
    pub(crate) pool: BufPool,
    pub(crate) now: Mono,
    tags: u64,
    arrived: BTreeMap<Tag, Completion>,
}

impl<D: BlockDevice> Rig<D> {
    pub(crate) fn new(device: D) -> Rig<D> {
        let layout = PoolLayout { huge: false, ..PoolLayout::uniform(16 * BLOCK as u32, 64) };
        let pool = BufPool::new(&layout).unwrap();
        Rig { device, pool, now: Mono::ZERO, tags: 0, arrived: BTreeMap::new() }
    }

    pub(crate) fn buf(&self, blocks: usize, byte: u8) -> IoBuf {
        let mut buf = self.pool.alloc(blocks * BLOCK).unwrap();
        buf.fill(byte);
        buf
    }

    pub(crate) fn submit(&mut self, op: Op) -> Tag {
        self.tags += 1;
        let tag = Tag(self.tags);
        self.device.submit(self.now, Request { tag, op }).expect("room in the queue");
        tag
    }

    pub(crate) fn submit_write(&mut self, lba: u64, blocks: usize, byte: u8) -> Tag {
        let buf = self.buf(blocks, byte);
        self.submit(Op::Write { lba: Lba(lba), buf, persist: Persist::Flush })
    }

    /// Polls once at the present time.
    pub(crate) fn poll(&mut self) {
        let mut done = Vec::with_capacity(64);
        self.device.poll(self.now, &mut done);
        self.arrived.extend(done.into_iter().map(|completion| (completion.tag, completion)));
    }

    /// The completion of a request, letting as much time pass as it takes.
    pub(crate) fn wait(&mut self, tag: Tag) -> Completion {
        loop {
            if let Some(completion) = self.arrived.remove(&tag) {
                return completion;
            }
            match self.device.due() {
                Due::At(at) => self.now = self.now.max(at),
                Due::Now => {}
                // A thread is at it.
                Due::Event => std::thread::yield_now(),
                Due::Idle => panic!("{tag:?} never completes"),
            }
            self.poll();
        }
    }

    pub(crate) fn call(&mut self, op: Op) -> (Result<(), IoError>, Option<IoBuf>) {
        let tag = self.submit(op);
        let completion = self.wait(tag);
        (completion.result, completion.buf)
    }

    pub(crate) fn write(&mut self, lba: u64, blocks: usize, byte: u8) -> Result<(), IoError> {
        let tag = self.submit_write(lba, blocks, byte);
        self.wait(tag).result
    }

    pub(crate) fn flush(&mut self) -> Result<(), IoError> {
        self.call(Op::Flush).0
    }

    /// The byte that fills a block; panics where a block is not all of one byte.
    pub(crate) fn read(&mut self, lba: u64) -> Result<u8, IoError> {
        let buf = self.buf(1, 0);
        let (result, buf) = self.call(Op::Read { lba: Lba(lba), buf });
        result?;
        let buf = buf.unwrap();
        assert!(buf.iter().all(|&byte| byte == buf[0]), "block {lba} is torn");
        Ok(buf[0])
    }
}
