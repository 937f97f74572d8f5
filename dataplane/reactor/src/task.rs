//! Tasks of one core: a slab of futures and the queue of those that are ready.
//!
//! What must always hold: a task is in the ready queue at most once; nothing borrows the slab
//! while a future is polled or dropped, because either may spawn, wake or cancel. Memory is
//! allocated when a task is spawned, never when it is woken.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Waker};

use isotherm_seam::Draws;

use crate::beacon::Beacon;
use crate::core::Core;

/// Who is to be woken: a task of this core, at the price of a push, or anything else by its
/// waker.
pub(crate) enum WakeRef {
    Local(u32),
    Foreign(Waker),
}

type Body = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) struct Tasks {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
    ready: RefCell<VecDeque<u32>>,
    tasks_max: u32,
    spawned: Cell<u64>,
    /// The task that is being polled, and its waker, to tell it from others.
    current: Cell<Option<(u32, WakerId)>>,
}

struct Slot {
    /// Out of the slot while it is polled.
    body: Option<Body>,
    /// Made once and kept when the slot passes to another task.
    waker: Option<Waker>,
    name: &'static str,
    /// Tells the task from a later one in the same slot; 0 is none.
    serial: u64,
    queued: bool,
}

/// What makes a waker this waker.
type WakerId = (*const (), *const RawWakerVTable);

fn waker_id(waker: &Waker) -> WakerId {
    (waker.data(), waker.vtable())
}

/// What became of a poll.
pub(crate) struct Polled {
    pub(crate) name: &'static str,
}

impl Tasks {
    pub(crate) fn new(tasks_max: u32) -> Tasks {
        Tasks {
            slots: RefCell::default(),
            free: RefCell::default(),
            ready: RefCell::default(),
            tasks_max,
            spawned: Cell::new(0),
            current: Cell::new(None),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len() - self.free.borrow().len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.tasks_max as usize
    }

    /// Adds a task, ready to run. There must be room.
    pub(crate) fn insert(
        &self,
        beacon: &Arc<Beacon>,
        name: &'static str,
        body: Body,
    ) -> (u32, u64) {
        assert!(!self.is_full(), "the caller looked for room");
        let slots = &mut *self.slots.borrow_mut();
        let task = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let task = slots.len() as u32;
            let waker = Some(beacon.waker(task));
            slots.push(Slot { body: None, waker, name, serial: 0, queued: false });
            task
        });
        let serial = self.spawned.get() + 1;
        self.spawned.set(serial);
        let slot = &mut slots[task as usize];
        slot.body = Some(body);
        slot.name = name;
        slot.serial = serial;
        if !slot.queued {
            slot.queued = true;
            self.ready.borrow_mut().push_back(task);
        }
        (task, serial)
    }

    /// Makes a task ready. One that is gone by now is skipped when its turn comes.
    #[inline]
    pub(crate) fn wake(&self, task: u32) {
        if let Some(slot) = self.slots.borrow_mut().get_mut(task as usize)
            && !slot.queued
        {
            slot.queued = true;
            self.ready.borrow_mut().push_back(task);
        }
    }

    pub(crate) fn ready(&self) -> usize {
        self.ready.borrow().len()
    }

    /// Who is to be woken for the context of a poll.
    #[inline]
    pub(crate) fn wake_ref(&self, cx: &Context<'_>) -> WakeRef {
        match self.current.get() {
            Some((task, id)) if id == waker_id(cx.waker()) => WakeRef::Local(task),
            _ => WakeRef::Foreign(cx.waker().clone()),
        }
    }

    /// Polls one ready task: the first, or one by chance. `None` if what was ready is gone.
    pub(crate) fn poll_one(&self, by_chance: Option<&mut Draws>) -> Option<Polled> {
        let task = {
            let ready = &mut *self.ready.borrow_mut();
            match by_chance {
                None => ready.pop_front()?,
                Some(_) if ready.is_empty() => return None,
                Some(draws) => ready.remove(draws.below(ready.len() as u64) as usize)?,
            }
        };
        let (mut body, waker, name, serial) = {
            let slot = &mut self.slots.borrow_mut()[task as usize];
            slot.queued = false;
            let body = slot.body.take()?;
            let waker = slot.waker.take().expect("a task that is not being polled has its waker");
            (body, waker, slot.name, slot.serial)
        };
        self.current.set(Some((task, waker_id(&waker))));
        let poll = body.as_mut().poll(&mut Context::from_waker(&waker));
        self.current.set(None);
        let over = {
            let slot = &mut self.slots.borrow_mut()[task as usize];
            slot.waker = Some(waker);
            // A task that was cancelled while it ran has lost its serial.
            if poll.is_pending() && slot.serial == serial {
                slot.body = Some(body);
                None
            } else {
                slot.serial = 0;
                Some(body)
            }
        };
        if let Some(body) = over {
            // Out of every borrow: what it owns may wake and spawn as it goes.
            drop(body);
            self.free.borrow_mut().push(task);
        }
        Some(Polled { name })
    }

    /// Drops a task's future, now or as soon as it stops running.
    fn cancel(&self, task: u32, serial: u64) {
        let body = {
            let slot = &mut self.slots.borrow_mut()[task as usize];
            if slot.serial != serial {
                return;
            }
            slot.serial = 0;
            slot.body.take()
        };
        // Without a body it is the task that is running now: `poll_one` ends it.
        if let Some(body) = body {
            drop(body);
            self.free.borrow_mut().push(task);
        }
    }

    /// Drops every task.
    pub(crate) fn clear(&self) {
        loop {
            let next = {
                let slots = &mut *self.slots.borrow_mut();
                let at = slots.iter().position(|slot| slot.body.is_some());
                at.map(|at| (at as u32, slots[at].serial))
            };
            let Some((task, serial)) = next else { break };
            self.cancel(task, serial);
        }
    }
}

/// A spawned task: await it for what it returns. Dropping this leaves the task running.
pub struct Task<T> {
    join: Rc<Join<T>>,
    core: Rc<Core>,
    task: u32,
    serial: u64,
}

pub(crate) struct Join<T> {
    value: Cell<Option<T>>,
    waiter: Cell<Option<WakeRef>>,
}

impl<T: 'static> Task<T> {
    pub(crate) fn spawn(
        core: &Rc<Core>,
        name: &'static str,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let join = Rc::new(Join { value: Cell::new(None), waiter: Cell::new(None) });
        let (theirs, weak) = (Rc::clone(&join), Rc::downgrade(core));
        // In a box of its own: a future that an async block has captured would lie in it twice, and
        // be copied from one place to the other when it is first polled.
        let future = Box::pin(future);
        let body = Box::pin(async move {
            let value = future.await;
            theirs.value.set(Some(value));
            if let (Some(waiter), Some(core)) = (theirs.waiter.take(), weak.upgrade()) {
                core.wake(waiter);
            }
        });
        let (task, serial) = core.tasks.insert(&core.beacon, name, body);
        Task { join, core: Rc::clone(core), task, serial }
    }

    /// Its value, if it has ended.
    pub fn try_take(&mut self) -> Option<T> {
        self.join.value.take()
    }

    /// Ends the task by dropping its future: at once, or after this poll if it is the task that
    /// is running. I/O that a device has taken runs on. Returns the value if it had one.
    pub fn cancel(mut self) -> Option<T> {
        self.core.tasks.cancel(self.task, self.serial);
        self.try_take()
    }
}

impl<T: 'static> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.join.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.join.waiter.set(Some(self.core.tasks.wake_ref(cx)));
                Poll::Pending
            }
        }
    }
}
