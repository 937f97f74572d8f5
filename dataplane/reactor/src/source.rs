//! What a core turns beside its disks: an endpoint of a network, for one.
//!
//! What must always hold: a source is turned once a turn, before the tasks run, so what arrived
//! is handed on in the same turn and what the tasks left to be sent goes out at the start of the
//! next, which follows at once because the source then says [`Due::Now`].

use std::cell::Cell;
use std::rc::Rc;
use std::task::Context;

use isotherm_seam::{Due, Mono};

use crate::core::Core;
use crate::task::WakeRef;

/// Something of this core that moves on by being turned.
pub trait Source {
    /// Takes in what has come, sends what waits, wakes who waited. Returns how much came in, for
    /// the core to learn how long its waits are. Never blocks.
    fn turn(&self, now: Mono) -> usize;

    /// When the next turn can be of use; [`Due::Event`] when only the outside can say.
    fn due(&self) -> Due;
}

/// A place where one task of this core waits. Waking costs a few nanoseconds and no allocation.
pub struct Waiter {
    core: Rc<Core>,
    wake: Cell<Option<WakeRef>>,
}

impl Waiter {
    pub(crate) fn new(core: &Rc<Core>) -> Waiter {
        Waiter { core: Rc::clone(core), wake: Cell::new(None) }
    }

    /// The running task is woken by the next [`Waiter::wake`]; who waited here before is not.
    pub fn wait(&self, cx: &Context<'_>) {
        self.wake.set(Some(self.core.tasks.wake_ref(cx)));
    }

    /// Wakes who waits, if anybody.
    pub fn wake(&self) {
        if let Some(wake) = self.wake.take() {
            self.core.wake(wake);
        }
    }
}
