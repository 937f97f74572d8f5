//! A disk of 26 TB in a few gigabytes of memory: what must always hold is that it gives back
//! what a restart reads.
//!
//! Blocks are kept without the zeros at their end, so an empty payload costs nothing. Of the
//! extents only the newest that hold shards are kept, since a restart reads no others; index
//! extents stay until their first block is written again, when a new life begins.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use isotherm_seam::{
    BlockDevice, BlockSize, Completion, DeviceInfo, Due, Geometry, Mono, Op, Request,
};
use isotherm_store::layout::{Block, Kind};

use crate::rig::cpu_s;

pub(crate) const BLOCK_BYTES: usize = 4096;
/// Extents with shards that are kept.
const KEPT: usize = 48;

/// What the disk holds; outlives the devices over it.
pub(crate) struct Sparse {
    blocks: u64,
    extent_blocks: u64,
    /// The kept blocks of each extent, as far as it was written.
    extents: BTreeMap<u64, Vec<Box<[u8]>>>,
    /// Extents that hold shards, the oldest first.
    data: VecDeque<u64>,
    /// Processor time of reads, in seconds: a disk takes none.
    cpu_s: f64,
}

impl Sparse {
    pub(crate) fn new(bytes: u64, extent_blocks: u64) -> Rc<RefCell<Sparse>> {
        Rc::new(RefCell::new(Sparse {
            blocks: bytes / BLOCK_BYTES as u64,
            extent_blocks,
            extents: BTreeMap::new(),
            data: VecDeque::new(),
            cpu_s: 0.0,
        }))
    }

    pub(crate) fn open(this: &Rc<RefCell<Sparse>>) -> Box<dyn BlockDevice> {
        let geometry = Geometry {
            logical: BlockSize::B4096,
            physical: BlockSize::B4096,
            blocks: this.borrow().blocks,
            io_bytes_max: 2 << 20,
            buf_align: 1,
            depth_max: 32,
            volatile_cache: false,
            discard: false,
            zones: None,
        };
        Box::new(Open { disk: Rc::clone(this), geometry, queue: VecDeque::new() })
    }

    fn write(&mut self, first: u64, bytes: &[u8]) {
        let extent = first / self.extent_blocks;
        let at = (first % self.extent_blocks) as usize;
        if at == 0 && self.extents.remove(&extent).is_some() {
            self.data.retain(|other| *other != extent);
        }
        let own = self.extents.entry(extent).or_default();
        let blocks = bytes.len() / BLOCK_BYTES;
        if own.len() < at + blocks {
            own.resize(at + blocks, Box::default());
        }
        let mut is_data = false;
        for (ahead, block) in bytes.chunks(BLOCK_BYTES).enumerate() {
            // A batch begins with a shard, behind the head of an extent at most.
            is_data |= ahead < 2 && matches!(Block::check(block), Ok((_, Kind::Data)));
            let zeros = block.rchunks(64).take_while(|line| line.iter().all(|byte| *byte == 0));
            own[at + ahead] = block[..BLOCK_BYTES - 64 * zeros.count()].into();
        }
        if is_data && !self.data.contains(&extent) {
            self.data.push_back(extent);
            if self.data.len() > KEPT {
                let oldest = self.data.pop_front().expect("there are some");
                self.extents.remove(&oldest);
            }
        }
    }

    fn read(&self, first: u64, bytes: &mut [u8]) {
        bytes.fill(0);
        let Some(own) = self.extents.get(&(first / self.extent_blocks)) else { return };
        let at = (first % self.extent_blocks) as usize;
        let kept = own.get(at..).unwrap_or_default();
        for (block, kept) in bytes.chunks_mut(BLOCK_BYTES).zip(kept) {
            block[..kept.len()].copy_from_slice(kept);
        }
    }

    /// Processor time of its reads so far.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.cpu_s
    }
}

/// The disk as a device.
struct Open {
    disk: Rc<RefCell<Sparse>>,
    geometry: Geometry,
    queue: VecDeque<Request>,
}

impl BlockDevice for Open {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        let name = "sparse".to_string();
        DeviceInfo { driver: name.clone(), name, path: None, direct: None, notes: Vec::new() }
    }

    fn submit(&mut self, _: Mono, request: Request) -> Result<(), Request> {
        if self.queue.len() >= self.geometry.depth_max as usize {
            return Err(request);
        }
        self.queue.push_back(request);
        Ok(())
    }

    fn poll(&mut self, _: Mono, done: &mut Vec<Completion>) -> usize {
        let count = self.queue.len().min(done.capacity() - done.len());
        for mut request in self.queue.drain(..count) {
            let result = self.geometry.check(&request.op);
            match &mut request.op {
                Op::Read { lba, buf } if result.is_ok() => {
                    let start = cpu_s();
                    self.disk.borrow().read(lba.0, buf);
                    self.disk.borrow_mut().cpu_s += cpu_s() - start;
                }
                Op::Write { lba, buf, .. } if result.is_ok() => {
                    self.disk.borrow_mut().write(lba.0, buf);
                }
                _ => {}
            }
            done.push(request.complete(result.map_err(Into::into)));
        }
        count
    }

    fn due(&self) -> Due {
        if self.queue.is_empty() { Due::Idle } else { Due::Now }
    }

    fn inflight(&self) -> usize {
        self.queue.len()
    }
}
