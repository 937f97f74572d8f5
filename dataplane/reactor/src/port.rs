//! One disk of a core: its device, the requests in it, and those that wait for it.
//!
//! What must always hold: each request that the device took has a slot until it completes,
//! whether anybody still waits for it or not, and the slot's index is its tag. Requests reach
//! the device in the order in which they were made: one that finds it full waits behind those
//! that already do.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Context;

use isotherm_seam::{
    BlockDevice, Completion, DeviceInfo, DiskId, Due, Geometry, IoError, Mono, Op, Request, Tag,
};

use crate::core::Core;
use crate::task::WakeRef;

pub(crate) struct Port {
    pub(crate) id: DiskId,
    pub(crate) geometry: Geometry,
    pub(crate) info: DeviceInfo,
    /// The core and its disks hold each other until the reactor goes.
    pub(crate) core: Rc<Core>,
    state: RefCell<State>,
}

struct State {
    /// `None` once it is detached.
    device: Option<Box<dyn BlockDevice>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots of requests that the device has not taken yet.
    waiting: VecDeque<u32>,
    /// Requests in the device.
    inflight: u32,
}

enum Slot {
    Free,
    Waiting(Request, Option<WakeRef>),
    /// Given up before the device took it.
    Withdrawn,
    InFlight(Option<WakeRef>),
    /// In the device, and nobody waits for it.
    Orphaned,
    Done(Completion),
}

impl Port {
    pub(crate) fn new(core: &Rc<Core>, id: DiskId, device: Box<dyn BlockDevice>) -> Port {
        let geometry = device.geometry().clone();
        let depth = geometry.depth_max as usize;
        let info = device.info();
        let state = RefCell::new(State {
            device: Some(device),
            slots: Vec::with_capacity(depth),
            free: Vec::with_capacity(depth),
            waiting: VecDeque::new(),
            inflight: 0,
        });
        Port { id, geometry, info, core: Rc::clone(core), state }
    }

    /// Makes a request; its slot is where the answer will be.
    #[inline]
    pub(crate) fn start(&self, op: Op) -> u32 {
        let now = self.core.now.get();
        let state = &mut *self.state.borrow_mut();
        let slot = match state.free.pop() {
            Some(slot) => slot,
            None => {
                state.slots.push(Slot::Free);
                (state.slots.len() - 1) as u32
            }
        };
        let request = Request { tag: Tag(u64::from(slot)), op };
        state.slots[slot as usize] = match state.device.as_mut() {
            None => Slot::Done(request.complete(Err(IoError::Gone))),
            Some(device) if state.waiting.is_empty() => match device.submit(now, request) {
                Ok(()) => {
                    state.inflight += 1;
                    Slot::InFlight(None)
                }
                Err(request) => {
                    state.waiting.push_back(slot);
                    Slot::Waiting(request, None)
                }
            },
            Some(_) => {
                state.waiting.push_back(slot);
                Slot::Waiting(request, None)
            }
        };
        slot
    }

    /// The answer, if it is there; otherwise who is woken when it comes is replaced.
    #[inline]
    pub(crate) fn finish(&self, slot: u32, cx: &Context<'_>) -> Option<Completion> {
        let mut state = self.state.borrow_mut();
        let entry = &mut state.slots[slot as usize];
        let replaced = match entry {
            Slot::Done(_) => {
                let Slot::Done(completion) = std::mem::replace(entry, Slot::Free) else {
                    unreachable!("just matched");
                };
                state.free.push(slot);
                return Some(completion);
            }
            Slot::Waiting(_, wake) | Slot::InFlight(wake) => {
                wake.replace(self.core.tasks.wake_ref(cx))
            }
            Slot::Free | Slot::Withdrawn | Slot::Orphaned => {
                unreachable!("a slot that somebody waits for")
            }
        };
        drop(state);
        drop(replaced);
        None
    }

    /// Nobody waits for it any more. A request that the device has not taken is taken back.
    pub(crate) fn abandon(&self, slot: u32) {
        let mut state = self.state.borrow_mut();
        let entry = &mut state.slots[slot as usize];
        let next = match entry {
            Slot::Waiting(..) => Slot::Withdrawn,
            Slot::InFlight(_) => Slot::Orphaned,
            Slot::Done(_) => Slot::Free,
            Slot::Free | Slot::Withdrawn | Slot::Orphaned => {
                unreachable!("a slot that somebody waited for")
            }
        };
        let is_free = matches!(next, Slot::Free);
        let last = std::mem::replace(entry, next);
        if is_free {
            state.free.push(slot);
        }
        drop(state);
        // Out of the borrow: it may hold a waker.
        drop(last);
    }

    /// Takes what has completed, and lets waiting requests in. Returns how many completed.
    pub(crate) fn turn(
        &self,
        now: Mono,
        done: &mut Vec<Completion>,
        foreign: &mut Vec<WakeRef>,
    ) -> usize {
        let state = &mut *self.state.borrow_mut();
        let Some(device) = state.device.as_mut() else { return 0 };
        let mut completed = 0;
        if state.inflight > 0 {
            completed = device.poll(now, done);
            assert_eq!(completed, done.len(), "a device reports what it appends");
            state.inflight -= completed as u32;
            for completion in done.drain(..) {
                let slot = completion.tag.0 as usize;
                match std::mem::replace(&mut state.slots[slot], Slot::Free) {
                    Slot::InFlight(wake) => {
                        state.slots[slot] = Slot::Done(completion);
                        match wake {
                            Some(WakeRef::Local(task)) => self.core.tasks.wake(task),
                            Some(foreigner) => foreign.push(foreigner),
                            // It has not been polled yet, and will find the answer.
                            None => {}
                        }
                    }
                    // The buffer goes back to its pool.
                    Slot::Orphaned => state.free.push(slot as u32),
                    Slot::Free | Slot::Waiting(..) | Slot::Withdrawn | Slot::Done(_) => {
                        panic!("disk {} completed a request that it was not given", self.id.0)
                    }
                }
            }
        }
        while let Some(&slot) = state.waiting.front() {
            let entry = &mut state.slots[slot as usize];
            match std::mem::replace(entry, Slot::Free) {
                Slot::Withdrawn => state.free.push(slot),
                Slot::Waiting(request, wake) => match device.submit(now, request) {
                    Ok(()) => {
                        *entry = Slot::InFlight(wake);
                        state.inflight += 1;
                    }
                    Err(request) => {
                        *entry = Slot::Waiting(request, wake);
                        break;
                    }
                },
                Slot::Free | Slot::InFlight(_) | Slot::Orphaned | Slot::Done(_) => {
                    unreachable!("a slot in the queue waits, or did")
                }
            }
            state.waiting.pop_front();
        }
        completed
    }

    /// When the device next has something.
    pub(crate) fn due(&self) -> Due {
        let state = self.state.borrow();
        match &state.device {
            Some(device) if state.inflight > 0 => device.due(),
            // It was full although nothing of this disk is in it: whatever it shares its queue
            // with completes first.
            Some(_) if !state.waiting.is_empty() => Due::Event,
            _ => Due::Idle,
        }
    }

    pub(crate) fn inflight(&self) -> usize {
        self.state.borrow().inflight as usize
    }

    pub(crate) fn waiting(&self) -> usize {
        self.state.borrow().waiting.len()
    }

    /// Takes the device out, if nothing is in it and nothing waits for it.
    pub(crate) fn detach(&self) -> Option<Box<dyn BlockDevice>> {
        let mut state = self.state.borrow_mut();
        let idle = state.inflight == 0 && state.waiting.is_empty();
        if idle { state.device.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use isotherm_seam::{BufPool, Lba, PoolLayout};
    use isotherm_sim::{SimClock, SimDisk, SimDiskConfig, SimPark};

    use crate::{Reactor, ReactorConfig};

    /// Requests that nobody waits for leave no slot behind, whatever state they were left in.
    #[test]
    fn slots_are_used_again() {
        let clock = SimClock::new();
        let park = SimPark::new(clock.clone());
        let mut reactor = Reactor::new(park, clock.clone(), ReactorConfig::default());
        let mut config = SimDiskConfig::new(1, super::DiskId(0), 100);
        config.geometry.depth_max = 3;
        let disk = reactor.attach(Box::new(SimDisk::new(config)));
        let layout = PoolLayout { huge: false, ..PoolLayout::uniform(4096, 8) };
        let pool = BufPool::new(&layout).unwrap();
        for _ in 0..100 {
            let reads: Vec<_> =
                (0..5).map(|n| disk.read(Lba(n), pool.alloc(4096).unwrap())).collect();
            let flush = disk.flush();
            let second = reads.into_iter().nth(1).expect("there are five");
            reactor.run(async move {
                second.await.0.unwrap();
                flush.await.unwrap();
            });
        }
        let port = reactor.handle().core.ports.borrow()[0].clone();
        let state = port.state.borrow();
        assert_eq!((state.slots.len(), state.free.len(), state.waiting.len()), (6, 6, 0));
        assert_eq!(pool.free_count(), 8);
    }
}
