//! One open device for several lanes of a core.
//!
//! A block device opened for writing is opened exclusively, so two lanes can't each open it.
//! What must always hold: each lane sees only its own completions, with its own tags; the
//! device's queue is as deep as the depths of all its lanes, so none starves another.

use std::cell::RefCell;
use std::rc::Rc;

use isotherm_seam::{BlockDevice, Completion, DeviceInfo, Due, Geometry, Mono, Request, Tag};

/// Tags of a lane are slots, so 32 bits hold one; the lane goes above them.
const OWNER_SHIFT: u32 = 32;

struct Hub {
    device: Box<dyn BlockDevice>,
    /// Completed, by owner, with the owner's tag. Each as large as the device's depth, so none
    /// ever grows.
    ready: Vec<Vec<Completion>>,
    inflight: Vec<usize>,
    done: Vec<Completion>,
}

/// One lane's view of a device.
pub(crate) struct Shared {
    hub: Rc<RefCell<Hub>>,
    owner: usize,
    geometry: Geometry,
}

impl Shared {
    /// The first view of `device`.
    pub(crate) fn new(device: Box<dyn BlockDevice>) -> Shared {
        let geometry = device.geometry().clone();
        let depth = geometry.depth_max as usize;
        let hub = Hub { device, ready: Vec::new(), inflight: Vec::new(), done: Vec::new() };
        let hub = Rc::new(RefCell::new(hub));
        hub.borrow_mut().done.reserve_exact(depth);
        Shared::join(&hub, geometry)
    }

    /// One more view of the same device.
    pub(crate) fn another(&self) -> Shared {
        Shared::join(&self.hub, self.geometry.clone())
    }

    fn join(hub: &Rc<RefCell<Hub>>, geometry: Geometry) -> Shared {
        let mut state = hub.borrow_mut();
        state.ready.push(Vec::with_capacity(geometry.depth_max as usize));
        state.inflight.push(0);
        let owner = state.ready.len() - 1;
        Shared { hub: Rc::clone(hub), owner, geometry }
    }
}

impl BlockDevice for Shared {
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    fn info(&self) -> DeviceInfo {
        self.hub.borrow().device.info()
    }

    fn submit(&mut self, now: Mono, mut request: Request) -> Result<(), Request> {
        let hub = &mut *self.hub.borrow_mut();
        let tag = request.tag;
        debug_assert!(tag.0 >> OWNER_SHIFT == 0, "a lane's tags are its slots");
        request.tag = Tag(tag.0 | (self.owner as u64) << OWNER_SHIFT);
        match hub.device.submit(now, request) {
            Ok(()) => {
                hub.inflight[self.owner] += 1;
                Ok(())
            }
            Err(refused) => Err(Request { tag, ..refused }),
        }
    }

    fn poll(&mut self, now: Mono, done: &mut Vec<Completion>) -> usize {
        let Hub { device, ready, inflight, done: fresh } = &mut *self.hub.borrow_mut();
        device.poll(now, fresh);
        for completion in fresh.drain(..) {
            let owner = (completion.tag.0 >> OWNER_SHIFT) as usize;
            let tag = Tag(completion.tag.0 & ((1 << OWNER_SHIFT) - 1));
            ready[owner].push(Completion { tag, ..completion });
        }
        let mine = &mut ready[self.owner];
        let count = mine.len().min(done.capacity() - done.len());
        done.extend(mine.drain(..count));
        inflight[self.owner] -= count;
        count
    }

    fn due(&self) -> Due {
        let hub = self.hub.borrow();
        if !hub.ready[self.owner].is_empty() {
            Due::Now
        } else if hub.inflight[self.owner] == 0 {
            Due::Idle
        } else {
            hub.device.due()
        }
    }

    fn inflight(&self) -> usize {
        self.hub.borrow().inflight[self.owner]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_block::{Null, Shape};
    use isotherm_seam::{BufPool, Lba, Op, PoolLayout};

    #[test]
    fn each_gets_its_own_completions_back_under_its_own_tags() {
        let pool = BufPool::new(&PoolLayout::uniform(4096, 4)).unwrap();
        let mut one = Shared::new(Box::new(Null::new(&Shape::new(1 << 20).with_depth(3))));
        let mut two = one.another();
        let read = |tag| Request {
            tag: Tag(tag),
            op: Op::Read { lba: Lba(0), buf: pool.alloc(4096).unwrap() },
        };
        one.submit(Mono(0), read(7)).unwrap();
        two.submit(Mono(0), read(7)).unwrap();
        two.submit(Mono(0), read(8)).unwrap();
        assert_eq!(one.submit(Mono(0), read(9)).unwrap_err().tag, Tag(9), "full, unchanged");
        let mut done = Vec::with_capacity(4);
        assert_eq!(one.poll(Mono(0), &mut done), 1);
        assert_eq!((done[0].tag, one.inflight(), one.due()), (Tag(7), 0, Due::Idle));
        assert_eq!((two.inflight(), two.due()), (2, Due::Now), "what the other one found waits");
        done.clear();
        assert_eq!(two.poll(Mono(0), &mut done), 2);
        assert_eq!(done.iter().map(|c| c.tag.0).collect::<Vec<_>>(), [7, 8]);
    }
}
