//! A disk in memory that keeps a page of equal bytes as one number, so that a thousand disks fit
//! in a few gigabytes.
//!
//! What must always hold: what is read is what was written last, whatever it was; only the memory
//! that it takes depends on the content.

use std::collections::VecDeque;
use std::ops::Range;

use isotherm_block::Shape;
use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, Due, Geometry, IoError, Mono, Op, Request,
};

const PAGE: usize = 4096;
/// Pages of which a disk notes together whether it has been written at all: 4 MiB.
const PAGES: usize = 1024;
/// Page numbers from here on are places among the kept ones; below, the byte that all are.
const KEPT: u32 = 256;

pub(crate) struct Thin {
    geometry: Geometry,
    /// By 1,024 pages; never written: zeros.
    parts: Vec<Option<Box<[u32; PAGES]>>>,
    kept: Vec<Box<[u8; PAGE]>>,
    free: Vec<u32>,
    queue: VecDeque<Request>,
}

impl Thin {
    pub(crate) fn new(bytes: u64) -> Thin {
        let parts = bytes.div_ceil((PAGE * PAGES) as u64) as usize;
        Thin {
            geometry: Shape::new(bytes).geometry(),
            parts: vec![None; parts],
            kept: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
        }
    }

    fn page(&self, page: usize) -> u32 {
        self.parts[page / PAGES].as_ref().map_or(0, |part| part[page % PAGES])
    }

    fn set(&mut self, page: usize, is: u32) {
        let part = self.parts[page / PAGES].get_or_insert_with(|| Box::new([0; PAGES]));
        part[page % PAGES] = is;
    }

    fn read(&self, page: usize, range: Range<usize>, to: &mut [u8]) {
        match self.page(page) {
            byte if byte < KEPT => to.fill(byte as u8),
            place => to.copy_from_slice(&self.kept[(place - KEPT) as usize][range]),
        }
    }

    fn write(&mut self, page: usize, range: Range<usize>, from: &[u8]) {
        let was = self.page(page);
        if range.len() == PAGE && from[1..] == from[..PAGE - 1] {
            if was >= KEPT {
                self.free.push(was);
            }
            return self.set(page, u32::from(from[0]));
        }
        if was >= KEPT {
            self.kept[(was - KEPT) as usize][range].copy_from_slice(from);
            return;
        }
        let mut bytes = Box::new([was as u8; PAGE]);
        bytes[range].copy_from_slice(from);
        let place = match self.free.pop() {
            Some(place) => {
                self.kept[(place - KEPT) as usize] = bytes;
                place
            }
            None => {
                self.kept.push(bytes);
                self.kept.len() as u32 - 1 + KEPT
            }
        };
        self.set(page, place);
    }

    fn execute(&mut self, mut request: Request) -> Completion {
        let result = self.geometry.check(&request.op).map_err(IoError::from);
        if result.is_ok() {
            let logical = self.geometry.logical;
            match &mut request.op {
                Op::Read { lba, buf } => {
                    let start = logical.byte_offset(*lba) as usize;
                    for (page, range, at) in pages(start, buf.len()) {
                        let len = range.len();
                        self.read(page, range, &mut buf[at..at + len]);
                    }
                }
                Op::Write { lba, buf, .. } => {
                    let start = logical.byte_offset(*lba) as usize;
                    for (page, range, at) in pages(start, buf.len()) {
                        let len = range.len();
                        self.write(page, range, &buf[at..at + len]);
                    }
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

/// Bytes page by page: which page, which bytes of it, and where in the buffer these are.
fn pages(start: usize, len: usize) -> impl Iterator<Item = (usize, Range<usize>, usize)> {
    let end = start + len;
    (start / PAGE..end.div_ceil(PAGE)).map(move |page| {
        let (from, until) = ((page * PAGE).max(start), ((page + 1) * PAGE).min(end));
        (page, from - page * PAGE..until - page * PAGE, from - start)
    })
}

impl BlockDevice for Thin {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: "thin".into(),
            driver: "thin".into(),
            path: None,
            direct: None,
            notes: Vec::new(),
        }
    }

    fn submit(&mut self, _now: Mono, request: Request) -> Result<(), Request> {
        if self.queue.len() >= self.geometry.depth_max as usize {
            return Err(request);
        }
        self.queue.push_back(request);
        Ok(())
    }

    fn poll(&mut self, _now: Mono, done: &mut Vec<Completion>) -> usize {
        let room = done.capacity() - done.len();
        let count = room.min(self.queue.len());
        for _ in 0..count {
            let request = self.queue.pop_front().expect("as many as counted");
            done.push(self.execute(request));
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
