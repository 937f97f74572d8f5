//! `memory`: a disk in memory.
//!
//! What must always hold: requests take effect in the order of submission, at the poll that
//! returns them; so a read sees each write submitted before it. Blocks never written read as
//! zeros.

use std::collections::VecDeque;
use std::sync::Arc;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, Mono, Op, OpenCause, Region, RegionError,
    Request,
};

use crate::prefetch::prefetch;
use crate::shape::{SHAPE_OPTIONS, Shape, admit};
use crate::spec::LeafKind;

pub(crate) const KIND: LeafKind = LeafKind {
    name: "memory",
    summary: "a disk in memory, gone with the process",
    options: SHAPE_OPTIONS,
    example: "memory:1G",
    path: false,
    parse: Some(|args| {
        let shape = Shape::parse(args)?;
        Ok(Arc::new(move |options, _| {
            let memory = Memory::new(&shape.opened(options)?);
            Ok(Box::new(memory.map_err(|e| OpenCause::Os { errno: e.errno })?))
        }))
    }),
};

/// A device whose medium is memory; it dies with the process.
pub struct Memory {
    geometry: Geometry,
    write: bool,
    bytes: Region,
    /// Its capacity is the depth, and never grows.
    queue: VecDeque<Request>,
}

impl Memory {
    /// Maps the memory, in huge pages where they can be had. Pages are touched when written.
    pub fn new(shape: &Shape) -> Result<Memory, RegionError> {
        let geometry = shape.geometry();
        let len = usize::try_from(geometry.capacity_bytes()).expect("a 64-bit address space");
        let bytes = Region::new(len, true)?;
        let queue = VecDeque::with_capacity(geometry.depth_max as usize);
        Ok(Memory { geometry, write: shape.write, bytes, queue })
    }

    fn execute(&mut self, mut request: Request) -> Completion {
        let result = admit(&self.geometry, self.write, &request.op);
        if result.is_ok() {
            let logical = self.geometry.logical;
            match &mut request.op {
                Op::Read { lba, buf } => {
                    let start = logical.byte_offset(*lba) as usize;
                    let len = buf.len();
                    buf.copy_from_slice(&self.bytes[start..start + len]);
                }
                Op::Write { lba, buf, .. } => {
                    let start = logical.byte_offset(*lba) as usize;
                    self.bytes[start..start + buf.len()].copy_from_slice(buf);
                }
                // What was discarded may read as anything: as it was, then.
                Op::Discard { .. } | Op::Flush => {}
                Op::ZoneReport { .. } | Op::ZoneReset { .. } | Op::ZoneFinish { .. } => {
                    unreachable!("a device without zones admits no zone operation")
                }
            }
        }
        request.complete(result)
    }
}

impl BlockDevice for Memory {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: "memory".into(),
            driver: "memory".into(),
            path: None,
            direct: None,
            notes: Vec::new(),
        }
    }

    #[inline]
    fn submit(&mut self, _now: Mono, request: Request) -> Result<(), Request> {
        if self.queue.len() >= self.geometry.depth_max as usize {
            return Err(request);
        }
        // By the time of the poll the page walk and the first line are there: a sixth less per
        // random 4 KiB read. More lines than one gain nothing more.
        if let Op::Read { lba, .. } = &request.op {
            let start = self.geometry.logical.byte_offset(*lba) as usize;
            if let Some(byte) = self.bytes.get(start) {
                prefetch(byte);
            }
        }
        self.queue.push_back(request);
        Ok(())
    }

    fn poll(&mut self, _now: Mono, done: &mut Vec<Completion>) -> usize {
        let room = done.capacity() - done.len();
        let count = room.min(self.queue.len());
        for _ in 0..count {
            let request = self.queue.pop_front().expect("as many as counted");
            let completion = self.execute(request);
            done.push(completion);
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
