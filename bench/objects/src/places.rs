//! Room for a fixed number of operations at once.
//!
//! What must always hold: no more are under way than there are places; whoever waits for a place
//! is told when one is free; at the end those that did not come back can be ended.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::Poll;

use isotherm_reactor::{Handle, Task, Waiter};

pub(crate) struct Places {
    free: RefCell<Vec<usize>>,
    /// The operation that has a place, or the last one that had.
    tasks: RefCell<Vec<Option<Task<()>>>>,
    waiter: Waiter,
}

impl Places {
    pub(crate) fn new(handle: &Handle, count: usize) -> Places {
        Places {
            free: RefCell::new((0..count).rev().collect()),
            tasks: RefCell::new((0..count).map(|_| None).collect()),
            waiter: handle.waiter(),
        }
    }

    /// A place, if there is one.
    pub(crate) fn take(&self) -> Option<usize> {
        self.free.borrow_mut().pop()
    }

    /// The operation that has the place.
    pub(crate) fn set(&self, place: usize, task: Task<()>) {
        self.tasks.borrow_mut()[place] = Some(task);
    }

    /// Gives a place back.
    pub(crate) fn give(&self, place: usize) {
        self.free.borrow_mut().push(place);
        self.waiter.wake();
    }

    /// Waits until a place has been given back.
    pub(crate) async fn changed(&self) {
        let before = self.free.borrow().len();
        poll_fn(|cx| {
            if self.free.borrow().len() != before {
                return Poll::Ready(());
            }
            self.waiter.wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// Operations under way.
    pub(crate) fn taken(&self) -> usize {
        self.tasks.borrow().len() - self.free.borrow().len()
    }

    /// Ends those that are under way, and tells how many they were.
    pub(crate) fn end(&self) -> usize {
        let taken = self.taken();
        let free = self.free.borrow().clone();
        let mut tasks = self.tasks.borrow_mut();
        for (place, task) in tasks.iter_mut().enumerate() {
            if let Some(task) = task.take()
                && !free.contains(&place)
            {
                task.cancel();
            }
        }
        *self.free.borrow_mut() = (0..tasks.len()).rev().collect();
        taken
    }
}
