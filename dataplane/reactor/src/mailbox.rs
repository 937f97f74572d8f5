//! Messages from other cores, in bounded queues.
//!
//! What must always hold: a message that was sent is received, in the order of each sender,
//! unless the mailbox is dropped; a full mailbox hands the message back, or makes its sender
//! wait. A receiver never sleeps through a message, nor a sender through the room that is made
//! for it: see `handshake.rs`.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use crossbeam::queue::ArrayQueue;

use crate::beacon::{Beacon, Std};
use crate::core::Core;
use crate::handshake::Room;
use crate::task::WakeRef;

/// Where messages for this core arrive. It stays on its core.
pub struct Mailbox<T> {
    inbound: Rc<Inbound<T>>,
    core: Rc<Core>,
}

/// Sends to a [`Mailbox`], from any thread. Clones send to the same one.
pub struct Sender<T> {
    channel: Arc<Channel<T>>,
}

/// Why a message was not taken; it comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError<T> {
    /// The mailbox is full: try again later, or wait with [`Sender::send`].
    #[error("the mailbox is full")]
    Full(T),
    /// The mailbox is gone.
    #[error("the mailbox is closed")]
    Closed(T),
}

/// The mailbox is gone; the message comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the mailbox is closed")]
pub struct Closed<T>(pub T);

struct Channel<T> {
    queue: ArrayQueue<T>,
    beacon: Arc<Beacon>,
    room: Room<Std, Waker>,
    senders: AtomicUsize,
    closed: AtomicBool,
}

struct Inbound<T> {
    channel: Arc<Channel<T>>,
    /// The task that waits for a message.
    waiting: Cell<Option<WakeRef>>,
}

/// A mailbox as its reactor sees it.
pub(crate) trait Inbox {
    /// Whether a task waits for a message and there is one, or none will ever come.
    fn is_awaited(&self) -> bool;
    /// The task to wake, if so.
    fn deliver(&self) -> Option<WakeRef>;
}

impl<T> Inbox for Inbound<T> {
    fn is_awaited(&self) -> bool {
        let waiting = self.waiting.take();
        let awaited = waiting.is_some();
        self.waiting.set(waiting);
        awaited && (!self.channel.queue.is_empty() || self.channel.is_orphaned())
    }

    fn deliver(&self) -> Option<WakeRef> {
        if self.is_awaited() { self.waiting.take() } else { None }
    }
}

impl<T> Channel<T> {
    fn is_orphaned(&self) -> bool {
        self.senders.load(Ordering::Acquire) == 0
    }
}

impl<T: Send + 'static> Mailbox<T> {
    pub(crate) fn new(core: &Rc<Core>, capacity: usize) -> (Sender<T>, Mailbox<T>) {
        let channel = Arc::new(Channel {
            queue: ArrayQueue::new(capacity),
            beacon: Arc::clone(&core.beacon),
            room: Room::new(),
            senders: AtomicUsize::new(1),
            closed: AtomicBool::new(false),
        });
        let inbound = Rc::new(Inbound { channel: Arc::clone(&channel), waiting: Cell::new(None) });
        core.inboxes.borrow_mut().push(inbound.clone());
        (Sender { channel }, Mailbox { inbound, core: Rc::clone(core) })
    }

    /// The next message; `None` once every sender is gone and every message is received.
    pub fn recv(&mut self) -> impl Future<Output = Option<T>> {
        std::future::poll_fn(|cx| {
            // In this order: a sender that goes has sent everything before.
            let orphaned = self.inbound.channel.is_orphaned();
            match self.try_recv() {
                Some(message) => Poll::Ready(Some(message)),
                None if orphaned => Poll::Ready(None),
                None => {
                    self.inbound.waiting.set(Some(self.core.tasks.wake_ref(cx)));
                    Poll::Pending
                }
            }
        })
    }

    /// The next message, if one is there.
    pub fn try_recv(&mut self) -> Option<T> {
        let channel = &self.inbound.channel;
        let message = channel.queue.pop()?;
        channel.room.freed(Waker::wake);
        Some(message)
    }

    /// How many messages are there.
    pub fn len(&self) -> usize {
        self.inbound.channel.queue.len()
    }

    /// Whether no message is there.
    pub fn is_empty(&self) -> bool {
        self.inbound.channel.queue.is_empty()
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        let inbound: *const Inbound<T> = Rc::as_ptr(&self.inbound);
        let is_other = |inbox: &Rc<dyn Inbox>| !std::ptr::addr_eq(Rc::as_ptr(inbox), inbound);
        self.core.inboxes.borrow_mut().retain(is_other);
        let channel = &self.inbound.channel;
        channel.closed.store(true, Ordering::Release);
        while channel.queue.pop().is_some() {}
        channel.room.freed(Waker::wake);
    }
}

impl<T: Send> Sender<T> {
    /// Sends, or hands the message back.
    pub fn try_send(&self, message: T) -> Result<(), SendError<T>> {
        if self.channel.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed(message));
        }
        match self.channel.queue.push(message) {
            Ok(()) => {
                self.channel.beacon.notify();
                Ok(())
            }
            Err(message) => Err(SendError::Full(message)),
        }
    }

    /// Sends, waiting while the mailbox is full. Senders that wait are not served in any order.
    pub fn send(&self, message: T) -> impl Future<Output = Result<(), Closed<T>>> {
        let mut message = Some(message);
        std::future::poll_fn(move |cx| {
            let mut attempt = || match self.try_send(message.take().expect("not sent yet")) {
                Ok(()) => Some(Ok(())),
                Err(SendError::Closed(back)) => Some(Err(Closed(back))),
                Err(SendError::Full(back)) => {
                    message = Some(back);
                    None
                }
            };
            let mut outcome = attempt();
            if outcome.is_none() {
                self.channel.room.wait(cx.waker().clone(), Waker::will_wake, || {
                    outcome = attempt();
                    outcome.is_some()
                });
            }
            outcome.map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// How many messages it takes before it is full.
    pub fn capacity(&self) -> usize {
        self.channel.queue.capacity()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.channel.senders.fetch_add(1, Ordering::Relaxed);
        Sender { channel: Arc::clone(&self.channel) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.channel.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.channel.beacon.notify();
        }
    }
}

impl<T> std::fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sender({} of {})", self.channel.queue.len(), self.channel.queue.capacity())
    }
}
