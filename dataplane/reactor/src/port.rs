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
    BlockDevice, Completion, DeviceInfo, DiskId, Due, Geometry, IoBuf, IoError, Mono, Op, Request,
    Tag,
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
    /// Requests that the device has not taken yet, with their slots.
    waiting: VecDeque<(u32, Request)>,
    /// Requests in the device.
    inflight: u32,
}

/// One request. Flat rather than an enum with contents: what changes with each step is a byte
/// and a few words, and nothing of it is moved about.
struct Slot {
    phase: Phase,
    wake: Option<WakeRef>,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Free,
    Waiting,
    InFlight,
    /// In the device, and nobody waits for it.
    Orphaned,
    Done,
}

/// How a request went, with its buffer.
pub(crate) type Answer = (Result<(), IoError>, Option<IoBuf>);

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
        let index = match state.free.pop() {
            Some(index) => index,
            None => {
                state.slots.push(Slot { phase: Phase::Free, wake: None, answer: None });
                (state.slots.len() - 1) as u32
            }
        };
        let slot = &mut state.slots[index as usize];
        let request = Request { tag: Tag(u64::from(index)), op };
        let refused = match state.device.as_mut() {
            None => {
                let completion = request.complete(Err(IoError::Gone));
                slot.answer = Some((completion.result, completion.buf));
                slot.phase = Phase::Done;
                return index;
            }
            Some(device) if state.waiting.is_empty() => device.submit(now, request).err(),
            Some(_) => Some(request),
        };
        match refused {
            None => {
                state.inflight += 1;
                slot.phase = Phase::InFlight;
            }
            Some(request) => {
                slot.phase = Phase::Waiting;
                state.waiting.push_back((index, request));
            }
        }
        index
    }

    /// The answer, if it is there; otherwise who is woken when it comes is replaced.
    #[inline]
    pub(crate) fn finish(&self, index: u32, cx: &Context<'_>) -> Option<Answer> {
        let mut state = self.state.borrow_mut();
        let slot = &mut state.slots[index as usize];
        if slot.phase == Phase::Done {
            slot.phase = Phase::Free;
            let answer = slot.answer.take();
            state.free.push(index);
            return answer;
        }
        let replaced = slot.wake.replace(self.core.tasks.wake_ref(cx));
        drop(state);
        drop(replaced);
        None
    }

    /// Nobody waits for it any more. A request that the device has not taken is taken back.
    pub(crate) fn abandon(&self, index: u32) {
        let mut state = self.state.borrow_mut();
        let slot = &mut state.slots[index as usize];
        let wake = slot.wake.take();
        let answer = slot.answer.take();
        let mut request = None;
        if slot.phase == Phase::InFlight {
            slot.phase = Phase::Orphaned;
        } else {
            if slot.phase == Phase::Waiting {
                let at = state.waiting.iter().position(|(waiting, _)| *waiting == index);
                request = state.waiting.remove(at.expect("a slot that waits is in the queue"));
            }
            state.slots[index as usize].phase = Phase::Free;
            state.free.push(index);
        }
        drop(state);
        // Out of the borrow: what is dropped may hold anything.
        drop((wake, answer, request));
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
            for Completion { tag, buf, result } in done.drain(..) {
                let slot = &mut state.slots[tag.0 as usize];
                match slot.phase {
                    Phase::InFlight => {
                        slot.phase = Phase::Done;
                        slot.answer = Some((result, buf));
                        match slot.wake.take() {
                            Some(WakeRef::Local(task)) => self.core.tasks.wake(task),
                            Some(foreigner) => foreign.push(foreigner),
                            // It has not been polled yet, and will find the answer.
                            None => {}
                        }
                    }
                    // The buffer goes back to its pool.
                    Phase::Orphaned => {
                        slot.phase = Phase::Free;
                        state.free.push(tag.0 as u32);
                    }
                    Phase::Free | Phase::Waiting | Phase::Done => {
                        panic!("disk {} completed a request that it was not given", self.id.0)
                    }
                }
            }
        }
        while let Some((index, request)) = state.waiting.pop_front() {
            if let Err(request) = device.submit(now, request) {
                state.waiting.push_front((index, request));
                break;
            }
            state.slots[index as usize].phase = Phase::InFlight;
            state.inflight += 1;
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
