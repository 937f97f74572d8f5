//! The part of a core that other threads hold: its wake board and the handle to end its sleep.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

use isotherm_seam::Unpark;

use crate::handshake::{Atomics, Handshake, Lock, WakeBoard, Word};

/// The standard library's atomics.
pub(crate) enum Std {}

impl Atomics for Std {
    type Word = AtomicU64;
    type Lock<T> = Mutex<T>;
    #[inline]
    fn fence() {
        fence(Ordering::SeqCst);
    }
}

impl Word for AtomicU64 {
    fn new(value: u64) -> AtomicU64 {
        AtomicU64::new(value)
    }
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }
    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }
    #[inline]
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }
    #[inline]
    fn fetch_or(&self, bits: u64, order: Ordering) -> u64 {
        self.fetch_or(bits, order)
    }
}

impl<T> Lock<T> for Mutex<T> {
    fn new(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // A list of waiters is whole at every step: a panic elsewhere does not spoil it.
        f(&mut self.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What other threads hold of a core.
pub(crate) struct Beacon {
    pub(crate) board: WakeBoard<Std>,
    pub(crate) handshake: Handshake<Std>,
    unparker: Arc<dyn Unpark>,
}

impl Beacon {
    pub(crate) fn new(tasks_max: u32, unparker: Arc<dyn Unpark>) -> Arc<Beacon> {
        let board = WakeBoard::new(tasks_max as usize);
        Arc::new(Beacon { board, handshake: Handshake::new(), unparker })
    }

    /// From any thread, after leaving something for the core.
    #[inline]
    pub(crate) fn notify(&self) {
        self.handshake.notify(|| self.unparker.unpark());
    }

    /// A waker of a task of this core, good on any thread.
    pub(crate) fn waker(self: &Arc<Beacon>, task: u32) -> Waker {
        Waker::from(Arc::new(TaskWaker { beacon: Arc::clone(self), task }))
    }
}

/// The waker of one task slot: whatever task is in it is polled once more than it need be when
/// a waker outlives its task.
struct TaskWaker {
    beacon: Arc<Beacon>,
    task: u32,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.beacon.board.raise(self.task as usize);
        self.beacon.notify();
    }
}
