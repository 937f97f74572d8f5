//! What the tasks of one core share: its time, tasks, timers, disks and mailboxes.
//!
//! What must always hold: nothing here outlives its reactor in motion. When the reactor goes,
//! its tasks are dropped, and handles that remain find a core that runs nothing.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use isotherm_seam::Mono;

use crate::Counters;
use crate::beacon::Beacon;
use crate::mailbox::Inbox;
use crate::port::Port;
use crate::source::Source;
use crate::stall::Stalls;
use crate::task::{Tasks, WakeRef};
use crate::timers::Timers;

pub(crate) struct Core {
    /// The time of this turn, renewed after each task.
    pub(crate) now: Cell<Mono>,
    pub(crate) tasks: Tasks,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) ports: RefCell<Vec<Rc<Port>>>,
    pub(crate) sources: RefCell<Vec<Rc<dyn Source>>>,
    pub(crate) inboxes: RefCell<Vec<Rc<dyn Inbox>>>,
    pub(crate) beacon: Arc<Beacon>,
    pub(crate) counters: RefCell<Counters>,
    pub(crate) stalls: RefCell<Stalls>,
    /// The reactor is gone: nothing is spawned any more.
    pub(crate) over: Cell<bool>,
    pub(crate) disks: Cell<u32>,
}

impl Core {
    #[inline]
    pub(crate) fn wake(&self, who: WakeRef) {
        match who {
            WakeRef::Local(task) => self.tasks.wake(task),
            WakeRef::Foreign(waker) => waker.wake(),
        }
    }

    /// Whether another thread has left something that nobody has looked at.
    pub(crate) fn has_mail(&self) -> bool {
        self.beacon.board.is_raised() || self.inboxes.borrow().iter().any(|i| i.is_awaited())
    }
}
