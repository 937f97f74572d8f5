//! Waiting for a change of state, within one core.
//!
//! What must always hold: whoever changes what others may wait for calls [`Event::notify`];
//! a waiter looks again after each call, so a call too many costs little and none is lost.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::task::{Poll, Waker};

/// Wakes all that wait for something.
#[derive(Default)]
pub(crate) struct Event {
    wakers: RefCell<Vec<Waker>>,
}

impl Event {
    pub(crate) fn notify(&self) {
        for waker in self.wakers.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Waits for the next call of [`Event::notify`].
    pub(crate) fn next(&self) -> impl Future<Output = ()> {
        let mut asked = false;
        self.until(move || std::mem::replace(&mut asked, true).then_some(()))
    }

    /// Waits until `ready` gives something. It is asked once at first and after every call of
    /// [`Event::notify`].
    pub(crate) fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
        poll_fn(move |cx| match ready() {
            Some(value) => Poll::Ready(value),
            None => {
                let mut wakers = self.wakers.borrow_mut();
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        })
    }
}

/// Answers on their way to those who wait for them, by slot: nothing is allocated per answer.
pub(crate) struct Answers<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    abandoned: bool,
}

impl<T> Default for Answers<T> {
    fn default() -> Answers<T> {
        Answers { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Answers<T> {
    /// A slot for an answer that is to come.
    pub(crate) fn open(&mut self) -> u32 {
        let slot = Slot { value: None, waker: None, abandoned: false };
        match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        }
    }

    /// The answer is there. Nobody may be left to hear it.
    pub(crate) fn put(&mut self, at: u32, value: T) {
        let slot = &mut self.slots[at as usize];
        if slot.abandoned {
            self.free.push(at);
            return;
        }
        assert!(slot.value.is_none(), "answered once");
        slot.value = Some(value);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// Fetches the answer and gives the slot back, or waits on.
    pub(crate) fn poll(&mut self, at: u32, waker: &Waker) -> Poll<T> {
        let slot = &mut self.slots[at as usize];
        match slot.value.take() {
            Some(value) => {
                self.free.push(at);
                Poll::Ready(value)
            }
            None => {
                slot.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Nobody waits any more.
    pub(crate) fn abandon(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if slot.value.take().is_some() {
            self.free.push(at);
        } else {
            slot.abandoned = true;
            slot.waker = None;
        }
    }
}
