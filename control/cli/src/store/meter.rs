//! What a disk was asked for, counted as it goes by.
//!
//! What must always hold: every request that the device takes is counted once, none that it
//! hands back.

use std::cell::Cell;
use std::rc::Rc;

use isotherm_seam::{BlockDevice, Completion, DeviceInfo, Due, Geometry, Mono, OpKind, Request};

/// What went to a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Traffic {
    pub(super) reads: u64,
    pub(super) read_bytes: u64,
    pub(super) writes: u64,
    pub(super) write_bytes: u64,
    pub(super) flushes: u64,
}

impl Traffic {
    /// What has been added since.
    pub(super) fn since(&self, then: &Traffic) -> Traffic {
        Traffic {
            reads: self.reads - then.reads,
            read_bytes: self.read_bytes - then.read_bytes,
            writes: self.writes - then.writes,
            write_bytes: self.write_bytes - then.write_bytes,
            flushes: self.flushes - then.flushes,
        }
    }
}

/// A device that counts.
pub(super) struct Meter {
    below: Box<dyn BlockDevice>,
    traffic: Rc<Cell<Traffic>>,
}

impl Meter {
    pub(super) fn new(below: Box<dyn BlockDevice>, traffic: &Rc<Cell<Traffic>>) -> Meter {
        Meter { below, traffic: Rc::clone(traffic) }
    }
}

impl BlockDevice for Meter {
    fn geometry(&self) -> &Geometry {
        self.below.geometry()
    }

    fn info(&self) -> DeviceInfo {
        self.below.info()
    }

    fn submit(&mut self, now: Mono, request: Request) -> Result<(), Request> {
        let kind = request.op.kind();
        let bytes = match &request.op {
            isotherm_seam::Op::Read { buf, .. } | isotherm_seam::Op::Write { buf, .. } => {
                buf.len() as u64
            }
            _ => 0,
        };
        self.below.submit(now, request)?;
        let mut traffic = self.traffic.get();
        match kind {
            OpKind::Read => {
                traffic.reads += 1;
                traffic.read_bytes += bytes;
            }
            OpKind::Write => {
                traffic.writes += 1;
                traffic.write_bytes += bytes;
            }
            OpKind::Flush => traffic.flushes += 1,
            _ => {}
        }
        self.traffic.set(traffic);
        Ok(())
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        self.below.poll(now, done)
    }

    fn due(&self) -> Due {
        self.below.due()
    }

    fn inflight(&self) -> usize {
        self.below.inflight()
    }
}
