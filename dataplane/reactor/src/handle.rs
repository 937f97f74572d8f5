//! What tasks use of their core.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use isotherm_seam::{BlockDevice, DiskId, Mono, Nanos};

use crate::core::Core;
use crate::port::Port;
use crate::source::{Source, Waiter};
use crate::task::Task;
use crate::timers::TimerId;
use crate::{Counters, Disk, Mailbox, Sender, Stall};

/// A core, for those that run on it. Clones are handles to the same core.
#[derive(Clone)]
pub struct Handle {
    pub(crate) core: Rc<Core>,
}

impl Handle {
    /// The time when the running task was given the core.
    pub fn now(&self) -> Mono {
        self.core.now.get()
    }

    /// Starts a task. Its name is told when it holds the core for too long.
    ///
    /// Panics when the core has as many tasks as it was made for: size it, or use
    /// [`Handle::try_spawn`] where the number depends on load.
    pub fn spawn<T: 'static>(
        &self,
        name: &'static str,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        match self.try_spawn(name, future) {
            Ok(task) => task,
            Err(_) => panic!("no room for task {name}: the core is made for fewer, or is over"),
        }
    }

    /// Starts a task, or hands the future back when the core has as many as it was made for,
    /// or is gone.
    pub fn try_spawn<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        name: &'static str,
        future: F,
    ) -> Result<Task<T>, F> {
        if self.core.over.get() || self.core.tasks.is_full() {
            return Err(future);
        }
        Ok(Task::spawn(&self.core, name, future))
    }

    /// Tasks that have not ended.
    pub fn tasks(&self) -> usize {
        self.core.tasks.len()
    }

    /// Gives this core a disk.
    pub fn attach(&self, device: Box<dyn BlockDevice>) -> Disk {
        let id = DiskId(self.core.disks.get());
        self.core.disks.set(id.0 + 1);
        let port = Rc::new(Port::new(&self.core, id, device));
        self.core.ports.borrow_mut().push(Rc::clone(&port));
        Disk::new(port)
    }

    /// Gives this core something to turn beside its disks, until [`Handle::remove_source`] or the
    /// end of the core.
    pub fn add_source(&self, source: Rc<dyn Source>) {
        self.core.sources.borrow_mut().push(source);
    }

    /// Turns it no longer.
    pub fn remove_source(&self, source: &Rc<dyn Source>) {
        let is_other =
            |other: &Rc<dyn Source>| !std::ptr::addr_eq(Rc::as_ptr(other), Rc::as_ptr(source));
        self.core.sources.borrow_mut().retain(is_other);
    }

    /// A place for one task to wait.
    pub fn waiter(&self) -> Waiter {
        Waiter::new(&self.core)
    }

    /// A mailbox of this core that holds at most `capacity` messages, and its first sender.
    pub fn mailbox<T: Send + 'static>(&self, capacity: usize) -> (Sender<T>, Mailbox<T>) {
        Mailbox::new(&self.core, capacity)
    }

    /// Waits for a length of time.
    pub fn sleep(&self, length: Nanos) -> Sleep {
        self.sleep_until(self.now() + length)
    }

    /// Waits until a time.
    pub fn sleep_until(&self, at: Mono) -> Sleep {
        Sleep { core: Rc::clone(&self.core), at, timer: None }
    }

    /// Runs a future for a length of time at most; then drops it.
    pub fn timeout<F: Future>(
        &self,
        length: Nanos,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> + use<F> {
        let mut sleep = self.sleep(length);
        async move {
            let mut future = std::pin::pin!(future);
            std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
                Poll::Ready(value) => Poll::Ready(Ok(value)),
                Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed)),
            })
            .await
        }
    }

    /// Lets every other task that is ready run first.
    pub fn yield_now(&self) -> impl Future<Output = ()> + use<> {
        let core = Rc::clone(&self.core);
        let mut yielded = false;
        std::future::poll_fn(move |cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            core.wake(core.tasks.wake_ref(cx));
            Poll::Pending
        })
    }

    /// What the core has done so far.
    pub fn counters(&self) -> Counters {
        *self.core.counters.borrow()
    }

    /// The latest tasks that held the core too long and were not reported yet; at most 64.
    pub fn take_stalls(&self) -> Vec<Stall> {
        self.core.stalls.borrow_mut().take()
    }
}

/// The time was up before the future was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the time was up")]
pub struct Elapsed;

/// Waits for a time; see [`Handle::sleep_until`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Sleep {
    core: Rc<Core>,
    at: Mono,
    timer: Option<TimerId>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.core.now.get() >= self.at {
            return Poll::Ready(());
        }
        let wake = self.core.tasks.wake_ref(cx);
        let replaced = match self.timer {
            Some(timer) => self.core.timers.borrow_mut().rewake(timer, wake),
            None => {
                let timer = self.core.timers.borrow_mut().insert(self.at, wake);
                self.timer = Some(timer);
                None
            }
        };
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            let wake = self.core.timers.borrow_mut().remove(timer);
            drop(wake);
        }
    }
}
