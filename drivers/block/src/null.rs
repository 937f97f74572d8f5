//! `null`: completes everything at the next poll and moves no data.
//!
//! What must always hold: it keeps the contract in all but the data, so that what is measured
//! on it is the cost of everything else. A read leaves the buffer as it was.
//!
//! It is also the pattern for a new driver: check the request, take or refuse it, hand it back
//! from `poll`.

use std::sync::Arc;

use isotherm_seam::{BlockDevice, Completion, DeviceInfo, Due, Geometry, Mono, Request, Tag};

use crate::shape::{SHAPE_OPTIONS, Shape, admit};
use crate::spec::LeafKind;

pub(crate) const KIND: LeafKind = LeafKind {
    name: "null",
    summary: "completes at the next poll and moves no data",
    options: SHAPE_OPTIONS,
    example: "null:1T?block=4K",
    path: false,
    parse: Some(|args| {
        let shape = Shape::parse(args)?;
        Ok(Arc::new(move |options, _| Ok(Box::new(Null::new(&shape.opened(options)?)))))
    }),
};

/// A device without a medium.
pub struct Null {
    geometry: Geometry,
    write: bool,
    /// As many as the depth; the first `ready` of them are completed and not yet collected.
    slots: Box<[Completion]>,
    ready: usize,
}

impl Null {
    /// A null device of that shape.
    pub fn new(shape: &Shape) -> Null {
        let geometry = shape.geometry();
        let empty = || Completion { tag: Tag(0), buf: None, result: Ok(()) };
        let slots = (0..geometry.depth_max).map(|_| empty()).collect();
        Null { geometry, write: shape.write, slots, ready: 0 }
    }
}

impl BlockDevice for Null {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        DeviceInfo {
            name: "null".into(),
            driver: "null".into(),
            path: None,
            direct: None,
            notes: Vec::new(),
        }
    }

    #[inline]
    fn submit(&mut self, _now: Mono, request: Request) -> Result<(), Request> {
        let Some(slot) = self.slots.get_mut(self.ready) else { return Err(request) };
        self.ready += 1;
        // Field by field: a completion built elsewhere and copied here whole would wait for the
        // stores that built it.
        slot.result = admit(&self.geometry, self.write, &request.op);
        slot.tag = request.tag;
        slot.buf = request.op.into_buf();
        Ok(())
    }

    #[inline]
    fn poll(&mut self, _now: Mono, done: &mut Vec<Completion>) -> usize {
        let count = self.ready.min(done.capacity() - done.len());
        done.extend(self.slots[..count].iter_mut().map(|slot| Completion {
            tag: slot.tag,
            buf: slot.buf.take(),
            result: slot.result,
        }));
        if count < self.ready {
            self.slots[..self.ready].rotate_left(count);
        }
        self.ready -= count;
        count
    }

    fn due(&self) -> Due {
        if self.ready == 0 { Due::Idle } else { Due::Now }
    }

    fn inflight(&self) -> usize {
        self.ready
    }
}
